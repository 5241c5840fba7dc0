"""Greedy methods against brute force, written out plainly, on pools of at most 200 rows."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.linalg import qr

from loop.geometry import neighbours, transform, unit
from loop.scorers import Inputs, coverage, get, similarities
from loop.scorers.coverage import Coverage, exchanged, greedy
from loop.scorers.d2 import MessageGraph
from loop.scorers.facility import half_cosine
from loop.scorers.herding import herd
from loop.scorers.kcenter import farthest_first
from loop.scorers.maxherding import similarity
from loop.scorers.norm import new_directions
from loop.scorers.probcover import Balls, pure_radius
from loop.scorers.typiclust import OpenCluster

SEEDS = range(4)


def pool(seed, n=150, d=9):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) + 2 * np.eye(d)[rng.integers(d, size=n)]
    covered = np.zeros(n, bool)
    covered[rng.choice(n, size=6, replace=False)] = True
    available = ~covered
    available[rng.choice(np.flatnonzero(available), size=15, replace=False)] = False
    return x.astype(np.float32), available, covered


def best_open(values, available, taken):
    values = np.where(available, values, -np.inf)
    values[taken] = -np.inf
    return int(np.argmax(values))


@pytest.mark.parametrize("seed", SEEDS)
def test_kcenter_takes_the_farthest(seed):
    x, available, covered = pool(seed)
    start = np.flatnonzero(covered)
    picks, radii = farthest_first(x, start, 30, available)
    distance = np.linalg.norm(x[:, None].astype(float) - x[None], axis=2)
    chosen = start.tolist()
    for pick, radius in zip(picks, radii, strict=True):
        assert best_open(distance[:, chosen].min(axis=1), available, chosen) == pick
        chosen.append(int(pick))
        rest = available.copy()
        rest[chosen] = False
        assert radius == pytest.approx(distance[rest][:, chosen].min(axis=1).max(), rel=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", ["facility", "rbf", "laplace"])
@pytest.mark.parametrize("stored", [True, False])
def test_lazy_coverage_is_the_plain_greedy(seed, method, stored, monkeypatch):
    if not stored:
        monkeypatch.setattr(coverage, "MATRIX_BYTES", 0)
    x, available, covered = pool(seed)
    rows = unit(x.astype(np.float64))
    kernel = half_cosine if method == "facility" else similarity(method, 0.6)
    weights = np.random.default_rng(seed).random(len(x))
    state = Coverage(rows, kernel, weights=weights)
    state.add(np.flatnonzero(covered))
    picks = greedy(state, 30, available)
    k = kernel(rows @ rows.T)
    best, chosen = k[covered].max(axis=0), []
    for pick in picks:
        gains = np.maximum(k - best, 0) @ weights
        assert best_open(gains, available, chosen) == pick
        chosen.append(pick)
        best = np.maximum(best, k[pick])
    np.testing.assert_allclose(state.covered, best, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("stored", [True, False])
def test_no_exchange_is_left_that_covers_more(seed, stored, monkeypatch):
    if not stored:
        monkeypatch.setattr(coverage, "MATRIX_BYTES", 0)
        monkeypatch.setattr(Coverage, "capacity", lambda self: 10**6)
    x, available, covered = pool(seed)
    rows, kernel = unit(x.astype(np.float64)), similarity("rbf", 0.6)
    weights = np.random.default_rng(seed).random(len(x))
    k = kernel(rows @ rows.T)

    def worth(picks):
        return k[[*np.flatnonzero(covered), *picks]].max(axis=0) @ weights

    def picks_of(method, *also):
        state = Coverage(rows, kernel, weights=weights)
        state.add(np.flatnonzero(covered))
        return method(state, 12, available, *also)

    picks, start = picks_of(exchanged, np.random.default_rng(0)), picks_of(greedy)
    assert len(set(picks)) == 12
    assert available[picks].all()
    assert worth(picks) >= worth(start)
    others = np.setdiff1d(np.flatnonzero(available), picks)
    best = max(worth([*picks[:i], other, *picks[i + 1 :]]) for i in range(12) for other in others)
    assert best <= worth(picks) * (1 + 2 * coverage.LEAST_GAIN)
    for i, pick in enumerate(picks):  # in the order of what each adds
        assert worth([*picks[:i], pick]) == max(worth([*picks[:i], p]) for p in picks[i:])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("seed", SEEDS)
def test_what_earlier_rounds_cover_need_not_be_stored(seed, dtype, monkeypatch):
    """The same picks, bit for bit, and a fraction of the memory."""
    rng = np.random.default_rng(seed)
    rows = unit(rng.standard_normal((900, 6)).astype(dtype))
    covered = rng.choice(900, 60, replace=False)
    available = np.ones(900, bool)
    available[covered] = False
    weights = rng.random(900)
    monkeypatch.setattr(Coverage, "capacity", lambda self: 899)  # all that are available
    monkeypatch.setattr(coverage, "SMALL", 900 if dtype is np.float64 else 0)
    kept, picks = {}, {}
    for share in (0, similarities.SPARSE):
        monkeypatch.setattr(similarities, "SPARSE", share)
        state = Coverage(rows, similarity("rbf", 0.6), weights=weights)
        state.add(covered)
        picks[share] = exchanged(state, 40, available, np.random.default_rng(0))
        kept[share] = sum(value.nbytes for value in vars(state.stored).values() if np.ndim(value))
    some, everything = picks.values()
    assert some == everything
    assert len(set(some)) == 40
    assert min(kept.values()) < max(kept.values()) / 5


def test_exchanges_find_the_best_set_of_a_small_pool():
    """Nine sets in ten; the greedy finds it in fewer than half of these pools."""
    hits = {"kmedoids": 0, "maxherding": 0}
    for seed in range(40):
        x = np.random.default_rng(seed).standard_normal((12, 3)).astype(np.float32)
        rows = transform(x, "centred")
        for name in hits:
            scorer = get(name, geometry="centred", radius=0.7)
            inputs = Inputs(x, 3, np.random.default_rng(0))
            h = scorer.explain(inputs)["radius"]
            k = similarity("rbf", h)((rows @ rows.T).astype(np.float64))
            worth = {s: k[list(s)].max(axis=0).sum() for s in combinations(range(12), 3)}
            picks = np.sort(np.argsort(-scorer.score(inputs), kind="stable")[:3])
            hits[name] += worth[tuple(picks)] > max(worth.values()) * (1 - 1e-4)
    assert hits["kmedoids"] >= 30
    assert hits["kmedoids"] > hits["maxherding"]


def test_in_a_pool_too_large_to_store_only_a_part_are_candidates(monkeypatch):
    x, available, covered = pool(0)
    monkeypatch.setattr(coverage, "MATRIX_BYTES", 40 * len(x) * 8)  # forty rows' similarities
    inputs = Inputs(x, 12, np.random.default_rng(0), covered=covered, available=available)
    scores = get("kmedoids").score(inputs)
    picks = np.argsort(-scores, kind="stable")[:12]
    assert len(set(picks)) == 12
    assert available[picks].all()
    coverage_of_all = Coverage(
        transform(x, "centred"), similarity("rbf", get("kmedoids").explain(inputs)["radius"])
    )

    def worth(chosen):
        coverage_of_all.covered[:] = 0
        coverage_of_all.add(np.concatenate([np.flatnonzero(covered), chosen]))
        return coverage_of_all.covered.sum()

    greedily = get("maxherding", geometry="centred", radius=0.7).score(inputs)
    rng = np.random.default_rng(1)
    usual = np.mean([worth(rng.choice(np.flatnonzero(available), 12)) for _ in range(50)])
    best = worth(np.argsort(-greedily, kind="stable")[:12])
    assert worth(picks) > usual + 0.7 * (best - usual)


@pytest.mark.parametrize("seed", SEEDS)
def test_probcover_takes_the_ball_with_most_uncovered_rows(seed):
    x, available, covered = pool(seed)
    rows = unit(x.astype(np.float64))
    distance = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    balls = Balls(rows, 0.7, np.arange(len(x)))
    balls.cover(np.flatnonzero(covered))
    radius, centres, chosen = 0.7, np.flatnonzero(covered).tolist(), []
    for pick in balls.pick(100, available):
        rest = available.copy()
        rest[chosen] = False
        while True:
            inside = distance < radius
            gains = (inside & ~inside[centres].any(axis=0)).sum(axis=1)
            if gains[rest].max() > 0:
                break
            radius *= 0.7  # all is covered
        assert best_open(gains, available, chosen) == pick
        chosen.append(pick)
        centres.append(pick)
    assert radius < 0.7
    assert len(set(chosen)) == 100


@pytest.mark.parametrize("seed", SEEDS)
def test_the_pure_radius_is_the_largest_that_is_pure_enough(seed):
    x, _, _ = pool(seed)
    rows = unit(x.copy())
    labels = np.random.default_rng(seed).integers(3, size=len(x))
    labels[:100] = 0
    distance = np.linalg.norm(rows[:, None].astype(float) - rows[None], axis=2)
    other = labels[:, None] != labels[None]

    def purity(radius):
        return 1 - ((distance < radius) & other).any(axis=1).mean()

    delta = pure_radius(rows, labels, 0.8, np.random.default_rng(0))
    assert purity(delta * 0.9999) >= 0.8
    larger = np.sort(np.where(other, distance, np.inf).min(axis=1))
    step = larger[larger > delta * 1.0001][0]
    assert purity(step * 1.0001) < 0.8


@pytest.mark.parametrize("seed", SEEDS)
def test_herding_follows_the_mean(seed):
    x, available, covered = pool(seed)
    picks = herd(x, 40, available, np.flatnonzero(covered))
    rows, chosen = x.astype(np.float64), np.flatnonzero(covered).tolist()
    for pick in picks:
        target = (len(chosen) + 1) * rows.mean(axis=0) - rows[chosen].sum(axis=0)
        assert best_open(-np.linalg.norm(target - rows, axis=1), available, chosen) == pick
        chosen.append(int(pick))


def test_herding_beats_random_where_the_argmax_of_deepcore_does_not():
    x, _, _ = pool(0, n=200)
    everything, none = np.ones(200, bool), np.empty(0, np.int64)
    mean = x.mean(axis=0)

    def error(rows):
        return np.linalg.norm(x[rows].mean(axis=0) - mean)

    rng = np.random.default_rng(0)
    usual = np.mean([error(rng.choice(200, 20, replace=False)) for _ in range(200)])
    away, total = [], np.zeros(x.shape[1])
    for t in range(20):  # the published code maximises the distance
        distances = np.linalg.norm((t + 1) * mean - total - x, axis=1)
        distances[away] = -np.inf
        away.append(int(np.argmax(distances)))
        total += x[away[-1]]
    assert error(herd(x, 20, everything, none)) < 0.3 * usual
    assert error(away) > 1.5 * usual


@pytest.mark.parametrize("seed", SEEDS)
def test_greedy_directions_are_the_pivots_of_qr(seed):
    x, _, _ = pool(seed, n=120, d=24)
    picks = new_directions(x, 24, np.ones(120, bool), None)
    assert picks.tolist() == qr(x.T.astype(np.float64), pivoting=True)[2][:24].tolist()


def test_directions_restart_beyond_the_rank_and_leave_zero_rows():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((40, 3)) @ rng.standard_normal((3, 10))).astype(np.float32)
    x[7] = 0
    picks = new_directions(x, 40, np.ones(40, bool), None)
    assert sorted(picks.tolist()) == [i for i in range(40) if i != 7]
    for start in range(0, 36, 3):  # each block spans the space anew
        block = x[picks[start : start + 3]].astype(np.float64)
        assert np.linalg.matrix_rank(block, tol=1e-4) == 3


def test_norm_sampling_draws_in_proportion_to_length():
    x = np.diag([1.0, 2.0, 3.0, 4.0, 0.0]).astype(np.float32)
    for mode in ("sample", "gram_schmidt"):
        first, norm = np.zeros(5), get("norm", mode=mode)
        for seed in range(3000):
            scores = norm.score(Inputs(x, 5, np.random.default_rng(seed)))
            first[np.argmax(scores)] += 1
            assert np.argmin(scores) == 4  # the zero row comes last
        np.testing.assert_allclose(first / 3000, [0.1, 0.2, 0.3, 0.4, 0.0], atol=0.03)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("clamp", [True, False])
def test_d2_passes_messages_on_the_dense_graph(seed, clamp):
    x, available, covered = pool(seed)
    n, k, gamma = len(x), 4, 0.3
    scores = np.random.default_rng(seed).normal(size=n) + (2.0 if clamp else 0.0)
    index, distance = neighbours(x, k)
    edge = np.full((n, n), np.inf)
    for i in range(n):
        for j, d in zip(index[i], distance[i], strict=True):
            edge[i, j] = edge[j, i] = d
    joined = np.isfinite(edge)
    g = scores + (np.exp(-edge) * np.where(joined, np.maximum(scores, 1e-7)[None], 0)).sum(axis=1)
    order = np.flatnonzero(covered)
    for row in order[np.argsort(-g[order], kind="stable")]:
        given = max(g[row], 0) if clamp else g[row]
        g -= np.where(joined[row], np.exp(-gamma * edge[row]), 0) * given
    graph = MessageGraph.of(index, distance, symmetric=True)
    picks, _ = graph.pick(scores, 40, available=available, covered=order, gamma=gamma, clamp=clamp)
    chosen = []
    for pick in picks:
        assert best_open(g, available, chosen) == pick
        given = max(g[pick], 0) if clamp else g[pick]
        g -= np.where(joined[pick], np.exp(-gamma * edge[pick]), 0) * given
        chosen.append(int(pick))


@pytest.mark.parametrize("n", [2, 3, 47])
def test_typiclust_visits_look_at_the_rows_that_are_left(n):
    x = pool(0)[0][:n]
    rows = np.arange(n)
    cluster = OpenCluster(x, rows, 5)
    left = rows.tolist()
    while left:
        distances = np.linalg.norm(x[left, None].astype(float) - x[None, left], axis=2)
        nearest = np.sort(distances, axis=1)[:, 1 : 1 + min(5, len(left) // 2)]
        typical = np.full(len(left), 1e5)
        if nearest.size:
            typical = 1 / ((nearest**2).mean(axis=1) + 1e-5)
        best = cluster.take()
        assert typical[left.index(best)] == pytest.approx(typical.max(), rel=1e-5)
        left.remove(best)
    assert cluster.count == 0


def test_typiclust_survives_exhausted_and_small_clusters():
    """The original fails on an exhausted cluster (argmax of nothing)."""
    x, _, _ = pool(0, n=40)
    covered = np.zeros(40, bool)
    for budget in (1, 7, 39, 40):
        inputs = Inputs(x, budget, np.random.default_rng(0), covered=covered)
        scores = get("typiclust", most_clusters=6).score(inputs)
        assert (scores > -40).sum() == budget


@pytest.mark.parametrize("name", ["kmeans", "typiclust"])
def test_clusters_that_hold_a_covered_row_wait(name):
    rng = np.random.default_rng(0)
    centres = 20 * np.eye(6)
    groups = np.repeat(np.arange(6), 20)
    x = (centres[groups] + rng.standard_normal((120, 6)) * 0.1).astype(np.float32)
    covered = np.isin(np.arange(120), [3, 25])  # of groups 0 and 1
    scorer = get(name, geometry="raw")
    inputs = Inputs(x, 4, np.random.default_rng(1), covered=covered)
    picks = np.argsort(-scorer.score(inputs))[:4]
    assert not covered[picks].any()
    assert sorted(groups[picks]) == [2, 3, 4, 5]


@pytest.mark.parametrize(
    "name", ["facility", "herding", "kcenter", "maxherding", "probcover", "d2"]
)
def test_covered_rows_change_what_is_picked_as_if_they_were_picks(name):
    """Going on after k picks is the same as picking more at once (methods without randomness)."""
    x, _, _ = pool(1, n=120)
    params = {"delta": 0.8} if name == "probcover" else {}
    first = np.zeros(120, bool)
    first[3] = True
    seed = np.random.default_rng
    scores = get(name, **params).score(Inputs(x, 12, seed(0), covered=first))
    order = np.argsort(-np.where(first, -np.inf, scores), kind="stable")
    covered = first.copy()
    covered[order[:5]] = True
    again = get(name, **params).score(Inputs(x, 7, seed(0), covered=covered))
    rest = np.argsort(-np.where(covered, -np.inf, again), kind="stable")
    if name == "d2":  # covered rows pass their messages by size, which need not be pick order
        assert len(set(rest[:7]) & set(order[5:12])) >= 5
    else:
        assert rest[:7].tolist() == order[5:12].tolist()


def test_typiclust_and_kmeans_medoids_lie_in_the_middle_of_their_clusters():
    x, _, _ = pool(0)
    inputs = Inputs(x, 9, np.random.default_rng(0))
    rows = transform(x, "standard")
    picks = np.argsort(-get("kmeans").score(inputs))[:9]
    to_pick = np.linalg.norm(rows[:, None] - rows[picks][None], axis=2).min(axis=1).mean()
    rng = np.random.default_rng(1)
    usual = [
        np.linalg.norm(rows[:, None] - rows[rng.choice(150, 9)][None], axis=2).min(axis=1).mean()
        for _ in range(50)
    ]
    assert to_pick < np.min(usual)
