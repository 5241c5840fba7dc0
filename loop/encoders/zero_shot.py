"""Class probabilities from the names of the classes, by an encoder that has a text side (CLIP)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from loop.encoders.base import Encoder
from loop.encoders.joined import Joined
from loop.errors import ConfigError


def probabilities(
    encoder: Encoder, embeddings: NDArray[np.float32], class_names: Sequence[str]
) -> NDArray[np.float64]:
    """(N, C) class probabilities from the class names alone; no label is used.

    Args:
        encoder: a CLIP-like encoder, or several of which one is.
        embeddings: (N, D) float32 that it made.

    Raises:
        ConfigError: the encoder has no text side.
        DataError: no class names, or embeddings of another encoder.
    """
    start = 0
    for part in encoder.parts if isinstance(encoder, Joined) else (encoder,):
        if hasattr(part, "probabilities"):
            stop = start + part.dim if isinstance(encoder, Joined) else embeddings.shape[1]
            return part.probabilities(embeddings[:, start:stop], class_names)  # type: ignore[no-any-return]
        start += part.dim
    raise ConfigError(
        f"{encoder.digest} knows no words; zero-shot needs a CLIP encoder, "
        "e.g. open_clip:ViT-B-32:laion2b_s34b_b79k"
    )
