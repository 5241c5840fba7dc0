"""plan --finish on real projects: after two rounds, too early, done, and asked nonsense."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from loop import config
from loop.cli import cli
from loop.errors import ConfigError, DataError, NotReady
from loop.finish.simulated import Goals
from loop.project import create
from loop.project.finish_plan import measure_finish, plan_finish
from loop.steps.embed import embed
from loop.steps.plan import Wish
from loop.steps.run import run
from loop.steps.scan import scan
from loop.steps.simulate import Grid, simulate
from tests.conftest import small_values, write_images


def made(folder, count, budgets):
    write_images(folder / "images", count=count)
    values = small_values(
        folder / "images",
        selection={"scorer": "random", "budgets": budgets},
        labeler={"kind": "oracle", "error_rate": 0.0},
    )
    return create(folder / "p", config.check(values, "test"))


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Two rounds of 10 of 300 images."""
    project = made(tmp_path_factory.mktemp("begun"), 300, [10, 10])
    run(project)
    return project


def asked(project, *options):
    done = CliRunner().invoke(cli, ["plan", "-p", str(project.root), *map(str, options)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_the_cheapest_way_is_said_with_what_to_type(begun):
    planned = plan_finish(begun, Wish(seconds_per_label=36, hourly_rate=20), 0.1)
    assert (planned.images, planned.unlabelled, planned.model) == (300, 268, 2)
    assert [way.picks for way in planned.ways][:3] == [0, 10, 20]
    cheapest = min(planned.ways, key=lambda way: way.labels.median)
    assert planned.cheapest == cheapest
    assert cheapest.labels.median < 200
    assert planned.hours.median == pytest.approx(cheapest.labels.median / 100)
    assert planned.money.upper == pytest.approx(cheapest.labels.upper / 100 * 20)
    expected = {0: "coreloop autolabel --max-error 0.1"}
    assert planned.command == expected.get(
        cheapest.picks, f"coreloop run --budget {cheapest.picks}"
    )
    assert plan_finish(begun, Wish(), 0.1).ways == planned.ways


def test_the_table_fits_and_json_says_the_same(begun):
    text = asked(begun, "--finish", "--max-error", 0.1, "--seconds-per-label", 4)
    assert max(map(len, text.splitlines())) <= 80
    facts = json.loads(asked(begun, "--finish", "--max-error", 0.1, "--json"))
    assert f"next: {facts['command']}" in text
    assert f"> {facts['cheapest']['picks']} " in text
    assert "minutes)" in text  # of work, at four seconds a label


def test_an_error_too_small_for_the_collection_saves_nothing(begun):
    planned = plan_finish(begun, Wish(), 0.001)
    assert planned.cheapest.labels.median > 250
    assert any("nearly all 268" in note for note in planned.notes)
    assert not any("nearly all" in note for note in plan_finish(begun, Wish(), 0.1).notes)


@pytest.mark.parametrize("max_error", [0.0, 1.0, float("nan"), -1.0])
def test_an_error_is_a_share(begun, max_error):
    with pytest.raises(DataError, match="error"):
        plan_finish(begun, Wish(), max_error)


@pytest.mark.parametrize("confidence", [0.0, 1.0, float("nan")])
def test_a_confidence_is_a_probability(begun, confidence):
    with pytest.raises(DataError, match="confidence"):
        plan_finish(begun, Wish(), 0.05, confidence)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--max-error", 0.1], "--finish"),
        (["--confidence", 0.9], "--finish"),
        (["--finish", "--target", 0.9], "--target"),
        (["--finish", "--budget-hours", 2], "--budget-hours"),
        (["--finish", "."], "SIMULATION"),
    ],
)
def test_options_that_do_not_go_together(begun, options, words):
    with pytest.raises(ConfigError, match=words):
        asked(begun, *options)


def test_without_a_model(project):
    scan(project)
    with pytest.raises(NotReady, match=r"no model is kept.*coreloop run"):
        plan_finish(project, Wish(), 0.1)


def test_after_one_round(tmp_path):
    project = made(tmp_path, 90, [10])
    run(project)
    with pytest.raises(NotReady, match=r"two trained rounds.*autolabel --dry-run --max-error 0.1"):
        plan_finish(project, Wish(), 0.1)


def test_when_every_image_is_labelled(tmp_path):
    project = made(tmp_path, 60, [10, 38])
    run(project)
    with pytest.raises(NotReady, match=r"every image has a label \(60 by people, 0 by the model"):
        plan_finish(project, Wish(), 0.1)


def test_backtest_of_finished_simulations(tmp_path):
    project = made(tmp_path, 120, [10])
    scan(project)
    embed(project)
    grid = Grid({"random": ("random", {})}, [6, 12, 24], 2)
    simulate(project, grid)
    with pytest.raises(NotReady, match="--finish"):
        measure_finish([project.root])
    finished = Grid({"random": ("random", {})}, [6, 12, 24], 2, finish=Goals((0.1, 0.2)))
    simulate(project, finished)
    lines, outcomes = measure_finish([project.root])
    assert [(line.max_error, line.n, line.plans) for line in lines] == [(0.1, 4, 2), (0.2, 4, 2)]
    assert len(outcomes) == 4
    text = asked(project, "--backtest", "--finish")
    assert max(map(len, text.splitlines())) <= 80
    assert "20 %" in text
    facts = json.loads(asked(project, "--backtest", "--finish", "--json"))
    assert len(facts["outcomes"]) == 4
