"""Cells: known by all that decides them, computed once, stored one by one."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from loop import config
from loop.project import create
from loop.project.cells import (
    Method,
    deciding,
    open_simulation,
    read_schedule,
    stored_schedule,
)
from loop.project.curves import most_measured, own
from loop.project.problem import problem
from loop.steps import compare as compare_step
from loop.steps.compare import compare
from loop.steps.embed import embed
from loop.steps.run import run
from loop.steps.scan import scan
from loop.steps.simulate import Grid, all_methods, simulate
from tests.conftest import rows, small_values

METHODS = ["typiclust", "auto", "margin", "el2n", "norm"]
"""Rounds that go on from each other, with and without labels; anew; one ranking."""
QUERY = "SELECT method, schedule, budget, seed, outcome FROM cell ORDER BY 1, 2, 3, 4"


@pytest.fixture
def embedded(tmp_path, images):
    """Makes projects on the same images, embedded."""

    def make(name):
        project = create(tmp_path / name, config.check(small_values(images), "test"))
        scan(project)
        embed(project)
        return project

    return make


def outcomes(project):
    """(method, schedule, budget, seed) -> outcome of each cell, without what clocks said."""
    return {
        (method, schedule, budget, seed): outcome
        if isinstance(outcome, dict)
        else json.loads(outcome)
        for method, schedule, budget, seed, outcome in rows(project, QUERY)
    }


def test_a_budget_computed_first_moves_no_figure(embedded):
    alone, after = embedded("alone"), embedded("after")
    methods = all_methods(METHODS)
    table = simulate(alone, Grid(methods, [3, 6, 15], 2))
    simulate(after, Grid(methods, [15], 2))
    counts = []
    both = simulate(after, Grid(methods, [3, 6, 15], 2), on_progress=lambda *n: counts.append(n))
    assert both == table
    # of the 36, those of one ranking or of picks anew were there: random, el2n and norm at 15
    assert counts[0] == (7, 36)
    assert len(counts) == 30
    expected = outcomes(alone)
    stored = outcomes(after)
    assert expected.items() <= stored.items()
    extra = {key[:3] for key in stored.keys() - expected.keys()}
    assert extra == {(name, "15", 15) for name in ("typiclust", "auto", "margin")}
    for method in ("typiclust", "auto", "margin"):
        picks = [
            set(expected[method, schedule, budget, 0]["picks"])
            for schedule, budget in (("3", 3), ("3,6", 6), ("3,6,15", 15))
        ]
        assert picks[0] < picks[1] < picks[2]
    again = []
    simulate(after, Grid(methods, [15], 2), on_progress=lambda *n: again.append(n))
    assert again == []


def test_curves_are_those_of_the_rounds_that_were_measured_most(embedded):
    project = embedded("p")
    simulate(project, Grid(all_methods(["typiclust"]), [15], 2))
    simulate(project, Grid(all_methods(["typiclust"]), [3, 6, 15], 2))
    stored = outcomes(project)
    for curve in own(project):
        assert curve.labels.tolist() == [3, 6, 15]
        if curve.method == "typiclust":
            chain = [("3", 3), ("3,6", 6), ("3,6,15", 15)]
            expected = [stored["typiclust", *key, curve.seed]["accuracy"] for key in chain]
            assert curve.accuracy.tolist() == expected


def test_the_rounds_with_most_cells():
    ladder = [(3,), (3, 6), (3, 6, 15)]
    assert most_measured([*ladder, (15,), (15,)]) == set(ladder)
    assert most_measured([(15,), (15,), (3,)]) == {(15,)}
    assert most_measured([(), ()]) == {()}
    assert most_measured([(3,), (3, 6), (3, 6), (3, 9)]) == {(3,), (3, 6)}


@pytest.mark.parametrize("schedule", [(), (7,), (3, 6, 15)])
def test_a_schedule_is_read_as_it_was_stored(schedule):
    assert read_schedule(stored_schedule(schedule)) == schedule


def test_what_decides_a_method_is_in_its_key():
    methods = [
        Method("own", "norm"),
        Method("own", "norm", {"scale": 2}),
        Method("own", "norm", {"scale": 3}),
        Method("own", "norm", {}, "middle"),
        Method("own", "norm", {}, "window", 0.1),
        Method("own", "norm", {}, "window", 0.2),
        Method("own", "zcore"),
    ]
    assert len({method.key for method in methods}) == len(methods)
    assert Method("a", "norm").key == Method("b", "norm", {}, "top", 0.3).key == "norm"


@pytest.mark.parametrize("rule", ["top", "middle", "window"])
def test_a_method_picks_by_its_rule(rule):
    scores, available = np.arange(20.0), np.ones(20, bool)
    picked = Method("m", "norm", rule=rule, skip=0.5).picking()(scores, available, 4, 0)
    expected = {"top": [19, 18, 17, 16], "middle": [8, 9, 10, 11], "window": [9, 8, 7, 6]}
    assert sorted(picked.tolist()) == sorted(expected[rule])


def test_what_decides_cells_is_in_the_digest(embedded):
    """Labels, test labels, images and the trainer, each alone."""
    project = embedded("p")
    with project.records.read() as session:
        known = problem(session, project)
    task = known.task
    other_tests = np.where(task.test_labels < 0, 0, task.test_labels + 1)
    problems = [
        known,
        replace(known, labels=known.labels + 1),
        replace(known, rows=known.rows[::-1]),
        replace(known, task=replace(task, test_labels=other_tests)),
        replace(known, test_rows=known.test_rows[::-1]),
    ]
    configs = [deciding(project, "pool", each, "linear", {}) for each in problems]
    configs.append(deciding(project, "other", known, "linear", {}))
    configs.append(deciding(project, "pool", known, "propagate", {}))
    configs.append(deciding(project, "pool", known, "linear", {"l2": 0.1}))
    numbers = [open_simulation(project.records, each) for each in configs]
    assert len(set(numbers)) == len(configs)
    assert [open_simulation(project.records, each) for each in configs] == numbers


def test_a_comparison_that_was_cut_short_goes_on(project, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("loop.steps.run.compare", stopped_after(3))
        with pytest.raises(KeyboardInterrupt):
            run(project)
    before = rows(project, "SELECT id, method, budget, seed, outcome FROM cell ORDER BY id")
    assert len(before) == 3
    assert rows(project, "SELECT * FROM comparison") == []
    counts = []
    compare(project, lambda done, total: counts.append((done, total)))
    assert counts == [(4, 4)]
    after = rows(project, "SELECT id, method, budget, seed, outcome FROM cell ORDER BY id")
    assert after[:3] == before
    run(project)
    assert len(rows(project, "SELECT id FROM cell")) == 8  # those of round 1 served again
    assert rows(project, "SELECT count(*) FROM simulation") == [(1,)]


def stopped_after(count):
    def stopping(project, on_progress):
        def stop(done, total):
            if done == count:
                raise KeyboardInterrupt

        return compare_step.compare(project, stop)

    return stopping
