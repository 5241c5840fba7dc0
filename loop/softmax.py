"""Softmax in NumPy alone: SciPy's imports its layer for other array libraries, which was a fifth of
what every command takes to start."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[Any], axis: int) -> NDArray[Any]:
    """exp(x) / sum(exp(x)) along an axis, of the shape and floating dtype of ``logits``.

    The same operations in the same order as ``scipy.special.softmax``, so the same bits.
    """
    exponentials = np.exp(logits - np.max(logits, axis=axis, keepdims=True))
    return np.asarray(exponentials / np.sum(exponentials, axis=axis, keepdims=True))
