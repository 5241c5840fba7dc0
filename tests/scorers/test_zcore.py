"""ZCore: the authors' numbers on replayed draws, invariants, and the same answer on any path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loop.errors import ConfigError, DataError
from loop.scorers import Inputs, get
from loop.scorers.zcore import ZCore, accumulate, replay, sample_draws
from tests.conftest import ROOT

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def draws():
    return np.load(GOLDEN / "zcore_draws.npz")


def transcription(x, dims, points, k, exponent=4):
    """The published loop in NumPy, weights in float64; ties and copies share."""
    sums, winners = np.zeros(len(x)), []
    for chosen, point in zip(dims, points, strict=True):
        win = int(np.argmin(np.abs(x[:, chosen] - point).sum(axis=1)))
        winners.append(win)
        sums[win] += 1
        distances = np.abs(x[:, chosen] - x[win, chosen]).sum(axis=1)
        distances[win] = np.inf
        if (distances == 0).any():
            sums -= (distances == 0) / (distances == 0).sum()
            continue
        edge = np.sort(distances)[min(k, len(x) - 1) - 1]
        share = np.where(distances < edge, 1.0, 0.0)
        nearer, tied = (distances < edge).sum(), (distances == edge).sum()
        share[distances == edge] = (min(k, len(x) - 1) - nearer) / tied
        weight = share * distances.astype(np.float64) ** -exponent
        sums -= weight / weight.sum()
    return sums, np.array(winners)


@pytest.mark.parametrize("neighbours", [1000, 50])
def test_replayed_draws_give_the_published_scores_and_winners(draws, neighbours):
    dims, points = draws["draw_dims_seed0"], draws["draw_point_seed0"]
    raw, winners = replay(draws["X"], dims, points, neighbours)
    assert winners.tolist() == draws["winner_seed0"].tolist()
    assert np.abs(raw - draws[f"raw_nn{neighbours}_seed0_m5000"]).max() < 1e-4
    assert np.abs(raw - draws[f"tiefree_nn{neighbours}_seed0_m5000"]).max() < 1e-6
    assert np.array_equal(raw, accumulate(draws["X"], dims, points, neighbours))


def test_scores_vary_between_runs_as_the_published_ones_do(draws):
    noise = np.load(GOLDEN / "zcore_noise.npz")
    x, published = draws["X"], noise["scores"]
    ours = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        chosen, points = sample_draws(x, np.arange(32), int(noise["n_draws"]), 2, rng)
        ours.append(accumulate(x, chosen, points, int(noise["redund_nn"])))
    ours = np.array(ours)
    pairs = np.triu_indices(4, 1)
    between = np.array([np.corrcoef(a, b)[0, 1] for a in ours for b in published])
    assert abs(between.mean() - np.corrcoef(published)[pairs].mean()) < 0.08
    assert abs(np.corrcoef(ours)[pairs].mean() - np.corrcoef(published)[pairs].mean()) < 0.08
    assert 0.9 < ours.std() / published.std() < 1.1
    share = np.linspace(0.02, 0.98, 25)
    gap = np.quantile(ours, share) - np.quantile(published, share)
    assert np.abs(gap).max() < 0.15 * published.std()


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 60),
    d=st.integers(1, 5),
    m=st.integers(1, 3),
    k=st.integers(1, 70),
    grid=st.sampled_from([0, 1, 2, 6]),
    exponent=st.sampled_from([4.0, 1.0, 2.5]),
    seed=st.integers(0, 10**6),
)
def test_any_pool_agrees_with_the_transcription(n, d, m, k, grid, exponent, seed):
    """``grid`` = decimals kept: few of them make ties, copies and constant dimensions."""
    rng = np.random.default_rng(seed)
    x = np.round(rng.standard_normal((n, d)), grid).astype(np.float32)
    m = min(m, d)
    dims = np.array([rng.permutation(d)[:m] for _ in range(25)])
    points = np.round(rng.standard_normal((25, m)), grid)
    raw, winners = replay(x, dims, points, k, exponent)
    expected, expected_winners = transcription(x, dims, points, k, exponent)
    if m <= 2:  # longer sums of float32 are rounded in another order
        assert winners.tolist() == expected_winners.tolist()
        np.testing.assert_allclose(raw, expected, atol=2e-5)
    assert abs(raw.sum()) < 1e-9


@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1e6, 1e18])
def test_a_common_scale_changes_nothing(scale):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 4)).astype(np.float32)
    dims, points = sample_draws(x, np.arange(4), 500, 2, rng)
    factor = np.float32(2.0 ** round(np.log2(scale)))  # a power of two: no rounding
    raw = accumulate(x, dims, points, 20)
    assert np.isfinite(raw).all()
    np.testing.assert_array_equal(raw, accumulate(x * factor, dims, points * factor, 20))


def test_the_published_float32_weights_underflow_where_ours_do_not():
    x = (np.random.default_rng(0).standard_normal((50, 2)) * 1e-12).astype(np.float32)
    distances = np.abs(x - x[0]).sum(axis=1)[1:]
    with np.errstate(all="ignore"):
        published = np.float32(1) / distances**4
        assert not np.isfinite(published / published.sum()).all()
    points = np.zeros((10, 2))
    assert np.isfinite(accumulate(x, np.tile([0, 1], (10, 1)), points)).all()


def test_rows_may_come_in_any_order():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((400, 6)).astype(np.float32)
    x[50:60] = x[49]  # copies: each may be the winner, but only the lowest is
    dims, points = sample_draws(x, np.arange(6), 3000, 2, rng)
    order = rng.permutation(400)
    sums, moved_sums = accumulate(x, dims, points, 30), accumulate(x[order], dims, points, 30)
    apart = np.setdiff1d(np.arange(400), np.arange(49, 60))
    back = np.argsort(order)
    np.testing.assert_allclose(moved_sums[back][apart], sums[apart], atol=1e-4)
    assert abs(moved_sums[back][49:60].sum() - sums[49:60].sum()) < 1e-4


THREADS = """
import hashlib
from loop.scorers.zcore import accumulate, sample_draws
import numba, numpy as np
rng = np.random.default_rng(2)
x = rng.standard_normal((2000, 8)).astype(np.float32)
dims, points = sample_draws(x, np.arange(8), 4000, 2, rng)
sums = accumulate(x, dims, points, 100)
print(numba.get_num_threads(), hashlib.sha256(sums.tobytes()).hexdigest())
"""


def test_the_number_of_threads_changes_nothing():
    """Also: numba takes as many threads as OMP_NUM_THREADS says, unless told otherwise."""
    digests = {}
    for threads, name in (("1", "OMP_NUM_THREADS"), ("2", "NUMBA_NUM_THREADS")):
        env = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
        done = subprocess.run(
            [sys.executable, "-c", THREADS],
            env={**env, name: threads, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        seen, digests[threads] = done.stdout.split()
        assert seen == threads
    assert digests["1"] == digests["2"]


DIGEST = """
import hashlib
from loop.scorers.zcore import accumulate, sample_draws
import numpy as np
rng = np.random.default_rng(4)
x = rng.standard_normal((300, 5)).astype(np.float32)
digest = hashlib.sha256()
for m, neighbours in ((2, 45), (3, 44), (2, 299)):
    dims, points = sample_draws(x, np.arange(5), 60, m, rng)
    digest.update(accumulate(x, dims, points, neighbours).tobytes())
