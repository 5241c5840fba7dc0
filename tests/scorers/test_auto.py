"""auto: the choice follows from what is known before labelling; scores are those of the choice."""

from __future__ import annotations

import numpy as np
import pytest

from loop import compare, scorers, train
from loop.scorers import Inputs


def pool(n=400, classes=3, d=8):
    rng = np.random.default_rng(0)
    y = rng.integers(classes, size=n)
    x = 3 * rng.standard_normal((classes, d))[y] + rng.standard_normal((n, d))
    return x.astype(np.float32), y.astype(np.int64)


def inputs(x, budget, **options):
    return Inputs(x, budget, np.random.default_rng(0), **{"n_classes": 3, **options})


@pytest.mark.parametrize(
    ("budget", "choice", "because"),
    [
        (3, "maxherding", "dense"),
        (15, "maxherding", "dense"),
        (150, "maxherding", "dense"),
        (151, "random", "per class"),
        (201, "random", "of the pool"),
    ],
)
def test_choice_and_scores(budget, choice, because):
    x, _ = pool()
    auto = scorers.get("auto")
    told = auto.explain(inputs(x, budget))
    assert told["choice"] == choice
    assert because in told["reason"]
    params = {"geometry": "both", "radius": [0.5, 1.0]} if choice == "maxherding" else {}
    expected = scorers.get(choice, **params).score(inputs(x, budget))
    np.testing.assert_array_equal(auto.score(inputs(x, budget)), expected)


def test_earlier_picks_count():
    x, _ = pool()
    covered = np.zeros(len(x), bool)
    covered[:148] = True
    assert scorers.get("auto").explain(inputs(x, 6, covered=covered))["choice"] == "random"


def test_true_labels_never_reach_it():
    x, y = pool()
    task = train.Task(3, x, x[:5], y[:5])
    shuffled = np.random.default_rng(5).permutation(y)
    assert (shuffled != y).any()
    found = []
    for labels in (y, shuffled):
        picks = np.empty(0, np.int64)
        for budget in (6, 30):
            picks = compare.extend(task, labels, "auto", scorers.get("auto"), picks, budget, 0)
        found.append(picks)
    np.testing.assert_array_equal(*found)
