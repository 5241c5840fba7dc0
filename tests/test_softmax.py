"""Our softmax gives the bits that SciPy's gives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from loop.softmax import softmax


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_the_bits_of_scipy(scale, dtype, axis):
    logits = (scale * np.random.default_rng(0).standard_normal((4, 5, 6))).astype(dtype)
    ours = softmax(logits, axis=axis)
    assert ours.dtype == dtype
    np.testing.assert_array_equal(ours, special.softmax(logits, axis=axis))


def test_large_logits_do_not_overflow():
    np.testing.assert_array_equal(softmax(np.array([[1e4, 1e4, -1e4]]), axis=1), [[0.5, 0.5, 0.0]])
