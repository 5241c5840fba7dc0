"""What must hold on any pool: orders that do not depend on row order, copies, budgets, geometry."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loop import geometry
from loop.errors import ConfigError, DataError
from loop.geometry import median_distance, neighbours, statistics, transform
from loop.scorers import Inputs, get
from loop.scorers.balanced import in_turns
from loop.select import tiebreak, top

DETERMINISTIC = {
    "d2": {},
    "facility": {},
    "herding": {},
    "kmedoids": {},
    "maxherding": {"kernel": "laplace"},
    "norm": {"mode": "greedy"},
    "probcover": {"delta": 0.8},
}
LABEL_FREE = [
    "balanced",
    "d2",
    "facility",
    "herding",
    "kcenter",
    "kmeans",
    "kmedoids",
    "maxherding",
    "moderate",
    "norm",
    "probcover",
    "prototypical",
    "random",
    "typiclust",
    "zcore",
]


def score(name, x, budget, seed=0, **params):
    inputs = Inputs(np.asarray(x, np.float32), budget, np.random.default_rng(seed))
    return get(name, **params).score(inputs)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_scores_follow_the_rows_when_rows_change_places(name):
    rng = np.random.default_rng(4)
    x = rng.standard_normal((90, 7))
    order = rng.permutation(90)
    params = DETERMINISTIC[name]
    # ties (equal counts of covered rows) fall to the lowest row, so probcover is compared by gain
    scores = score(name, x, 20, **params)
    moved_scores = score(name, x[order], 20, **params)
    if name == "probcover":
        picks, moved_picks = np.argsort(-scores)[:20], np.argsort(-moved_scores)[:20]
        assert covered_by(x, picks) == covered_by(x[order], moved_picks)
    else:
        np.testing.assert_array_equal(moved_scores, scores[order])


def covered_by(x, picks):
    rows = x / np.linalg.norm(x, axis=1, keepdims=True)
    return int((np.linalg.norm(rows[:, None] - rows[picks][None], axis=2) < 0.8).any(1).sum())


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 40),
    d=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    decimals=st.sampled_from([0, 4]),
    part=st.floats(0, 1.2),
)
@pytest.mark.parametrize("name", LABEL_FREE)
def test_any_pool_gets_finite_scores_and_an_exact_selection(name, n, d, seed, decimals, part):
    x = np.round(np.random.default_rng(seed).standard_normal((n, d)), decimals)
    budget = int(part * n)
    scores = score(name, x, budget, seed)
    assert np.isfinite(scores).all()
    picks = top(scores, np.ones(n, bool), min(budget, n), tiebreak(n, seed))
    assert len(set(picks.tolist())) == min(budget, n)


@pytest.mark.parametrize(
    "name", ["kcenter", "kmeans", "kmedoids", "maxherding", "typiclust", "facility"]
)
def test_a_copy_is_not_picked_before_another_group(name):
    rng = np.random.default_rng(0)
    centres = np.eye(5) * 10
    x = np.repeat(centres, [30, 10, 10, 10, 10], axis=0) + rng.standard_normal((70, 5)) * 0.05
    x[:30] = x[0]
    picks = np.argsort(-score(name, x, 5, geometry="unit"))[:5]
    assert len(set(np.repeat(np.arange(5), [30, 10, 10, 10, 10])[picks])) == 5


def test_kmeans_begins_with_the_largest_clusters():
    rng = np.random.default_rng(0)
    sizes = [60, 5, 30, 15]
    groups = np.repeat(np.arange(4), sizes)
    x = 10 * np.eye(4)[groups] + rng.standard_normal((110, 4)) * 0.1
    picks = np.argsort(-score("kmeans", x, 4, geometry="raw"))[:4]
    assert groups[picks].tolist() == [0, 2, 3, 1]


def test_moderate_takes_the_middle_of_every_cluster():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 101)
    wide = np.where(groups == 0, 0.1, 3.0)[:, None]  # a global band would take one cluster only
    x = 40 * np.eye(2)[groups] + rng.standard_normal((202, 2)) * wide
    scores = score("moderate", x, 20, clusters=2)
    picks = np.argsort(-scores)[:20]
    assert np.bincount(groups[picks]).tolist() == [10, 10]


def test_prototypical_near_is_far_reversed():
    x = np.random.default_rng(0).standard_normal((50, 4))
    np.testing.assert_array_equal(
        score("prototypical", x, 5), -score("prototypical", x, 5, keep="far")
    )


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("norm", {"mode": "long"}, "mode must be one of"),
        ("prototypical", {"keep": "all"}, "keep must be near or far"),
        ("maxherding", {"radius": 0}, "radius must be above 0"),
        ("maxherding", {"kernel": "box"}, "kernel must be one of"),
        ("facility", {"geometry": "raw"}, "unit or standard"),
        ("probcover", {"purity": 0.0}, "purity must be in"),
        ("d2", {"neighbours": 0}, "neighbours must be at least 1"),
    ],
)
def test_a_value_that_is_refused_is_named(name, params, message):
    with pytest.raises(ConfigError, match=message):
        get(name, **params)


def test_an_unknown_geometry_is_named():
    with pytest.raises(ConfigError, match=r"'round'.*raw, unit, centred, standard"):
        transform(np.ones((2, 2), np.float32), "round")


def test_balanced_deals_groups_in_turn():
    groups = np.repeat([0, 1, 2], [50, 3, 20])
    available = np.ones(73, bool)
    available[50] = False
    order = np.argsort(-in_turns(groups, available, np.random.default_rng(0)), kind="stable")
    assert sorted(groups[order[:6]]) == [0, 0, 1, 1, 2, 2]
    assert sorted(groups[order[6:10]]) == [0, 0, 2, 2]
    assert order[-1] == 50


def test_balanced_by_labels_needs_them():
    inputs = Inputs(np.ones((4, 2), np.float32), 2, np.random.default_rng(0))
    with pytest.raises(DataError, match="needs a label"):
        get("balanced_labels").score(inputs)


def test_standard_geometry_forgets_shift_and_scale_of_a_dimension():
    x = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
    moved = x * np.float32([1, 8, 0.5, 2]) + np.float32([0, 16, -4, 1])
    np.testing.assert_allclose(transform(x, "standard"), transform(moved, "standard"), atol=1e-5)
    constant = np.hstack([x, np.full((60, 1), 1e6, np.float32)])
    np.testing.assert_allclose(
        transform(constant, "standard")[:, :4], transform(x, "standard"), atol=1e-6
    )
    assert not transform(np.zeros((3, 2), np.float32), "unit").any()
    assert transform(x, "raw") is x


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 60), k=st.integers(0, 70), seed=st.integers(0, 10**6))
def test_neighbours_are_exact_and_never_the_row_itself(n, k, seed):
    x = np.round(np.random.default_rng(seed).standard_normal((n, 3)), 1).astype(np.float32)
    index, distance = neighbours(x, k, tile=7)
    full = np.linalg.norm(x[:, None].astype(float) - x[None], axis=2)
    np.fill_diagonal(full, np.inf)
    k = min(k, n - 1)
    assert index.shape == distance.shape == (n, max(k, 0))
    np.testing.assert_allclose(distance, np.sort(full, axis=1)[:, :k], atol=2e-3)
    assert not (index == np.arange(n)[:, None]).any()
    assert all(len(set(row)) == k for row in index.tolist())


def test_the_median_distance_is_that_of_all_pairs():
    x = np.random.default_rng(0).standard_normal((1200, 5)).astype(np.float32)
    for n, close in ((300, 1e-5), (1200, 0.02)):  # all pairs; a sample of pairs
        pairs = np.linalg.norm(x[:n, None] - x[None, :n], axis=2)[np.triu_indices(n, 1)]
        median = median_distance(x[:n], np.random.default_rng(1))
        assert median == pytest.approx(np.median(pairs), rel=close)
    assert median_distance(x[:1], np.random.default_rng(1)) == 0.0


@pytest.mark.parametrize("shape", [(1, 3), (20_000, 5), (8193, 64)])
def test_statistics_take_a_block_at_a_time_and_are_those_of_numpy(shape):
    x = (3 * np.random.default_rng(0).standard_normal(shape) + 1).astype(np.float32)
    x[:, -1] = 7
    tracemalloc.start()
    mean, std = statistics(x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    expected = x.std(axis=0, dtype=np.float64)
    expected[expected < 1e-9] = 1
    np.testing.assert_array_equal(mean, x.mean(axis=0, dtype=np.float64))
    np.testing.assert_array_equal(std, expected)
    assert peak < 4 * 8 * geometry.STATISTICS_ROWS * shape[1] + 10**5
