"""Zero-shot classification: class probabilities from the names of the classes alone (CLIP)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from loop.encoders.base import Encoder
from loop.encoders.joined import Joined
from loop.encoders.open_clip import ClipEncoder
from loop.errors import ConfigError


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
    for part, columns in _columns_of_parts(encoder, embeddings):
        if isinstance(part, ClipEncoder):
            return part.probabilities(columns, class_names)
    raise ConfigError(
        f"{encoder.digest} has no text tower; zero-shot needs a CLIP encoder, "
        "e.g. open_clip:ViT-B-32:laion2b_s34b_b79k"
    )


def _columns_of_parts(
    encoder: Encoder, embeddings: NDArray[np.float32]
) -> Iterator[tuple[Encoder, NDArray[np.float32]]]:
    """Each part of the encoder with its own columns of the embeddings."""
    if not isinstance(encoder, Joined):
        yield encoder, embeddings
        return
    start = 0
    for part in encoder.parts:
        yield part, embeddings[:, start : start + part.dim]
        start += part.dim
