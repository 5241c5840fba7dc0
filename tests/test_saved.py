"""Labels saved: an interval over seeds, open where random's curve ends."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from loop.saved import saved_interval


def cells(shift, seeds=8, noise=0.01, budgets=(10, 20, 40, 80)):
    """Random rises 0.1 per doubling; the other method is ``shift`` doublings ahead."""
    rng = np.random.default_rng(0)
    out = {}
    for s in range(seeds):
        for b in budgets:
            height = 0.4 + 0.1 * np.log2(b / 10)
            out["random", b, s] = height + noise * rng.standard_normal()
            out["mine", b, s] = height + 0.1 * shift + noise * rng.standard_normal()
    return out


def interval(found, budget):
    return saved_interval(found, "mine", budget, np.random.default_rng(1))


def test_one_doubling_saves_as_many_labels_as_there_are():
    low, high = interval(cells(1), 20)
    assert low < 20 < high
    assert high - low < 15
    exact = interval(cells(1, noise=1e-9), 20)
    assert exact == pytest.approx((20, 20), abs=0.1)


def test_beyond_randoms_curve_an_end_is_open():
    low, high = interval(cells(0.97), 40)
    assert low is not None
    assert high is None
    assert interval(cells(3), 80) is None


def test_four_seeds_say_nothing():
    assert interval(cells(1, seeds=4), 20) is None


def test_the_ends_are_expanded_percentiles():
    """Random is certain here, so labels saved rise with the mean of five accuracies, and all 3,125
    resamples can be listed."""
    heights = np.array([0.50, 0.52, 0.55, 0.59, 0.64])
    curve = [(b, 0.4 + 0.1 * np.log2(b / 10)) for b in (10, 20, 40, 80, 160)]
    accuracy = {("random", b, s): height for b, height in curve for s in range(5)}
    accuracy |= {("mine", 20, s): float(height) for s, height in enumerate(heights)}
    means = np.array([heights[list(rows)].mean() for rows in product(range(5), repeat=5)])
    tail = stats.norm.sf(np.sqrt(5 / 4) * stats.t.ppf(0.9, 4))
    expected = [10 * 2 ** ((end - 0.4) / 0.1) - 20 for end in np.quantile(means, [tail, 1 - tail])]
    ends = [
        saved_interval(accuracy, "mine", 20, np.random.default_rng(seed), level=0.8)
        for seed in range(30)
    ]
    assert np.mean(ends, axis=0) == pytest.approx(expected, rel=0.08)  # else 1.2 and 0.9 times


def test_the_interval_is_one_of_95_percent():
    accuracy = cells(1)
    default = interval(accuracy, 20)
    same = saved_interval(accuracy, "mine", 20, np.random.default_rng(1), level=0.95)
    narrower = saved_interval(accuracy, "mine", 20, np.random.default_rng(1), level=0.9)
    assert default == same
    assert default[0] < narrower[0] < narrower[1] < default[1]


@pytest.mark.parametrize("seeds", [5, 10])
def test_few_seeds_cover_what_they_promise(seeds):
    """The plain percentiles of five seeds cover 81 %."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(150):
        found = {}
        for s in range(seeds):
            for b in (10, 20, 40, 80, 160):
                height = 0.4 + 0.1 * np.log2(b / 10)
                found["random", b, s] = height + 0.02 * rng.standard_normal()
                found["mine", b, s] = height + 0.1 + 0.02 * rng.standard_normal()
        low, high = saved_interval(found, "mine", 40, rng)
        held.append((low is None or low <= 40) and (high is None or high >= 40))
    assert np.mean(held) > 0.87
