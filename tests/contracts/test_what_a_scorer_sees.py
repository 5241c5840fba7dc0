"""What a scorer may see is the same in a live round, in a comparison and in ``check_scorer``.

Spies answer the labels that they were shown as their scores. Two faults that once passed every test
are named here, as lines of ``loop/scorers/inputs.py`` today, and each test says which it notices:

* LIVE: ``labels=known`` whatever is wanted (live, each scorer saw the labels collected);
* COMPARED: ``known = all_labels`` whatever is wanted (compared, each scorer saw all of its pool).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from sklearn.datasets import load_digits

from db import arrays, queries
from db.models import Array
from loop import config, scorers, simulation, train
from loop.errors import NotReady
from loop.project import create
from loop.project.problem import problem
from loop.project.rounds import begin_round
from loop.scorers import Inputs, Scorer
from loop.scorers.inputs import inputs_for
from loop.steps.run import run
from loop.steps.score import score
from loop.testing import ContractBroken, check_scorer, for_needs, pools
from loop.train.network import Network
from tests.conftest import small_values

X, Y = load_digits(return_X_y=True)
TASK = train.Task(10, X[:300].astype(np.float32), X[300:400].astype(np.float32), Y[300:400])
LABELS = Y[:300].astype(np.int64)


class Spying(Scorer):
    """Answers the labels that it is shown."""

    nested: ClassVar[bool] = False
    seen: ClassVar[list[Inputs]] = []

    def score(self, inputs):
        self.seen.append(inputs)
        return inputs.labels.astype(np.float64)


@dataclass(frozen=True)
class Blind(Spying):
    """Asks for nothing."""


@dataclass(frozen=True)
class Doubtful(Spying):
    """Asks for a model, not for labels."""

    uses: ClassVar[frozenset[str]] = frozenset({"probabilities"})


@dataclass(frozen=True)
class Fitting(Spying):
    """Asks for a training run, not for labels."""

    needs: ClassVar[frozenset[str]] = frozenset({"fit", "classes"})


@dataclass(frozen=True)
class Learning(Spying):
    """Asks for the labels collected."""

    uses: ClassVar[frozenset[str]] = frozenset({"collected"})


@dataclass(frozen=True)
class Knowing(Spying):
    """Asks for every label."""

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})


@dataclass(frozen=True)
class Modelled(Spying):
    """Asks for a model even in the first round."""

    needs: ClassVar[frozenset[str]] = frozenset({"probabilities"})


WITHOUT_LABELS = [Blind, Doubtful, Fitting]
EVERY = [*WITHOUT_LABELS, Learning, Knowing]


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """The spies by name, as if they were built in; nothing seen yet."""
    Spying.seen.clear()
    for spy in (*EVERY, Modelled):
        name = f"spy_{spy.__name__.lower()}"
        monkeypatch.setitem(scorers.REGISTRY.built_in, name, f"{__name__}:{spy.__name__}")


def expected(spy, collected, everything):
    """The labels that a spy may see."""
    if spy is Knowing:
        return everything
    return collected if spy is Learning else np.full(len(everything), -1)


@pytest.mark.parametrize("spy", [*WITHOUT_LABELS, Learning])
def test_in_a_live_round(spy, project):
    """Notices LIVE. The second round: there are labels, and only one spy asks for them."""
    name = f"spy_{spy.__name__.lower()}"
    selection = project.config.selection.model_copy(update={"scorer": name, "params": {}})
    spied = create(
        project.root.parent / "spied",
        project.config.model_copy(
            update={
                "selection": selection.model_copy(update={"budgets": [6]}),
                "compare": project.config.compare.model_copy(update={"baselines": []}),
            }
        ),
    )
    run(spied)
    Spying.seen.clear()
    begin_round(spied, 6)
    score(spied)
    with spied.records.read() as session:
        seen = problem(session, spied)
        row = session.query(Array).filter_by(kind="scores", of="round-2").one()
        scores = np.asarray(arrays.load(row, spied.arrays))
        assert len(queries.picked_rows(session, row.pool_id)) == 6
    assert (seen.labels >= 0).sum() == 6
    np.testing.assert_array_equal(scores, expected(spy, seen.labels, seen.labels))
    (shown,) = Spying.seen
    assert (shown.probabilities is not None) == (spy is Doubtful)
    assert (shown.fit is not None) == (spy is Fitting)


@pytest.mark.parametrize("spy", EVERY)
def test_in_a_comparison(spy):
    """Notices COMPARED, and LIVE."""
    name, method = spy.__name__.lower(), spy()
    budgets = (20, 40)
    outcomes = simulation.simulate(TASK, LABELS, {name: method}, budgets, (0,), train.get("linear"))
    first, _second = outcomes
    collected = np.full(len(LABELS), -1)
    for shown, picks in zip(Spying.seen, ([], first.picks), strict=True):
        collected[picks] = LABELS[picks]
        np.testing.assert_array_equal(shown.labels, expected(spy, collected, LABELS))
        assert (shown.probabilities is not None) == (spy is Doubtful and len(picks) > 0)
        assert (shown.fit is not None) == (spy is Fitting)


@pytest.mark.parametrize("spy", EVERY)
def test_in_the_check_that_plugin_authors_run(spy):
    """Notices both."""
    for _name, everything in pools():
        collected = np.where(everything.covered, everything.labels, -1)
        shown = for_needs(spy(), everything)
        np.testing.assert_array_equal(shown.labels, expected(spy, collected, everything.labels))
    if spy in WITHOUT_LABELS:
        with pytest.raises(ContractBroken, match="read labels without naming them"):
            check_scorer(spy)
    else:
        check_scorer(spy)


def test_who_needs_every_label_cannot_choose_what_to_label(tmp_path, images):
    values = small_values(images, selection={"scorer": "spy_knowing"})
    with pytest.raises(NotReady, match="needs a label on every image"):
        run(create(tmp_path / "p", config.check(values, "test")))
    assert Spying.seen == []


def test_who_needs_a_model_cannot_choose_the_first_round(tmp_path, images):
    values = small_values(images, selection={"scorer": "spy_modelled"})
    with pytest.raises(NotReady, match="cannot choose the first round"):
        run(create(tmp_path / "p", config.check(values, "test")))
    assert Spying.seen == []


@pytest.mark.parametrize("trainer", ["propagate", "linear", "timm:test_resnet"])
def test_a_training_run_is_the_probes_or_the_networks_own_in_every_path(trainer, monkeypatch):
    """Whatever trains on embeddings, the probe is recorded; a network records itself."""
    trained, own = [], train.get(trainer)
    for kind in (train.linear.Linear, Network):
        monkeypatch.setattr(kind, "dynamics", lambda self, *_: trained.append(self))
    unknown = np.full(len(LABELS), -1, np.int64)
    for all_labels in (None, LABELS):
        task = train.Task(10, TASK.pool, TASK.test, TASK.test_labels)
        inputs = inputs_for(
            Fitting(),
            task,
            unknown,
            np.zeros(len(LABELS), bool),
            5,
            own,
            seed=0,
            rng=np.random.default_rng(0),
            model_rng=np.random.default_rng(0),
            all_labels=all_labels,
        )
        inputs.fit(LABELS)
    assert trained == ([own, own] if trainer.startswith("timm") else [train.get("linear")] * 2)
