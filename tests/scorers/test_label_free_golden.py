"""The label-free methods against numbers from their authors' own functions (tests/golden)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loop.geometry import neighbours, unit
from loop.scorers.coverage import Coverage, greedy
from loop.scorers.d2 import MessageGraph
from loop.scorers.kcenter import farthest_first
from loop.scorers.maxherding import similarity
from loop.scorers.moderate import from_the_middle, prototype_distances
from loop.scorers.probcover import Balls
from loop.scorers.typiclust import OpenCluster, visit
from loop.select import middle_band, top

GOLDEN = Path(__file__).parents[1] / "golden"


def golden(name):
    return np.load(GOLDEN / f"{name}.npz")


def covered_rows(z, start, n):
    covered = np.zeros(n, bool)
    covered[z[f"{start}_labeled"]] = True
    return covered


@pytest.mark.parametrize(("start", "picks"), [("start", "picks"), ("start_multi", "picks_multi")])
def test_kcenter(start, picks):
    z = golden("kcenter")
    order, radii = farthest_first(z["features"], z[start], int(z["k"]), np.ones(400, bool))
    assert order.tolist() == z[picks].tolist()
    if start == "start":
        np.testing.assert_allclose(radii, z["radius"], rtol=1e-5)


@pytest.mark.parametrize("key", [k for k in golden("d2").files if k.startswith("picks_")])
def test_d2(key):
    z = golden("d2")
    _, path, mode, update, which = key.split("_")
    x, index = z["features"], z["knn_index"]
    distance = np.linalg.norm(x[:, None] - x[index], axis=2)
    picks, start = MessageGraph.of(index, distance, symmetric=path == "dense").pick(
        z["scores"].astype(np.float64),
        int(z["k"]),
        available=np.ones(len(x), bool),
        covered=np.empty(0, np.int64),
        gamma=float(z["gammas"][int(which[1])]),
        mode=mode,
        update=update,
        clamp=False,
    )
    assert picks.tolist() == z[key].tolist()
    np.testing.assert_allclose(start, z[f"start_density_{path}_{mode}"], atol=1e-10)


def test_neighbours_are_those_of_d2():
    z = golden("d2")
    index, distance = neighbours(z["features"].astype(np.float32), 5)
    assert index.tolist() == z["knn_index"].tolist()
    exact = np.linalg.norm(z["features"][:, None] - z["features"][index], axis=2)
    np.testing.assert_allclose(distance, exact, rtol=1e-4)


@pytest.mark.parametrize("start", ["cold", "warm"])
def test_typiclust(start):
    z = golden("typiclust")
    covered = covered_rows(z, start, 420)
    picks = visit(
        z["features"],
        z["cluster_labels"],
        ~covered,
        covered,
        int(z["budget"]),
        least_members=int(z["min_cluster_size"]),
        most_neighbours=int(z["k_nn"]),
    )
    assert picks == z[f"{start}_picks"].tolist()
    first = z["cluster_labels"] == z[f"{start}_cluster_order"][0]
    largest = OpenCluster(z["features"], np.flatnonzero(first & ~covered), int(z["k_nn"]))
    np.testing.assert_allclose(largest.typicality(), z[f"{start}_first_typicality"], rtol=1e-4)


@pytest.mark.parametrize("start", ["cold", "warm"])
def test_probcover(start):
    z = golden("probcover")
    covered = covered_rows(z, start, 500)
    balls = Balls(unit(z["features"].copy()), float(z["delta"]), np.arange(500))
    balls.cover(np.flatnonzero(covered))
    assert balls.pick(int(z["budget"]), ~covered) == z[f"{start}_picks"].tolist()
    assert np.flatnonzero(balls.covered).tolist() == z[f"{start}_covered_ids_end"].tolist()


@pytest.mark.parametrize("start", ["cold", "warm"])
@pytest.mark.parametrize("kernel", ["rbf", "laplace", "tophat"])
def test_maxherding(start, kernel):
    z = golden("uherding")
    covered = covered_rows(z, start, 260)
    state = Coverage(unit(z["features"].copy()), similarity(kernel, float(z["radius"])))
    state.add(np.flatnonzero(covered))
    picks = greedy(state, int(z["budget"]), ~covered)
    assert picks == z[f"maxherding_{kernel}_{start}_picks"].tolist()
    if kernel == "rbf":
        end = z[f"maxherding_rbf_{start}_max_similarity_end"]
        np.testing.assert_allclose(state.covered, end, atol=1e-10)


@pytest.mark.parametrize("case", range(4))
def test_moderate_with_true_classes(case):
    z = golden("moderate")
    distances = prototype_distances(z["features"], z["labels"])
    np.testing.assert_allclose(distances, z["distance"], atol=1e-10)
    kept = z[f"case{case}_kept_ids"]
    everything, ties = np.ones(len(distances), bool), np.arange(len(distances))
    band = middle_band(distances, everything, len(kept), ties)
    assert np.sort(band).tolist() == kept.tolist()
    ranked = top(from_the_middle(distances), everything, len(kept), ties)
    assert np.sort(ranked).tolist() == kept.tolist()
    # what the original returns, and what a later copy of it kept by mistake, are both tails
    assert not np.isin(z[f"case{case}_returned_ids"], ranked).any()
