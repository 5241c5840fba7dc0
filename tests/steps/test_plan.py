"""plan, on projects: before the first round, after two, from a simulation, and asked nonsense."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from click.testing import CliRunner

from loop import config
from loop.cli import cli
from loop.errors import ConfigError, NotReady
from loop.planning import target as targets
from loop.planning.target import Price
from loop.project import create, curves, find
from loop.project.rounds import begin_round
from loop.steps.embed import embed
from loop.steps.plan import Wish, plan
from loop.steps.pull import pull
from loop.steps.push import push
from loop.steps.run import run
from loop.steps.scan import scan
from loop.steps.score import score
from loop.steps.select import select
from loop.steps.simulate import Grid, simulate
from loop.steps.train import train_again
from tests.conftest import small_values, write_images


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A project without rounds, with cells of two methods."""
    folder = tmp_path_factory.mktemp("simulated")
    write_images(folder / "images", count=90)
    project = create(folder / "p", config.check(small_values(folder / "images"), "test"))
    scan(project)
    embed(project)
    methods = {"random": ("random", {}), "kmeans": ("kmeans", {})}
    simulate(project, Grid(methods, [3, 6, 12, 24, 48], 3))
    return project


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    write_images(folder / "images")
    values = small_values(
        folder / "images",
        selection={"scorer": "random", "budgets": [4, 6]},
        labeler={"kind": "oracle", "error_rate": 0.0},
    )
    project = create(folder / "p", config.check(values, "test"))
    run(project)
    return project


def asked(project, *options):
    done = CliRunner().invoke(cli, ["plan", "-p", str(project.root), *map(str, options)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_no_rounds_and_no_simulation(project):
    scan(project)
    with pytest.raises(NotReady, match=r"there are 0.*coreloop plan FOLDER"):
        plan(project, Wish(target=0.9))


def test_one_round_is_not_enough(project):
    values = project.config.model_dump()
    values["selection"]["budgets"] = [6]
    single = type(project)(project.root, config.check(values, "test"))
    run(single)
    with pytest.raises(NotReady, match="there are 1"):
        plan(single, Wish(target=0.9))


def test_after_two_rounds_the_own_curve_counts(finished):
    planned = plan(finished, Wish(target=0.99, per_label=0.5, labels_per_day=10))
    assert planned.basis == "this project, 2 rounds"
    assert [n for n, _ in planned.points] == [4, 10]
    assert planned.plan.have == 10
    assert planned.price.votes == 1.0
    assert any("only 12 test images" in note for note in planned.notes)
    if planned.plan.labels.middle:
        assert planned.plan.money.middle == pytest.approx(planned.plan.labels.middle * 0.5)


def test_before_round_two_a_simulation_counts_and_is_said(project, simulated):
    scan(project)
    planned = plan(project, Wish(target=0.9), [simulated.root])
    assert "simulation of 'small', kmeans, 3 seeds" in planned.basis
    assert planned.plan.now is None
    assert planned.plan.have == 0
    assert 0 < planned.plan.labels.middle <= 48
    assert {(w.method) for w in planned.what_if} == {"random", "kmeans"}
    text = asked(project, simulated.root, "--target", 0.9)
    assert "simulation of 'small'" in text
    assert max(map(len, text.splitlines())) <= 80


def test_own_cells_are_used_without_being_named(simulated):
    assert "simulation" in plan(simulated, Wish(target=0.8)).basis


def test_what_a_budget_buys(finished):
    planned = plan(finished, Wish(budget_money=10.0, per_label=0.5))
    n, middle, low, high = planned.budget
    assert n == 20
    assert low <= middle <= high
    text = asked(finished, "--budget-hours", 1, "--seconds-per-label", 36)
    assert "the budget buys 38 labels" in text, "100 are paid for, the pool has no more"
    assert "the pool has only 38 images left to label" in text


@pytest.fixture
def rising(finished, tmp_path):
    """The finished project with a model that is right about 60 %, then 70 % of the images."""
    shutil.copytree(finished.root, tmp_path / "rising")
    with sqlite3.connect(tmp_path / "rising" / "coreloop.db") as raw:
        for labels, accuracy in ((4, 0.6), (10, 0.7)):
            raw.execute(
                "UPDATE run SET metrics = json_set(metrics, '$.accuracy', ?) "
                "WHERE arm = 'all' AND labels = ?",
                (accuracy, labels),
            )
    return find(tmp_path / "rising")


@pytest.mark.parametrize("target", [0.72, 0.8, 0.9, 0.97])
def test_no_more_labels_are_advised_than_the_pool_has(rising, target):
    planned = plan(rising, Wish(target=target, hourly_rate=30, seconds_per_label=7))
    assert planned.left == 38
    if planned.rounds is not None:
        assert sum(planned.rounds.sizes) <= planned.rounds.at_once <= 38
    ends = [planned.plan.labels.middle]
    ends += [end for interval in planned.plan.labels.intervals.values() for end in interval]
    assert all(end is None or end <= 38 for end in ends)
    assert all(bought.labels <= 48 for bought in planned.buys)
    text = asked(rising, "--target", target, "--seconds-per-label", 7)
    assert "the next 38 labels: " in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_target_that_takes_more_than_the_pool_has_is_said(rising):
    text = asked(rising, "--target", 0.9, "--seconds-per-label", 7)
    assert "more labels than the pool has images" in text
    assert "next round" not in text
    assert "> 38" in text
    assert ">: more than the 38 images left, or never" in text


def test_little_work_is_said_in_minutes(rising):
    assert re.search(r"^ minutes ", asked(rising, "--target", 0.72, "--seconds-per-label", 7), re.M)
    assert re.search(r"^ hours ", asked(rising, "--target", 0.9, "--seconds-per-label", 700), re.M)


def test_a_target_beyond_the_pool_is_said_and_not_counted_on():
    more = np.array([30.0, 60.0, 70.0, 80.0, 90.0])
    planned = targets.plan(
        0.9, 0.8, 10, more, np.ones(5), Price(seconds=6.0), date(2026, 1, 1), left=50
    )
    assert (planned.verdict, planned.labels.middle) == ("pool", None)
    assert planned.labels.intervals["90%"] == (30.0, None)


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"target": 0.0}, "between 0 and 1"),
        ({"target": 95}, "between 0 and 1"),
        ({"hourly_rate": -3}, "hourly rate must be a number of at least 0, got -3"),
        ({"hourly_rate": float("nan")}, "hourly rate must be a number of at least 0, got nan"),
        ({"labels_per_day": float("inf")}, "per day must be a number of at least 0, got inf"),
        ({"budget_money": 10.0}, "--per-label"),
        ({"budget_money": -1.0}, "above 0"),
        ({"stop_below": -0.1}, "--stop-below"),
        ({"stop_below": float("nan")}, "--stop-below"),
    ],
)
def test_bad_numbers(finished, wish, words):
    with pytest.raises(ConfigError, match=words):
        plan(finished, Wish(**wish))