print(digest.hexdigest())
"""


def test_compiled_code_rounds_as_the_interpreter_does():
    """So no way of compiling it can change a score: another processor, another process."""
    outputs = set()
    for interpreted in "01":
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", DIGEST],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "NUMBA_DISABLE_JIT": interpreted, "PYTHONPATH": str(ROOT)},
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1


def test_torch_takes_the_same_draws():
    pytest.importorskip("torch")
    from loop.scorers.zcore_torch import accumulate as batched

    rng = np.random.default_rng(3)
    for decimals in (1, 6):
        x = np.round(rng.standard_normal((700, 8)), decimals).astype(np.float32)
        dims, points = sample_draws(x, np.arange(8), 1500, 2, rng)
        raw, winners = replay(x, dims, points, 40)
        sums, torch_winners = batched(x, dims, points, 40, device="cpu")
        assert winners.tolist() == torch_winners.tolist()
        np.testing.assert_allclose(sums, raw, atol=1e-4)


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_dimensions_of_a_draw_are_distinct_and_uniform(m):
    x = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32)
    dims, points = sample_draws(x, np.arange(6), 12_000, m, np.random.default_rng(1))
    assert (np.diff(np.sort(dims, axis=1), axis=1) > 0).all()
    counts = np.bincount(dims.ravel(), minlength=6)
    assert np.abs(counts - 2000 * m).max() < 5 * np.sqrt(2000 * m)
    assert (points >= x.min(axis=0)[dims]).all()
    assert (points <= x.max(axis=0)[dims]).all()


def score(x, seed=0, **params):
    return ZCore(**params).score(Inputs(x.astype(np.float32), 5, np.random.default_rng(seed)))


def test_replicas_repeat_the_same_draws():
    x = np.random.default_rng(0).standard_normal((60, 5))
    single, replicated = score(x, draws=200), score(x, draws=200, replicas=10)
    rank = [np.argsort(np.argsort(s)) for s in (single, replicated)]
    assert not np.array_equal(single, replicated)  # the random start weighs a tenth
    assert np.corrcoef(rank)[0, 1] > 0.9


def test_each_encoder_may_be_brought_to_one_scale():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((80, 3)), rng.standard_normal((80, 2))
    small, large = np.hstack([a, b]), np.hstack([a, 1024 * b])
    same = {"draws": 500, "scale": "rms", "blocks": (3, 2)}
    np.testing.assert_allclose(score(small, **same), score(large, **same), atol=1e-3)
    assert not np.allclose(score(small, draws=500), score(large, draws=500), atol=1e-2)
    with pytest.raises(DataError, match="do not add up to the 5 dimensions"):
        score(small, scale="rms", blocks=(3, 3))
    with pytest.raises(ConfigError, match="scale must be"):
        get("zcore", scale="max")


def test_reliability_grows_with_the_draws():
    x = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)
    inputs = [Inputs(x, 5, np.random.default_rng(s)) for s in (0, 0)]
    few = ZCore(draws=400).explain(inputs[0])
    many = ZCore(draws=40_000).explain(inputs[1])
    assert few["reliability"] < many["reliability"] <= 1
    assert many["draws"] == 40_000


def test_constant_dimensions_are_never_drawn():
    x = np.random.default_rng(0).standard_normal((80, 4))
    more = np.hstack([x[:, :2], np.full((80, 3), 7.0), x[:, 2:]])
    assert np.array_equal(score(x, draws=300), score(more, draws=300))
