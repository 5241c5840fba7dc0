"""Selectors: exact budgets, stable ties, nothing that is not available, each rule's own band."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loop import select
from loop.errors import ConfigError, DataError

GOLDEN = Path(__file__).parent / "golden"


def everything(n):
    return np.ones(n, bool)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    seed=st.integers(0, 1000),
    part=st.floats(0, 1),
    rule=st.sampled_from(["top", "band", "window", "strata", "balanced"]),
)
def test_every_rule_picks_exactly_the_budget_of_available_rows(values, seed, part, rule):
    rng = np.random.default_rng(seed)
    scores = np.array(values, np.float64)
    available = rng.random(len(scores)) < 0.7
    budget = int(part * available.sum())
    ties = select.tiebreak(len(scores), seed)
    picks = {
        "top": lambda: select.top(scores, available, budget, ties),
        "band": lambda: select.middle_band(scores, available, budget, ties),
        "window": lambda: select.double_end_window(scores, available, budget, ties, skip=0.3),
        "strata": lambda: select.stratified(scores, available, budget, rng, strata=4),
        "balanced": lambda: select.balanced(
            scores, available, budget, ties, rng.integers(3, size=len(scores))
        ),
    }[rule]()
    assert len(picks) == len(set(picks.tolist())) == budget
    assert available[picks].all()
    assert picks.dtype == np.int64


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.integers(0, 3), min_size=2, max_size=50), seed=st.integers(0, 99))
def test_a_smaller_budget_is_a_prefix(values, seed):
    scores = np.array(values, np.float64)
    n, ties = len(scores), select.tiebreak(len(scores), seed)
    order = select.top(scores, everything(n), n, ties)
    assert (np.diff(scores[order]) <= 0).all()
    groups = np.arange(n) % 3
    dealt = select.balanced(scores, everything(n), n, ties, groups)
    for k in range(n):
        assert select.top(scores, everything(n), k, ties).tolist() == order[:k].tolist()
        picks = select.balanced(scores, everything(n), k, ties, groups)
        assert picks.tolist() == dealt[:k].tolist()


def test_ties_are_ordered_by_the_seed_not_by_the_rows():
    scores = np.zeros(100)
    picks = [select.top(scores, everything(100), 10, select.tiebreak(100, s)) for s in (1, 1, 2)]
    assert picks[0].tolist() == picks[1].tolist()
    assert set(picks[0].tolist()) != set(picks[2].tolist())
    assert picks[0].tolist() != sorted(picks[0].tolist())


@pytest.mark.parametrize("budget", [-1, 4])
def test_a_budget_that_cannot_be_met_is_refused(budget):
    available = np.array([True, True, True, False])
    with pytest.raises(DataError, match=rf"budget is {budget}, but 3 images"):
        select.top(np.zeros(4), available, budget, np.arange(4))


def test_the_middle_band_lies_around_the_median_and_grows_outwards():
    scores = np.arange(101, dtype=np.float64)[::-1].copy()
    ties = np.arange(101)
    band = select.middle_band(scores, everything(101), 11, ties)
    assert sorted(band.tolist()) == list(range(45, 56))
    assert band[0] == 50
    wider = select.middle_band(scores, everything(101), 21, ties)
    assert wider[:11].tolist() == band.tolist()


def test_the_window_skips_the_highest_and_stays_inside():
    scores = np.arange(10, dtype=np.float64)
    ties = np.arange(10)
    window = select.double_end_window(scores, everything(10), 3, ties, skip=0.2)
    assert window.tolist() == [7, 6, 5]
    # the published slice is empty when nothing is left at the easy end
    exact = select.double_end_window(scores, everything(10), 8, ties, skip=0.2)
    assert exact.tolist() == list(range(7, -1, -1))
    moved = select.double_end_window(scores, everything(10), 9, ties, skip=0.5)
    assert moved.tolist() == list(range(8, -1, -1))
    with pytest.raises(DataError, match="skip must be"):
        select.double_end_window(scores, everything(10), 2, ties, skip=1.0)


def test_strata_share_the_budget_smallest_first():
    assert select.strata_budgets(np.array([1, 50, 3, 20]), 20).tolist() == [1, 8, 3, 8]
    assert select.strata_budgets(np.array([2, 2]), 3).tolist() == [1, 2]
    assert select.strata_budgets(np.array([5, 0]), 5).tolist() == [5, 0]


def test_equal_scores_are_one_stratum():
    picks = select.stratified(np.full(30, -2.0), everything(30), 7, np.random.default_rng(0))
    assert len(set(picks.tolist())) == 7


def test_strata_cover_the_whole_range_evenly():
    scores = np.concatenate([np.zeros(900), np.linspace(1, 10, 100)])
    picks = select.stratified(scores, everything(1000), 60, np.random.default_rng(0), strata=10)
    assert (scores[picks] == 0).sum() < 12
    assert scores[picks].max() > 9


def test_groups_get_equal_shares_until_they_run_out():
    groups = np.repeat([0, 1, 2], [70, 4, 26])
    scores = np.random.default_rng(0).random(100)
    picks = select.balanced(scores, everything(100), 30, np.arange(100), groups)
    assert np.bincount(groups[picks]).tolist() == [13, 4, 13]
    best = [scores[groups == g].max() for g in range(3)]
    assert sorted(scores[picks[:3]]) == sorted(best)


def test_rules_by_name():
    scores, available = np.arange(10.0), everything(10)
    assert select.picks("top", scores, available, 2, 0).tolist() == [9, 8]
    assert sorted(select.picks("middle", scores, available, 2, 0)) == [4, 5]
    assert select.picks("window", scores, available, 2, 0, skip=0.3).tolist() == [6, 5]
    assert len(set(select.picks("strata", scores, available, 10, 0).tolist())) == 10
    with pytest.raises(ConfigError, match="top, middle, window, strata"):
        select.picks("best", scores, available, 2, 0)
