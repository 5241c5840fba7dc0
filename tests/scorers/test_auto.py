"""auto: the choice follows from what is known before labelling; scores are those of the choice."""

from __future__ import annotations

import numpy as np
import pytest

from loop import scorers, simulation, train
from loop.scorers import Inputs
from loop.scorers.auto import Auto


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
        (3, "kmedoids", "dense"),
        (15, "kmedoids", "dense"),
        (150, "kmedoids", "dense"),
        (151, "random", "per class"),
        (201, "random", "of the pool"),
    ],
)
def test_choice_and_scores(budget, choice, because):
    x, _ = pool()
    auto = scorers.get("auto")
    explanation = auto.explain(inputs(x, budget))
    assert explanation["choice"] == choice
    assert because in explanation["reason"]
    params = {"geometry": "centred", "radius": 0.7} if choice == "kmedoids" else {}
    expected = scorers.get(choice, **params).score(inputs(x, budget))
    np.testing.assert_array_equal(auto.score(inputs(x, budget)), expected)


def test_earlier_picks_count():
    x, _ = pool()
    covered = np.zeros(len(x), bool)
    covered[:148] = True
    assert scorers.get("auto").explain(inputs(x, 6, covered=covered))["choice"] == "random"


def test_later_rounds_go_by_the_labels_collected():
    x, y = pool()
    covered = np.zeros(len(x), bool)
    covered[:30] = True
    seen = np.where(covered, y, -1)
    unsure = np.full((len(x), 3), 1 / 3)
    neighbourhood = np.argsort(np.linalg.norm(x - x[200], axis=1))[:60]
    sure = 0.01 + 0.97 * np.eye(3)[y]
    sure[neighbourhood] = 1 / 3
    auto = scorers.get("auto")
    picks_nearby = []
    for probabilities in (unsure, sure):
        given = inputs(x, 12, covered=covered, labels=seen, probabilities=probabilities)
        explanation = auto.explain(given)
        assert explanation["choice"] == "uherding"
        assert "30 labels" in explanation["reason"]
        picks = np.argsort(-auto.score(given))[:12]
        picks_nearby.append(np.isin(picks, neighbourhood).sum())
    assert picks_nearby[1] > picks_nearby[0] + 4


def test_few_labels_make_no_model_to_go_by():
    x, y = pool()
    covered = np.arange(len(x)) < 14
    given = inputs(
        x,
        12,
        covered=covered,
        labels=np.where(covered, y, -1),
        probabilities=np.full((len(x), 3), 1 / 3),
    )
    assert scorers.get("auto").explain(given)["choice"] == "kmedoids"
    assert scorers.get("auto", trust=0.0).explain(given)["choice"] == "uherding"


def test_true_labels_never_reach_it():
    """The first round sees none; later ones only those of images picked before, and a model that
    was trained on these alone."""
    x, y = pool()
    task = train.Task(3, x, x[:5], y[:5])
    given = []

    class Watched(Auto):
        def score(self, inputs):
            given.append(inputs)
            return super().score(inputs)

    def extend(labels, picks, budget):
        return simulation.extend(task, labels, "auto", Watched(), picks, budget, 0)

    first = extend(y, np.empty(0, np.int64), 6)
    extend(y, first, 30)
    assert (given[0].labels == -1).all()
    assert given[0].probabilities is None
    expected = np.full(len(y), -1)
    expected[first] = y[first]
    np.testing.assert_array_equal(given[1].labels, expected)
    shuffled = np.random.default_rng(5).permutation(y)
    shuffled[first] = y[first]
    extend(shuffled, first, 30)
    np.testing.assert_array_equal(given[1].probabilities, given[2].probabilities)


def test_a_network_gets_variety_from_20_labels_per_class_on():
    x, _ = pool()
    half = {"classifier": "images"}
    few, more = inputs(x, 60, **half), inputs(x, 61, **half)
    auto = scorers.get("auto")
    assert auto.explain(few)["choice"] == "kmedoids"
    assert auto.explain(more)["choice"] == "random"
    assert auto.explain(inputs(x, 61))["choice"] == "kmedoids"
