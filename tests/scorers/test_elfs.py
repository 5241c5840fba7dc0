"""ELFS: the clustering loss is TEMI's, clusters are found, no label is ever seen."""

from __future__ import annotations

import numpy as np
import pytest

from loop import scorers, simulation, train
from loop.errors import DataError
from loop.geometry import neighbours, unit
from loop.scorers import Inputs, temi
from loop.scorers.elfs import Elfs


def blobs(n=300, classes=4, d=16, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=n)
    x = 4 * rng.standard_normal((classes, d))[y] + rng.standard_normal((n, d))
    return x.astype(np.float32), y.astype(np.int64)


def test_loss_prior_and_gradient_agree_with_the_authors(golden):
    import torch

    data = np.load(golden / "temi.npz")
    for step in range(int(data["n_steps"])):
        student = torch.tensor(data[f"step{step}_student_logits"], requires_grad=True)
        teacher = torch.tensor(data[f"step{step}_teacher_logits"])
        prior = torch.tensor(data[f"step{step}_prior_before"])
        losses, after = temi.loss(student, teacher, prior)
        losses.mean().backward()
        np.testing.assert_allclose(losses.detach(), data[f"step{step}_head_losses"], atol=1e-10)
        np.testing.assert_allclose(after, data[f"step{step}_prior_after"], atol=1e-10)
        np.testing.assert_allclose(student.grad, data[f"step{step}_student_grad"], atol=1e-10)


@pytest.mark.slow
def test_clusters_are_found():
    x, y = blobs()
    x = unit(x)
    index, _ = neighbours(x, 20)
    clusters, _ = temi.cluster(
        x, index, 4, np.random.default_rng(0), count=4, epochs=300, batch=100
    )
    table = np.zeros((4, 4))
    np.add.at(table, (y, clusters), 1)
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-table)
    assert table[rows, columns].sum() / len(y) > 0.9


def inputs(x, budget=30, **options):
    task = train.Task(4, x, x[:5], np.zeros(5, np.int64))
    fit = lambda y: train.get("linear").dynamics(task, y, np.random.default_rng(1))  # noqa: E731
    options = {"n_classes": 4, "fit": fit, **options}
    return Inputs(x, budget, np.random.default_rng(0), **options)


def test_window_is_full_and_repeatable():
    x, _ = blobs()
    scorer = scorers.get("elfs", heads=2, epochs=3)
    scores, again = scorer.score(inputs(x)), scorer.score(inputs(x))
    np.testing.assert_array_equal(scores, again)
    assert (scores > -len(x)).sum() == 30
    everything = scorer.score(inputs(x, budget=300))
    assert sorted(-everything) == list(range(300))


def test_it_needs_classes_and_a_fit():
    x, _ = blobs()
    with pytest.raises(DataError, match="classes"):
        scorers.get("elfs").score(inputs(x, n_classes=None))
    with pytest.raises(DataError, match="fit"):
        scorers.get("elfs").score(inputs(x, fit=None))


@pytest.mark.parametrize("key", ["aum", "forgetting", "el2n"])
def test_the_key_matters_and_the_hardest_are_skipped(key):
    x, _ = blobs()
    scores = scorers.get("elfs", heads=2, epochs=3, key=key, beta=0.3).score(inputs(x))
    without_skipping = scorers.get("elfs", heads=2, epochs=3, key=key, beta=0.0).score(inputs(x))
    assert set(np.argsort(-scores)[:30]) != set(np.argsort(-without_skipping)[:30])


def test_true_labels_never_reach_it():
    """It is given none, and what it trains on are its own pseudo-labels."""
    x, y = blobs()
    given = []

    class Watched(Elfs):
        def score(self, inputs):
            given.append(inputs)
            return super().score(inputs)

    task = train.Task(4, x, x[:5], y[:5])
    none = np.empty(0, np.int64)
    picks = simulation.extend(task, y, "elfs", Watched(heads=2, epochs=3), none, 30, 0)
    assert len(set(picks.tolist())) == 30
    (inputs,) = given
    assert (inputs.labels == -1).all()
    assert inputs.probabilities is None
    pseudo = np.arange(len(x)) % 4
    np.testing.assert_array_equal(inputs.fit(pseudo).labels, pseudo)
