"""Labels that the other labels contradict: each judged by a model that never saw it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from loop.annotators import EXTRA
from loop.errors import ConfigError
from loop.train.linear import RowSpace

STRENGTHS = 10.0 ** np.arange(-4, 3)
"""Candidates, times the mean squared norm of the centred rows."""
LEAST = 10
"""Labels under which nothing is judged."""


def left_out(x: NDArray[np.floating], y: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    """(k, C) what a ridge regression on all labels but its own says of each image.

    Leaving one out is exact and needs one fit: the residual divided by one minus the leverage
    (Allen, 1974). The strength is the one with the least left-out squared error.

    Args:
        x: (k, D) embeddings of the labelled images.
        y: (k,) int64 their labels.

    Returns:
        Rows in [0, 1] that sum to 1: least-squares class probabilities, cut and scaled.
    """
    target = np.eye(n_classes)[y]
    middle = target.mean(axis=0)
    space = RowSpace.of(np.asarray(x, dtype=np.float64))
    u, power = space.features / np.sqrt(space.moments), space.moments
    scale = float(power.sum() / len(y)) or 1.0
    projected = u.T @ (target - middle)
    best, least = target, np.inf
    for strength in STRENGTHS:
        shrunk = power / (power + strength * scale)
        fitted = middle + u @ (shrunk[:, None] * projected)
        leverage = 1 / len(y) + (u**2) @ shrunk
        residual = (target - fitted) / np.maximum(1 - leverage, 1e-6)[:, None]
        error = float((residual**2).sum())
        if error < least:
            best, least = target - residual, error
    positive = np.clip(best, 0.0, None)
    out: NDArray[np.float64] = positive / np.maximum(positive.sum(axis=1, keepdims=True), 1e-12)
    return out


def probably_wrong(y: NDArray[np.int64], chances: NDArray[np.float64]) -> NDArray[np.int64]:
    """Places in (k,) labels that confident learning holds for mistakes, the least credible first.

    Args:
        chances: (k, C) as ``left_out`` gives them.

    Source: Northcutt, Jiang and Chuang, Confident Learning, JAIR 2021 (arXiv:1911.00068); cleanlab.

    Raises:
        ConfigError: cleanlab is not installed.
    """
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        raise ConfigError(f"the search for wrong labels {EXTRA}") from None
    found = find_label_issues(y, chances, return_indices_ranked_by="self_confidence", n_jobs=1)
    return np.asarray(found, dtype=np.int64)
