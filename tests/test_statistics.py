"""Statistics: intervals are what they are called, differences are paired, labels saved have an
interval over seeds, open where random's curve ends."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from loop.statistics import labels_saved, paired, saved_interval, t_interval


def test_t_interval_agrees_with_scipy():
    values = np.array([0.1, 0.4, 0.3, 0.2])
    expected = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert t_interval(values) == pytest.approx(expected)


def test_no_interval_goes_beyond_what_an_accuracy_can_be():
    wide = {("random", 10, 0): 0.02, ("random", 10, 1): 0.99, ("random", 10, 2): 1.0}
    (row,) = paired(wide, {})
    assert row.interval == (0.0, 1.0)


def test_t_interval_covers():
    rng = np.random.default_rng(0)
    hits = sum(
        low < 1 < high for low, high in (t_interval(rng.normal(1, 2, 5)) for _ in range(2000))
    )
    assert 0.93 < hits / 2000 < 0.97


def test_paired_difference_uses_pairs():
    accuracy = {}
    for seed, base in enumerate((0.2, 0.5, 0.8)):
        accuracy["random", 10, seed] = base
        accuracy["mine", 10, seed] = base + 0.1 + 0.001 * seed
    rows = {row.method: row for row in paired(accuracy, {})}
    assert rows["random"].difference is None
    low, high = rows["mine"].difference_interval
    assert 0.09 < low < high < 0.11  # the spread of the seeds cancels


def test_labels_saved():
    curve = [(10, 0.5), (100, 0.9)]
    assert labels_saved(curve, 10, 0.7) == pytest.approx(10**1.5 - 10)
    assert labels_saved(curve, 10, 0.95) is None


def test_noise_never_bends_the_reference_down():
    """The curve reaches 0.68 between 10 and 20 labels, though 40 labels were measured below."""
    noisy = [(10, 0.5), (20, 0.7), (40, 0.65), (80, 0.9)]
    between = 10 * 2 ** (0.18 / 0.2)
    assert labels_saved(noisy, 5, 0.68) == pytest.approx(between - 5)
    saved = [labels_saved(noisy, 0, height) for height in np.linspace(0.5, 0.9, 41)]
    assert saved == sorted(saved)


def test_a_plateau_counts_where_it_begins():
    assert labels_saved([(20, 0.9), (50, 1.0), (100, 1.0)], 20, 1.0) == pytest.approx(30)


def test_one_ranking_is_one_outcome_however_many_random_picks_it_is_set_against():
    """An order that knows nothing is no more often "surely" better or worse than was said."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        same = rng.normal()
        accuracy = {("fixed", 10, s): same + 0.05 * rng.normal() for s in range(5)}
        accuracy |= {("random", 10, s): rng.normal() for s in range(5)}
        row = next(r for r in paired(accuracy, {}, one_pool=True) if r.method == "fixed")
        low, high = row.difference_interval
        wrong += low > 0 or high < 0
    assert wrong / 400 < 0.08  # 0.3 with an interval of random's mean alone


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


def interval(accuracies, budget):
    return saved_interval(accuracies, "mine", budget, np.random.default_rng(1))


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
        accuracies = {}
        for s in range(seeds):
            for b in (10, 20, 40, 80, 160):
                height = 0.4 + 0.1 * np.log2(b / 10)
                accuracies["random", b, s] = height + 0.02 * rng.standard_normal()
                accuracies["mine", b, s] = height + 0.1 + 0.02 * rng.standard_normal()
        low, high = saved_interval(accuracies, "mine", 40, rng)
        held.append((low is None or low <= 40) and (high is None or high >= 40))
    assert np.mean(held) > 0.87
