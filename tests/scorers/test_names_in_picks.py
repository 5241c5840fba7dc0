"""What class names say takes part in the first picks, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from loop import scorers
from loop.name_head import NameHead, Prior
from loop.scorers import Inputs
from loop.scorers.auto import Auto
from loop.scorers.inputs import told_by_names
from loop.train import Task


def inputs(budget, *, names=True, seed=0):
    """80 pictures that look alike at random; the names tell four classes of them apart."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(4), [35, 15, 15, 15])
    told = 0.9 * np.eye(4)[y] + 0.025
    return y, Inputs(
        rng.standard_normal((80, 6)).astype(np.float32),
        budget,
        np.random.default_rng(0),
        n_classes=4,
        names=told if names else None,
    )


def test_each_class_that_names_tell_apart_gets_a_pick():
    found, without = [], []
    for seed in range(6):
        for names, classes in ((True, found), (False, without)):
            y, pool = inputs(4, names=names, seed=seed)
            picks = np.argsort(-Auto().score(pool))[:4]
            classes.append(len(set(y[picks])))
    assert np.mean(found) == 4
    assert np.mean(without) < 3.5


@pytest.mark.parametrize(("budget", "named"), [(4, True), (8, True), (9, False)])
def test_auto_listens_up_to_two_labels_per_class(budget, named):
    choice = Auto(most=1.0).choose(inputs(budget)[1])
    assert choice.scorer == "kmedoids"
    assert ("names" in choice.params) is named
    assert ("class names" in choice.reason) is named
    assert "names" not in Auto(most=1.0).choose(inputs(budget, names=False)[1]).params


def test_kmedoids_alone_does_not_listen():
    for seed in range(3):
        with_names, without = (
            scorers.get("kmedoids").score(inputs(5, names=names, seed=seed)[1])
            for names in (True, False)
        )
        assert np.array_equal(with_names, without)


def test_what_scorers_are_told_holds_no_label():
    rng = np.random.default_rng(0)
    x, p = rng.standard_normal((40, 5)).astype(np.float32), rng.dirichlet(np.ones(3), 40)
    head = NameHead(np.eye(3), 5, 1.0, unit=False)
    told = []
    for labels in (np.zeros(10, np.int64), rng.integers(0, 3, 10)):
        task = Task(3, x, x[:10], labels, prior=Prior(head, p, p[:10]), sample=np.arange(20))
        told.append(told_by_names(task))
    assert np.array_equal(*told)
    assert told[0].shape == (40, 3)
    assert told_by_names(Task(3, x, x, np.zeros(40, np.int64))) is None