def test_target_that_is_reached(finished):
    assert "the target is reached" in asked(finished, "--target", 0.05)


def test_zero_lead_times_give_no_hours(finished, tmp_path):
    with sqlite3.connect(finished.root / "coreloop.db") as raw:
        raw.execute("UPDATE annotation SET seconds = 0")
    planned = plan(finished, Wish(target=0.99, hourly_rate=20))
    assert planned.plan.hours is None
    assert planned.plan.money is None
    assert any("no labelling times" in note for note in planned.notes)


def test_one_class_and_falling_accuracy_are_said(finished):
    with sqlite3.connect(finished.root / "coreloop.db") as raw:
        raw.execute("UPDATE annotation SET label = 'digit-0'")
    train_again(finished)
    with sqlite3.connect(finished.root / "coreloop.db") as raw:
        raw.execute(
            "UPDATE run SET metrics = json_set(metrics, '$.accuracy', 0.1) "
            "WHERE labels = 10 AND arm = 'all'"
        )
    notes = " ".join(plan(finished, Wish(target=0.99)).notes)
    assert "of one class" in notes
    assert "accuracy fell" in notes


def test_backtest_prints_its_table(simulated, tmp_path):
    text = asked(simulated, "--backtest")
    assert "slope" in text
    assert "small" in text
    facts = json.loads(asked(simulated, "--backtest", "--json"))
    assert {o["ahead"] for o in facts["outcomes"]} == {2, 4}


def test_backtest_of_a_project_without_cells(finished):
    with pytest.raises(NotReady, match="coreloop simulate"):
        asked(finished, "--backtest")


def test_simulations_that_differ_are_not_seeds_of_one_another(tmp_path):
    write_images(tmp_path / "images", count=90)
    project = create(tmp_path / "p", config.check(small_values(tmp_path / "images"), "test"))
    scan(project)
    embed(project)
    methods = {"random": ("random", {})}
    for share, trainer in ((1.0, "linear"), (0.8, "linear"), (0.8, "propagate")):
        simulate(project, Grid(methods, [6, 12], 2, trainer, share=share))
    runs = curves.own(project)
    assert len(runs) == 6  # three simulations of two seeds, none overwritten
    assert {run.set for run in runs} == {
        "small, trainer linear, share 1.0",
        "small, trainer linear, share 0.8",
        "small, trainer propagate, share 0.8",
    }


def test_cells_of_another_version_of_the_methods_are_not_mixed_in(tmp_path, monkeypatch):
    write_images(tmp_path / "images", count=90)
    project = create(tmp_path / "p", config.check(small_values(tmp_path / "images"), "test"))
    scan(project)
    embed(project)
    grid, counts = Grid({"random": ("random", {})}, [6, 12], 2), []

    def count(done, total):
        counts.append(done)

    for version in ("0.1.0", "0.1.0", "0.2.0"):
        monkeypatch.setattr("loop.project.cells.versions", lambda v=version: {"coreloop": v})
        simulate(project, grid, on_progress=count)
        counts.append(version)
    assert counts == [1, 2, 3, 4, "0.1.0", "0.1.0", 1, 2, 3, 4, "0.2.0"]
    assert {run.set for run in curves.own(project)} == {
        "small, coreloop 0.1.0",
        "small, coreloop 0.2.0",
    }


def test_labels_that_are_there_are_not_bought_again(tmp_path, images):
    values = small_values(images, selection={"scorer": "random", "budgets": [4, 6, 8]})
    project = create(tmp_path / "p", config.check(values, "test"))
    shorter = project.config.selection.model_copy(update={"budgets": [4, 6]})
    changed = project.config.model_copy(update={"selection": shorter})
    run(replace(project, written=changed))
    wish = Wish(target=plan(project, Wish(target=1.0)).plan.now + 0.02)
    before = plan(project, wish).plan
    begin_round(project)
    for step in (score, select, push, pull):
        step(project)
    after = plan(project, wish).plan
    assert (before.have, after.have) == (10, 18)
    assert after.now == before.now
    assert before.labels.middle > 0
    assert after.labels.middle == max(before.labels.middle - 8, 0)


@pytest.mark.parametrize("target", ["0.6", "0.97", "0.999", "1"])
def test_what_is_said_of_a_target_fits_80_columns(finished, target):
    text = asked(finished, "--target", target, "--budget-money", 1e6, "--per-label", 0.04)
    assert max(map(len, text.splitlines())) <= 80, text
