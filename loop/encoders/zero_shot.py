"""Zero-shot classification: class probabilities from the names of the classes alone (CLIP)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from loop.encoders.base import Encoder
from loop.encoders.class_names import in_words
from loop.encoders.joined import Joined
from loop.encoders.open_clip import TEMPLATES, ClipEncoder
from loop.encoders.prior import GivenPrior
from loop.errors import ConfigError, DataError
from loop.name_head import NameHead


def probabilities(
    encoder: Encoder, embeddings: NDArray[np.float32], class_names: Sequence[str]
) -> NDArray[np.float64]:
    """(N, C) class probabilities from the class names; no label is used.

    Args:
        encoder: a CLIP encoder, or several joined of which one is.
        embeddings: (N, D) float32 that it made.

    Raises:
        ConfigError: the encoder has no text tower.
        DataError: no class names, or embeddings of another encoder.
    """
    head = name_head(encoder, class_names, [[in_words(name)] for name in class_names])
    if embeddings.ndim != 2 or embeddings.shape[1] != encoder.dim:
        raise DataError(
            f"embeddings of shape {embeddings.shape} are not of {encoder.digest} (N, {encoder.dim})"
        )
    return head.probabilities(embeddings)


def name_head(
    encoder: Encoder,
    class_names: Sequence[str],
    words: Sequence[Sequence[str]],
    prompts: Sequence[str] = (),
) -> NameHead:
    """What the names say, as a classifier on the encoder's columns; given probabilities go before
    those of a text tower.

    Args:
        words: of each class, one or more that mean the same.
        prompts: with a place for the words; none: those built in.

    Raises:
        ConfigError: the encoder has no text tower, or given probabilities lack a class.
        DataError: no class names.
    """
    if not class_names:
        raise DataError("zero-shot probabilities need class names; set classes under [project]")
    parts = list(_columns_of_parts(encoder))
    for part, start in parts:
        if isinstance(part, GivenPrior):
            return NameHead(_order(part, class_names), start, 1.0, unit=False)
    for part, start in parts:
        if isinstance(part, ClipEncoder):
            texts, scale = part.class_texts(words, prompts or TEMPLATES)
            return NameHead(texts, start, scale, unit=True)
    raise ConfigError(
        f"{encoder.digest} has no text tower; zero-shot needs a CLIP encoder, "
        "e.g. open_clip:ViT-B-32:laion2b_s34b_b79k"
    )


def _order(given: GivenPrior, class_names: Sequence[str]) -> NDArray[np.float64]:
    """(C, columns) 1 where a column is of a class. Raises ConfigError: a class has none."""
    missing = [name for name in class_names if name not in given.classes]
    if missing:
        raise ConfigError(
            f"{given.path} has no column for the class {missing[0]!r}; its classes are "
            f"{', '.join(given.classes[:10])}"
        )
    columns = [given.classes.index(name) for name in class_names]
    return np.eye(len(given.classes))[columns]


def _columns_of_parts(encoder: Encoder) -> Iterator[tuple[Encoder, int]]:
    """Each part of the encoder with the first of its columns."""
    start = 0
    for part in encoder.parts if isinstance(encoder, Joined) else (encoder,):
        yield part, start
        start += part.dim
