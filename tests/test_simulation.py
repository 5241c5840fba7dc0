"""Simulation: label-free stays label-free, cells are reproducible."""

from __future__ import annotations

import copy
from dataclasses import fields, replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from loop import geometry, scorers, simulation, train
from loop.errors import ConfigError
from loop.scorers import Inputs, coverage
from loop.scorers.inputs import inputs_for
from loop.simulation import draw, drawn, kind, simulate
from loop.train import Task
from loop.train.linear import Linear

X, Y = load_digits(return_X_y=True)
X, Y = X.astype(np.float32), Y.astype(np.int64)
TASK = Task(10, X[:600], X[600:900], Y[600:900])
LABELS = Y[:600]
FREE = [name for name in scorers.names() if scorers.load(name).label_free()]


def cells(methods, labels=LABELS, budgets=(10, 30), seeds=(0,), **options):
    chosen = {name: scorers.get(name) for name in methods}
    return list(simulate(TASK, labels, chosen, budgets, seeds, train.get("linear"), **options))


def spied(scorer, budgets=(10, 30), seeds=(0, 1), **options):
    """Cells of a scorer that has another way to score, and the inputs that it was given."""
    given: list[Inputs] = []

    class Spy(type(scorer)):
        def score(self, inputs):
            given.append(inputs)
            return inputs.labels + inputs.rng.random(inputs.n)

    values = {f.name: getattr(scorer, f.name) for f in fields(scorer)}
    trainer = train.get("linear")
    spy = {"spy": Spy(**values)}
    return list(simulate(TASK, LABELS, spy, budgets, seeds, trainer, **options)), given


@pytest.mark.parametrize("name", FREE)
def test_label_free_methods_never_see_labels(name):
    _, given = spied(scorers.get(name))
    assert given
    for inputs in given:
        assert (inputs.labels == -1).all()
        assert inputs.probabilities is None
        if inputs.fit is not None:  # what it learns from is what the method asks for
            own = np.arange(inputs.n) % 10
            np.testing.assert_array_equal(inputs.fit(own).labels, own)


def test_methods_that_go_by_collected_labels_see_those_of_their_picks_alone():
    outcomes, given = spied(scorers.get("auto"))
    picks = [cell.picks for cell in outcomes]
    for inputs, before in zip(given, ([], picks[0], [], picks[2]), strict=True):
        seen = np.flatnonzero(inputs.labels >= 0)
        assert sorted(before) == seen.tolist()
        np.testing.assert_array_equal(inputs.labels[seen], LABELS[seen])
        assert (inputs.probabilities is None) == (len(before) == 0)


def test_each_seed_draws_of_its_own_and_methods_of_one_seed_are_paired(monkeypatch):
    """A training generator by (seed, budget), the same for all methods; picks by seed."""
    drawn_first: dict[tuple[int, int], set[float]] = {}
    training = Linear.train

    def watched(self, task, known, rng, **options):
        if not options:  # the training of a cell, not of a model to score with
            first = drawn_first.setdefault((seed, int((known >= 0).sum())), set())
            first.add(float(copy.deepcopy(rng).random()))
        return training(self, task, known, rng, **options)

    monkeypatch.setattr(Linear, "train", watched)
    picks = {}
    for seed in (0, 1, 2):
        for cell in cells(["random", "kmeans", "margin"], seeds=(seed,)):
            picks[cell.method, cell.budget, seed] = frozenset(cell.picks.tolist())
    assert len(drawn_first) == 6
    assert all(len(values) == 1 for values in drawn_first.values())
    assert len(set.union(*drawn_first.values())) == 6
    for method in ("random", "kmeans", "margin"):
        assert len({picks[method, 10, seed] for seed in (0, 1, 2)}) == 3


def test_picks_are_distinct_and_exact_and_nested_over_rounds():
    for name in ("random", "kmeans", "margin"):
        first, second = cells([name])
        assert len(first.picks) == len(set(first.picks)) == 10
        assert len(second.picks) == len(set(second.picks)) == 30
        np.testing.assert_array_equal(first.picks, second.picks[:10])


def test_cells_do_not_depend_on_what_is_skipped():
    whole = {(c.method, c.budget, c.seed): c for c in cells(["random", "margin"], seeds=(0, 1))}
    some = cells(["random", "margin"], seeds=(0, 1), skip=[("margin", 10, 0), ("random", 30, 1)])
    assert len(some) == len(whole) - 2
    for cell in some:
        other = whole[cell.method, cell.budget, cell.seed]
        np.testing.assert_array_equal(cell.picks, other.picks)
        assert cell.metrics == other.metrics


def test_one_training_run_serves_every_budget_of_a_seed(monkeypatch):
    """And all methods that learn from the same labels: pseudo-labels here, true ones there."""
    runs, fit = [], Linear.dynamics

    def counted(self, task, labels, rng):
        runs.append(labels)
        return fit(self, task, labels, rng)

    monkeypatch.setattr(Linear, "dynamics", counted)
    chosen = {name: scorers.get(name) for name in ("elfs", "aum", "el2n")}
    task = Task(10, X[:300], X[600:700], Y[600:700])
    list(simulate(task, Y[:300], chosen, (10, 20), (0,), train.get("linear")))
    assert len(runs) == 2


@pytest.mark.parametrize("name", ["random", "zcore", "facility", "maxherding", "norm"])
def test_more_budgets_do_not_move_the_picks_of_a_nested_method(name):
    small = cells([name], budgets=(10, 30))[1]
    large = cells([name], budgets=(10, 30, 60))[1]
    np.testing.assert_array_equal(small.picks, large.picks)


