"""Label-based scorers against values that the authors' own functions gave.

What each array means stands in tests/golden/README.md.
"""

from __future__ import annotations

import numpy as np
import pytest

from loop.dynamics import Dynamics
from loop.scorers.badge import Gradients
from loop.scorers.ccs import hard_cut, strata_of
from loop.scorers.coverage import Coverage, greedy
from loop.scorers.maxherding import similarity
from loop.scorers.training import finite
from loop.scorers.uherding import uncertainty, with_temperature
from loop.select import double_end_window, strata_budgets


def recorded(data, half=False, **options):
    dynamics = Dynamics(data["labels"], **options)
    for epoch in range(len(data["logits"])):
        logits = data["logits"][epoch]
        dynamics.update(logits.astype(np.float16) if half else logits)
    return dynamics


@pytest.fixture(scope="module")
def data(golden):
    return np.load(golden / "dynamics.npz")


def test_sums_of_ccs_and_elfs(data):
    dynamics = recorded(data)
    for author in ("ccs", "elfs"):
        np.testing.assert_allclose(dynamics.aum, data[f"{author}_aum"], atol=1e-5)
        np.testing.assert_allclose(dynamics.el2n, data[f"{author}_el2n"], atol=1e-5)
        np.testing.assert_array_equal(dynamics.forgetting_events, data[f"{author}_forgetting"])
        np.testing.assert_array_equal(dynamics.correctness, data[f"{author}_correctness"])


def test_half_precision_records(data):
    dynamics = recorded(data, half=True)
    np.testing.assert_allclose(dynamics.aum, data["elfs_half_aum"], atol=2e-5)
    np.testing.assert_array_equal(dynamics.forgetting_events, data["elfs_half_forgetting"])


def test_never_learned_is_the_hardest(data):
    dynamics = recorded(data)
    np.testing.assert_array_equal(dynamics.forgetting, data["forgetting_datadiet"])
    # CCS, ELFS and DeepCore leave such images at 0, as if they were the easiest
    never = np.isinf(dynamics.forgetting)
    assert (data["ccs_forgetting"][never] == 0).all()
    scores = finite(dynamics.forgetting)
    assert scores[~never].max() < scores[never].min() if never.any() else True


def test_windows(data):
    dynamics = recorded(data, tdds_epochs=30)
    np.testing.assert_allclose(dynamics.dyn_unc, data["dynunc_dual"], atol=1e-10)
    np.testing.assert_allclose(dynamics.dyn_unc_published, data["dynunc_baai"], atol=1e-10)
    np.testing.assert_allclose(dynamics.dual, data["dual"], atol=1e-10)
    np.testing.assert_allclose(dynamics.tdds, data["tdds_T30_J10"], atol=1e-10)
    short = recorded(data, window=5, tdds_epochs=10)
    np.testing.assert_allclose(short.tdds, data["tdds_T10_J5"], atol=1e-10)


def test_aum_is_a_sum_and_not_the_last_epoch(data):
    dynamics = recorded(data)
    # dual-pruning empties its accumulator every epoch; that is the last margin, not AUM
    np.testing.assert_allclose(dynamics.last_margin, data["aum_dual_last_epoch_only"], atol=1e-6)
    assert np.abs(dynamics.aum - dynamics.last_margin).max() > 1


def test_memory_does_not_grow_with_epochs(data):
    dynamics = recorded(data)
    for _ in range(100):
        dynamics.update(data["logits"][0])
    assert len(dynamics._targets) == 10
    assert len(dynamics._changes) == 9


def test_rows_without_a_label_are_left_out(data):
    labels = data["labels"].copy()
    labels[::3] = -1
    dynamics = Dynamics(labels)
    for epoch in range(len(data["logits"])):
        dynamics.update(data["logits"][epoch])
    all_labelled = recorded(data)
    assert np.isnan(dynamics.aum[::3]).all()
    kept = labels >= 0
    np.testing.assert_allclose(dynamics.aum[kept], all_labelled.aum[kept])


