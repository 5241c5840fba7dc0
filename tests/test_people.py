"""Agreement against the krippendorff package, costs against odd lead times."""

from __future__ import annotations

import numpy as np
import pytest

from loop.annotators import krippendorff_alpha
from loop.costs import hours, typical


def test_alpha_agrees_with_the_package():
    krippendorff = pytest.importorskip("krippendorff", reason="extra 'annotators' not installed")
    rng = np.random.default_rng(0)
    truth = rng.integers(4, size=60)
    table = np.where(rng.random((3, 60)) < 0.7, truth, rng.integers(4, size=(3, 60))).astype(float)
    table[rng.random((3, 60)) < 0.3] = np.nan
    votes = [(i, a, table[a, i]) for a in range(3) for i in range(60) if not np.isnan(table[a, i])]
    expected = krippendorff.alpha(table, level_of_measurement="nominal")
    assert krippendorff_alpha(votes) == pytest.approx(expected)


def test_alpha_needs_two_votes_and_two_labels():
    assert krippendorff_alpha([(1, "a", "x"), (2, "b", "y")]) is None
    assert krippendorff_alpha([(1, "a", "x"), (1, "b", "x")]) is None
    assert krippendorff_alpha([(1, "a", "x"), (1, "b", "x"), (2, "a", "y"), (2, "b", "y")]) == 1


def test_a_lunch_break_does_not_count():
    assert typical([2.0] * 99 + [3600.0]) == pytest.approx(2.08)
    assert hours([2.0, None, 0.0, 2.0]) == pytest.approx(4 * 2 / 3600)
    assert hours([None]) is None
