"""Imbalanced pools, made from labelled images by leaving some out: to see what a method does about
rare classes before people pay for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from loop.errors import ConfigError, nearest

Ints = NDArray[np.int64]

SHAPES = ("geometric", "single")
"""``geometric``: class sizes fall from the largest to 1/32 of it by one factor; ``single``: one
class has 1 % of the images."""
LARGEST_OVER_SMALLEST = 32.0
SINGLE = 0.01
"""Share of the pool that the single rare class has."""


def check_shape(shape: str) -> None:
    """Raises ConfigError unless empty, for the pool as it is, or of SHAPES."""
    if shape and shape not in SHAPES:
        raise ConfigError(f"no imbalance {shape!r}{nearest(shape, SHAPES)}")


def thinned(labels: Ints, n_classes: int, shape: str, rng: np.random.Generator) -> Ints:
    """Rows of a pool that stay, ascending. Drawn are which class is how rare, and which of its
    images stay. No class grows: one that has too few images for its place keeps them.

    Args:
        labels: (N,) int64 classes in [0, C).
        shape: of SHAPES.
    """
    place = rng.permutation(n_classes)
    counts = np.bincount(labels, minlength=n_classes)
    if shape == "geometric":
        fall = LARGEST_OVER_SMALLEST ** (-place / max(n_classes - 1, 1))
        wanted = np.ceil(counts.max() * fall)
    else:
        rare = int(np.argmin(place))
        others = counts.sum() - counts[rare]
        wanted = counts.astype(np.float64)
        wanted[rare] = max(1, round(others * SINGLE / (1 - SINGLE)))
    order = rng.permutation(len(labels))
    kept = [order[labels[order] == c][: int(wanted[c])] for c in range(n_classes)]
    return np.sort(np.concatenate(kept))
