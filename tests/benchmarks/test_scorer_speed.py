"""Speed and memory of the label-free scorers, each against a plain NumPy transcription of the
published algorithm in the same run.

    pytest tests/benchmarks --benchmark-only -s

prints ratios, seconds and how cost grows with the pool and the budget. Wall-clock figures depend on
the machine and on what else it does; sizes are float32, 512 dimensions.
"""

from __future__ import annotations

import sys
import time
import tracemalloc

import numpy as np
import pytest

from loop.geometry import neighbours, unit
from loop.scorers import Inputs, get
from loop.scorers.kcenter import farthest_first
from loop.scorers.zcore import replay, sample_draws

N, D = 50_000, 512


def pool(n, d=D, seed=0):
    """Correlated dimensions around ten centres, as embeddings of images have."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((64, d), dtype=np.float32) / 8
    hidden = rng.standard_normal((n, 64), dtype=np.float32)
    hidden += 2 * rng.standard_normal((10, 64), dtype=np.float32)[rng.integers(10, size=n)]
    return hidden @ mix + 0.3 * rng.standard_normal((n, d), dtype=np.float32)


def seconds(work):
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def scored(name, x, k, **params):
    return get(name, **params).score(Inputs(x, k, np.random.default_rng(0)))


def exponent(sizes, times):
    """Slope of log time over log size."""
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(times, 1e-4)), 1)[0])


def say(line):
    print(f"\n  {line}", end="", file=sys.stderr)


def plain_zcore(x, dims, points, k):
    sums, winners = np.zeros(len(x)), []
    for where, point in zip(dims, points, strict=True):
        win = int(np.argmin(np.sum(np.abs(x[:, where] - point), axis=1)))
        winners.append(win)
        sums[win] += 1
        far = np.sum(np.abs(x[:, where] - x[win, where]), axis=1)
        near = np.argsort(far)[1:]
        if far[near[0]] == 0:
            sums[near[0]] -= 1
            continue
        near = near[:k]
        weight = 1 / far[near].astype(np.float64) ** 4
        sums[near] -= weight / weight.sum()
    return sums, winners


def plain_kcenter(x, start, k):
    """With the (k, N) matrix and the search over all picks that the published code has."""
    matrix = np.zeros((k + 1, len(x)), np.float32)
    chosen, open_ = [start], np.ones(len(x), bool)
    norms = (x * x).sum(axis=1)
    for i in range(k):
        row = chosen[-1]
        open_[row] = False
        matrix[i] = np.sqrt(np.maximum(norms + norms[row] - 2 * (x @ x[row]), 1e-12))
        rest = np.flatnonzero(open_)
        chosen.append(int(rest[np.argmax(matrix[: i + 1][:, rest].min(axis=0))]))
    return chosen[1:]


def plain_facility(x, k):
    similarity = 0.5 + 0.5 * (x @ x.T)
    best, chosen = np.zeros(len(x), np.float32), []
    for _ in range(k):
        gains = np.maximum(similarity - best, 0).sum(axis=1)
        gains[chosen] = -1
        chosen.append(int(np.argmax(gains)))
        best = np.maximum(best, similarity[chosen[-1]])
    return chosen


def plain_maxherding(x, k, h):
    kernel = np.exp(-np.maximum(2 - 2 * (x @ x.T), 0) / h**2)
    best, chosen = np.zeros(len(x), np.float32), []
    for _ in range(k):
        gains = np.maximum(kernel - best, 0).mean(axis=1)
        gains[chosen] = -1
        chosen.append(int(np.argmax(gains)))
        best = np.maximum(best, kernel[chosen[-1]])
    return chosen


def plain_d2(x, k, count=10, gamma=0.1):
    distance = np.sqrt(np.maximum(2 - 2 * (x @ x.T), 0)).astype(np.float64)
    np.fill_diagonal(distance, np.inf)
    near = np.argsort(distance, axis=1)[:, :count]
    edge = np.zeros(distance.shape, bool)
    np.put_along_axis(edge, near, True, axis=1)
    edge |= edge.T
    g = 1 + np.where(edge, np.exp(-distance), 0).sum(axis=1)
    chosen = []
    for _ in range(k):
        g[chosen] = -np.inf
        v = int(np.argmax(g))
        g -= np.where(edge[v], np.exp(-gamma * distance[v]), 0) * g[v]
        chosen.append(v)
    return chosen


def plain_herding(x, k):
    mean, total, chosen = x.mean(axis=0), np.zeros(x.shape[1]), []
    for t in range(k):
        far = np.linalg.norm((t + 1) * mean - total - x, axis=1)
        far[chosen] = np.inf
        chosen.append(int(np.argmin(far)))
        total += x[chosen[-1]]
    return chosen


def test_zcore_a_million_draws(benchmark):
    x = pool(N)
    rng = np.random.default_rng(1)
    few = sample_draws(x, np.arange(D), 40, 2, rng)
    replay(x[:100], *few)  # compiled
    plain, (sums, winners) = seconds(lambda: plain_zcore(x, *few, 1000))
    replayed, replayed_winners = replay(x, *few)
    assert replayed_winners.tolist() == winners
    assert np.abs(replayed - sums).max() < 1e-3
    draws = sample_draws(x, np.arange(D), 1_000_000, 2, rng)
    benchmark.pedantic(replay, args=(x, *draws), rounds=1)
    ours = benchmark.stats.stats.total
    ratio = plain / 40 * 1_000_000 / ours
    say(f"zcore n={N}: {ours:.1f} s per million draws, {ratio:.0f} times the transcription")
    assert ours < 90
    assert ratio >= 100


def test_zcore_memory(benchmark):
    x = pool(N)
    draws = sample_draws(x, np.arange(D), 1_000_000, 2, np.random.default_rng(1))
    replay(x[:100], draws[0][:10], draws[1][:10])
    tracemalloc.start()
    benchmark.pedantic(replay, args=(x, *draws), rounds=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    say(f"zcore extra memory: {peak / x.nbytes:.2f} times the embeddings")
    assert peak <= 2 * x.nbytes


def test_kcenter_against_the_matrix(benchmark):
    x = pool(10_000)
    everything = np.ones(len(x), bool)
    plain, chosen = seconds(lambda: plain_kcenter(x, 0, 1000))
    benchmark.pedantic(farthest_first, args=(x, np.array([0]), 1000, everything), rounds=2)
    ours = benchmark.stats.stats.min
    picks, _ = farthest_first(x, np.array([0]), 1000, everything)
    say(f"kcenter n=10000 k=1000: {plain / ours:.0f} times the transcription ({ours:.2f} s)")
    assert picks.tolist() == chosen
    assert plain / ours >= 20


@pytest.mark.parametrize("name", ["facility", "maxherding", "d2", "herding"])
def test_greedy_methods_against_transcriptions(benchmark, name):
    x = pool(4000)
    rows, k = unit(x.copy()), 100
    plain, _ = seconds(
        {
            "facility": lambda: plain_facility(rows, k),
            "maxherding": lambda: plain_maxherding(rows, k, 0.5),
            "d2": lambda: plain_d2(rows, k),
            "herding": lambda: plain_herding(rows, k),
        }[name]
    )
    scored(name, x[:50], 3)
    benchmark.pedantic(scored, args=(name, x, k), rounds=4)
    ours = benchmark.stats.stats.min
    say(f"{name} n=4000 k=100: {plain / ours:.1f} times the transcription ({ours:.2f} s)")
    assert plain > ours


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("kmeans", 30),
        ("typiclust", 30),
        ("kmedoids", 60),
        ("kcenter", 30),
        ("facility", 300),
        ("maxherding", 300),
        ("probcover", 300),
        ("d2", 300),
        ("herding", 30),
        ("norm", 30),
    ],
)
def test_fifty_thousand_images_and_a_budget_of_500(benchmark, name, limit):
    x = pool(N)
    scored(name, x[:60], 3)
    tracemalloc.start()
    benchmark.pedantic(scored, args=(name, x, 500), rounds=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    ours = benchmark.stats.stats.total
    say(f"{name} n={N} k=500: {ours:.1f} s, extra memory {peak / 2**30:.2f} GiB")
    assert ours < limit
    assert peak < 4 * 2**30


def test_elfs_end_to_end(benchmark):
    """k-NN graph, clustering heads, linear proxy, beta: 10,000 images in under five minutes."""
    from loop.train import Task
    from loop.train.linear import Linear

    x = pool(10_000)
    task = Task(10, x, x[:10], np.zeros(10, np.int64))
    inputs = Inputs(
        x,
        1000,
        np.random.default_rng(0),
        n_classes=10,
        fit=lambda y: Linear().dynamics(task, y, np.random.default_rng(0)),
    )
    benchmark.pedantic(get("elfs").score, args=(inputs,), rounds=1)
    ours = benchmark.stats.stats.total
    say(f"elfs n=10000 d={D} k=1000: {ours:.0f} s")
    assert ours < 300


def test_neighbours_against_the_matrix_product(benchmark):
    x = pool(20_000)
    neighbours(x[:100], 10)

    def product():
        for start in range(0, len(x), 2000):
            x[start : start + 2000] @ x.T

    gemm = min(seconds(product)[0] for _ in range(2))
    benchmark.pedantic(neighbours, args=(x, 10), rounds=2)
    ours = benchmark.stats.stats.min
    say(f"neighbours n=20000 k=10: {ours:.2f} s, {ours / gemm:.2f} times the matrix product")
    assert ours <= 1.5 * gemm


@pytest.mark.parametrize(
    "name",
    [
        "random",
        "balanced",
        "kmeans",
        "typiclust",
        "kmedoids",
        "kcenter",
        "facility",
        "maxherding",
        "probcover",
        "d2",
        "herding",
        "norm",
        "prototypical",
        "moderate",
        "zcore",
    ],
)
def test_growth(benchmark, name):
    """How seconds grow with the pool (budget 100) and the budget (8,000 images)."""
    params = {"draws": 20_000} if name == "zcore" else {}
    sizes, budgets = (2000, 4000, 8000, 16_000), (25, 50, 100, 200, 400)
    x = pool(max(sizes), 128)
    scored(name, x[:60], 3, **params)
    by_size = [seconds(lambda n=n: scored(name, x[:n], 100, **params))[0] for n in sizes]
    by_budget = [seconds(lambda k=k: scored(name, x[:8000], k, **params))[0] for k in budgets]
    benchmark.pedantic(scored, args=(name, x[:8000], 100), kwargs=params, rounds=1)
    n, k = exponent(sizes, by_size), exponent(budgets, by_budget)
    say(f"{name}: {by_size[2]:.3f} s at 8000 x 128, k=100; grows as n^{n:.2f}, k^{k:.2f}")
    assert n < 2.5
