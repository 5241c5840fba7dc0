"""Labels spread over the pool's graph: exact where it can be, and never trusted blindly."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from loop import train
from loop.errors import ConfigError
from loop.train import Task
from loop.train.linear import Linear
from loop.train.neighbour_graph import NeighbourGraph, shares
from loop.train.probe import blend
from loop.train.propagate import Propagate, _left_out, choose_share


def digits() -> tuple[Task, NDArray[np.int64]]:
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order].astype(np.float32), y[order].astype(np.int64)
    return Task(10, x[:900], x[900:], y[900:]), y[:900]


def some(y: NDArray[np.int64], per_class: int, seed: int) -> NDArray[np.int64]:
    """Labels of ``per_class`` random rows of each class, -1 elsewhere."""
    rng = np.random.default_rng(seed)
    known = np.full(len(y), -1, np.int64)
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))[:per_class]
        known[rows] = label
    return known


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_few_labels_of_digits_are_worth_much_more() -> None:
    task, y = digits()
    gains = []
    for seed in range(5):
        known = some(y, 1, seed)
        ours = Propagate().train(task, known, rng())
        assert ours.notes["used"] == "propagate"
        gains.append(ours.metrics.accuracy - Linear().train(task, known, rng()).metrics.accuracy)
    assert np.mean(gains) > 0.05  # +0.08 when written


def test_the_left_out_prediction_is_what_the_other_labels_give() -> None:
    task, y = digits()
    known = some(y, 3, 0)
    rows = np.flatnonzero(known >= 0)
    graph = NeighbourGraph.of(task, 10, 10_000, 32)
    seeds = graph.attach(task.standardised(task.pool[rows]), rows)
    fast = _left_out(seeds, graph.spread(seeds, 0.8), known[rows], 10)
    for i in (0, 7, 29):
        others = np.delete(np.arange(len(rows)), i)
        spread = graph.spread(seeds[:, others], 0.8)[rows[i]]
        labels = known[rows[others]]
        mass = np.array([spread[labels == c].mean() for c in range(10)])
        np.testing.assert_allclose(fast[i], shares(mass[None])[0], rtol=1e-4, atol=1e-7)


def test_spread_is_the_closed_form() -> None:
    task, _ = digits()
    graph = NeighbourGraph.of(task, 10, 200, 16)
    seeds = graph.attach(task.standardised(task.pool[graph.rows[:5]]), graph.rows[:5])
    exact = 0.2 * np.linalg.solve(np.eye(200) - 0.8 * graph.step.toarray(), seeds.toarray())
    np.testing.assert_allclose(graph.spread(seeds, 0.8), exact, atol=5e-4)


def test_a_graph_that_misleads_gets_no_share() -> None:
    """The class is the sign of one dimension; 60 dimensions of clusters have nothing to do with
    it, and the graph follows them."""
    draw = np.random.default_rng(3)
    n = 800
    y = draw.integers(2, size=n)
    clusters = draw.normal(size=(40, 60))[draw.integers(40, size=n)]
    x = np.column_stack([clusters + 0.05 * draw.normal(size=(n, 60)), 2.0 * y - 1])
    task = Task(2, x[:600].astype(np.float32), x[600:].astype(np.float32), y[600:])
    known = np.where(np.arange(600) < 80, y[:600], -1)
    ours, probe = Propagate().train(task, known, rng()), Linear().train(task, known, rng())
    assert ours.notes["used"] == "linear"
    assert "held-out" in str(ours.notes["why"])
    np.testing.assert_array_equal(ours.test_probabilities, probe.test_probabilities)


def test_many_labels_or_one_class_are_the_linear_probe_and_say_why() -> None:
    task, y = digits()
    few = Propagate(per_class=2).train(task, some(y, 3, 0), rng())
    assert few.notes["used"] == "linear"
    assert few.notes["why"] == "over 2 labels per class"
    one_class = Propagate().train(task, np.where(y == 4, y, -1), rng())
    assert one_class.notes["why"] == "labels of one class"


def test_labelled_images_outside_the_sampled_graph_still_count() -> None:
    task, y = digits()
    known = some(y, 4, 1)
    small = Propagate(images=300).train(task, known, rng(), pool_probabilities=True)
    assert small.notes["graph_images"] == 300
    assert small.pool_probabilities is not None
    assert small.pool_probabilities.shape == (900, 10)
    whole = Propagate().train(task, known, rng())
    assert small.metrics.accuracy > whole.metrics.accuracy - 0.08


def test_the_order_of_the_pool_does_not_matter() -> None:
    task, y = digits()
    known = some(y, 2, 0)
    order = np.random.default_rng(5).permutation(len(y))
    turned = Task(10, task.pool[order], task.test, task.test_labels)
    a = Propagate().train(task, known, rng()).test_probabilities
    b = Propagate().train(turned, known[order], rng()).test_probabilities
    np.testing.assert_allclose(a, b, atol=0.02)


def test_test_labels_are_for_measuring_alone() -> None:
    task, y = digits()
    other = Task(10, task.pool, task.test, np.roll(task.test_labels, 1))
    known = some(y, 2, 0)
    a = Propagate().train(task, known, rng()).test_probabilities
    np.testing.assert_array_equal(a, Propagate().train(other, known, rng()).test_probabilities)


def test_copies_constant_dims_and_tiny_pools() -> None:
    x = np.repeat(np.array([[0.0, 1, 5], [1, 0, 5]], np.float32), 4, axis=0)
    task = Task(2, x, x, np.repeat([0, 1], 4))
    known = np.array([0, -1, -1, -1, 1, -1, -1, -1])
    assert Propagate().train(task, known, rng()).metrics.accuracy == 1.0
    two = Task(2, x[[0, 4]], x, np.repeat([0, 1], 4))
    assert Propagate().train(two, np.array([0, 1]), rng()).metrics.accuracy == 1.0


def test_share_falls_with_labels() -> None:
    spread = np.full((40, 4), 0.25)
    y = np.arange(40) % 4
    assert choose_share(spread[:4], None, y[:4])[0] == pytest.approx(20 / 21)
    assert choose_share(spread, np.full((40, 4), np.nan), y)[0] == pytest.approx(20 / 30)


def test_blend_is_a_geometric_mean() -> None:
    p, q = np.array([[0.8, 0.2]]), np.array([[0.2, 0.8]])
    np.testing.assert_allclose(blend([0.5, 0.5], [p, q]), [[0.5, 0.5]])
    np.testing.assert_allclose(blend([1.0, 0.0], [p, q]), p)


@pytest.mark.parametrize("wrong", [{"alpha": 1.0}, {"alpha": 0.0}, {"neighbours": 0}, {"dims": 0}])
def test_parameters_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="propagate"):
        train.get("propagate", **wrong)