def test_ccs_cut_strata_and_budgets(golden):
    data = np.load(golden / "ccs.npz")
    for i in range(int(data["n_cases"])):
        case = {
            k.removeprefix(f"case{i}_"): data[k] for k in data.files if k.startswith(f"case{i}_")
        }
        score = data["aum" if "aum" in str(case["key"]) else "el2n"].astype(np.float64)
        kept = hard_cut(data["aum"].astype(np.float64), int(case["cut_num"]))
        np.testing.assert_array_equal(np.setdiff1d(np.arange(1000), kept), case["cut_ids"])
        stratum = strata_of(score[kept], 50)
        np.testing.assert_array_equal(stratum, case["stratum_of_sample"][kept])
        sizes = np.bincount(stratum, minlength=50)
        share = strata_budgets(sizes, int(case["coreset_num"]))
        expected = zip(case["strata_size"], case["strata_budget"], strict=True)
        # strata of equal size may change places: the authors' sort is not stable
        assert sorted(zip(sizes, share, strict=True)) == sorted(expected)


def test_ccs_strata_at_the_edges():
    # the original: 1.0001 * a negative maximum lies below it, and the top rows fall out
    negative = np.linspace(-5, -1, 100)
    assert strata_of(negative, 10).max() == 9
    assert np.bincount(strata_of(negative, 10)).sum() == 100
    np.testing.assert_array_equal(strata_of(np.full(7, 3.0), 10), 0)


def test_elfs_window(golden):
    data = np.load(golden / "elfs_window.npz")
    aum = data["aum"].astype(np.float64)
    n = len(aum)
    for i in range(int(data["n_cases"])):
        kept = data[f"case{i}_kept_in_order"]
        picks = double_end_window(
            -aum, np.ones(n, bool), len(kept), np.arange(n), skip=float(data[f"case{i}_beta"])
        )
        np.testing.assert_array_equal(picks, kept)


def test_elfs_window_to_the_very_end():
    # where beta n + k = n the original's slice [m:-0] is empty
    picks = double_end_window(-np.arange(10.0), np.ones(10, bool), 6, np.arange(10), skip=0.4)
    np.testing.assert_array_equal(picks, np.arange(4, 10))


def test_badge_distances_and_forced_picks(golden):
    data = np.load(golden / "badge.npz")
    rows = data["unlabeled_ids"]
    space = Gradients.of(data["probs"][rows], data["embeddings"][rows])
    for row, expected in zip(data["dist_rows"], data["dist_from_rows"], strict=True):
        np.testing.assert_allclose(np.sqrt(space.squared_distances(int(row))), expected, atol=1e-6)
    picks = [int(space.squared_lengths.argmax())]
    assert rows[picks[0]] == data["first_centre"]
    nearest = space.squared_distances(picks[0])
    for expected in data["sampling_prob_before_pick_2_to_k"]:
        np.testing.assert_allclose(nearest / nearest.sum(), expected, atol=1e-10)
        picks.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, space.squared_distances(picks[-1]))
        nearest[picks] = 0
    np.testing.assert_array_equal(rows[picks], data["forced_argmax_picks"])


@pytest.mark.parametrize("kind", ["margin", "entropy", "confidence"])
@pytest.mark.parametrize("mode", ["warm", "warm_adaptive"])
def test_uherding(golden, kind, mode):
    data = np.load(golden / "uherding.npz")
    x = data["features"] / np.linalg.norm(data["features"], axis=1, keepdims=True)
    z = data["logits"] - data["logits"].max(axis=1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    name = f"uherding_{ {'confidence': 'conf'}.get(kind, kind) }_{mode}"
    labelled = data["warm_labeled"]
    weights = uncertainty(with_temperature(p, float(data["temperature"])), kind)
    weights[labelled] = 0
    np.testing.assert_allclose(weights, data[f"{name}_uncertainty"], atol=1e-10)
    state = Coverage(x, similarity("rbf", float(data[f"{name}_radius_used"])), weights=weights)
    state.add(labelled)
    free = ~np.isin(np.arange(len(x)), labelled)
    np.testing.assert_array_equal(greedy(state, 20, free), data[f"{name}_picks"])