def test_a_sample_is_learned_with_the_picks_and_shown_to_nobody(monkeypatch):
    learned = []

    def counting(self, task, labels, rng, **options):
        learned.append(labels >= 0)
        return plain(self, task, labels, rng, **options)

    plain = Linear.train
    monkeypatch.setattr(Linear, "train", counting)
    outcomes, given = spied(scorers.get("kmedoids"), budgets=(30, 50), seeds=(0,), sample=20)
    assert [cell.budget for cell in outcomes] == [30, 50]
    assert [len(cell.picks) for cell in outcomes] == [10, 30]
    assert [int(rows.sum()) for rows in learned] == [30, 50]
    for rows, cell in zip(learned, outcomes, strict=True):
        assert rows[cell.picks].all()
        sample = np.setdiff1d(np.flatnonzero(rows), cell.picks)
        assert len(sample) == 20
        for inputs in given:
            assert not inputs.available[sample].any()
            assert not inputs.covered[sample].any()
            assert (inputs.labels[sample] == -1).all()


def test_methods_of_one_seed_have_the_same_sample(monkeypatch):
    learned = []

    def keeping(self, task, labels, rng, **options):
        learned.append(set(np.flatnonzero(labels >= 0).tolist()))
        return plain(self, task, labels, rng, **options)

    plain = Linear.train
    monkeypatch.setattr(Linear, "train", keeping)
    outcomes = cells(["random", "kmedoids"], budgets=(30,), sample=20)
    samples = [rows - set(cell.picks.tolist()) for rows, cell in zip(learned, outcomes)]
    assert samples[0] == samples[1]
    assert len(samples[0]) == 20


@pytest.mark.parametrize(("budgets", "sample"), [((20, 30), 20), ((10,), 20), ((10,), -1)])
def test_a_budget_holds_the_sample_and_more(budgets, sample):
    with pytest.raises(ConfigError, match="more than that"):
        cells(["random"], budgets=budgets, sample=sample)


def test_each_seed_draws_its_share_of_the_pool():
    part, rows = draw(TASK, 0.8, 0)
    _again, same = draw(TASK, 0.8, 0)
    _, other = draw(TASK, 0.8, 1)
    assert len(rows) == len(set(rows.tolist())) == drawn(600, 0.8) == 480
    np.testing.assert_array_equal(rows, same)
    assert rows.tolist() != other.tolist()
    np.testing.assert_array_equal(part.pool, TASK.pool[rows])
    assert part.test is TASK.test
    assert part._made is not TASK._made  # what is kept with the whole pool is not of the part
    assert draw(TASK, 1.0, 3)[0] is TASK
    for wrong in (0.0, 1.1, -1.0):
        with pytest.raises(ConfigError, match="share"):
            drawn(600, wrong)


def test_active_methods_start_like_each_other():
    margin, entropy = (cells([name], budgets=(10,))[0] for name in ("margin", "entropy"))
    np.testing.assert_array_equal(margin.picks, entropy.picks)


def test_noisy_labels_train_but_do_not_test():
    noisy = np.where(np.random.default_rng(0).random(600) < 0.6, (LABELS + 1) % 10, LABELS)
    clean = cells(["random"], budgets=(200,))[0].metrics.accuracy
    wrong = cells(["random"], noisy, budgets=(200,))[0].metrics.accuracy
    assert wrong < clean - 0.2


@pytest.mark.parametrize("budgets", [[], [0], [30, 10], [601]])
def test_budgets_are_checked(budgets):
    with pytest.raises(ConfigError):
        cells(["random"], budgets=budgets)


def test_kinds():
    assert kind(scorers.get("kmeans")) == "label-free"
    assert kind(scorers.get("auto")) == "label-free first"
    assert kind(scorers.get("margin")) == "active"
    assert kind(scorers.get("el2n")) == "all labels"


COVERING = ["kmedoids", "maxherding", "facility", "uherding", "auto", "kmeans", "typiclust"]


def test_what_rounds_and_methods_share_moves_no_pick(monkeypatch):
    task = replace(TASK, _made={})
    with monkeypatch.context() as patch:
        patch.setattr(simulation, "inputs_for", _alone)
        alone = picked(task, COVERING)
        assert not [key for key in task._made if key[0] in ("rows", "products")]
    together = picked(task, COVERING)
    assert {key[0] for key in task._made} >= {"rows", "products"}
    for ours, theirs in zip(together, alone, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_geometry_and_its_products_are_computed_once_per_draw(monkeypatch):
    computed = []
    transform = geometry.transform

    def counted(embeddings, name):
        computed.append(name)
        return transform(embeddings, name)

    monkeypatch.setattr(geometry, "transform", counted)
    task = replace(TASK, _made={})
    picked(task, COVERING)
    assert sorted(computed) == ["centred", "standard", "unit"]
    for key, made in task._made.items():  # and nobody changed what all read
        if key[0] == "rows":
            np.testing.assert_array_equal(made, transform(task.pool, key[1]))
        if key[0] == "products":
            rows = transform(task.pool, key[1]).astype(np.float64)
            np.testing.assert_allclose(made, rows @ rows.T, atol=1e-12)


def test_products_that_would_take_too_much_room_are_not_kept(monkeypatch):
    monkeypatch.setattr(coverage, "KEPT_BYTES", 600 * 600 * 8 - 1)
    task = replace(TASK, _made={})
    picked(task, ["kmedoids"])
    assert [key[0] for key in task._made] == ["rows"]


def _alone(*args, keep, **options):
    assert keep
    return inputs_for(*args, keep=False, **options)


def picked(task, methods):
    """Picks of two rounds by each method on the whole pool."""
    chosen = {name: scorers.get(name) for name in methods}
    trainer = train.get("linear")
    return [cell.picks for cell in simulate(task, LABELS, chosen, (20, 60), (0,), trainer)]
