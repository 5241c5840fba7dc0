"""A simulated cell goes on to the finished collection, alone and through simulate."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_digits

from loop import config, scorers, train
from loop.cli import cli
from loop.errors import DataError
from loop.finish.rehearsal import PROMISED, UNBOUNDED
from loop.finish.rows import finish_rows
from loop.finish.simulated import DRAWS, FinishedCell, Goals, finish_cell
from loop.project import create, curves
from loop.simulation import simulate
from loop.steps.embed import embed
from loop.steps.scan import scan
from loop.steps.simulate import Grid
from loop.steps.simulate import simulate as step
from loop.train import Task
from loop.train.base import revealed
from tests.conftest import rows, small_values, write_images

X, Y = load_digits(return_X_y=True)
X, Y = X.astype(np.float32) / 16, Y.astype(np.int64)
TASK, LABELS = Task(10, X[:800], X[800:1100], Y[800:1100]), Y[:800]
LEARNED = np.random.default_rng(3).permutation(800)[:150]
GOALS = Goals((0.02, 0.1))


def finished_after(learned, goals=GOALS):
    trainer = train.get("linear", l2=1e-3)
    known = revealed(LABELS, learned)
    trained = trainer.train(TASK, known, np.random.default_rng(0), pool_probabilities=True)
    return finish_cell(trained, LABELS, learned, goals, np.random.default_rng(1))


def test_every_image_has_a_label_and_a_looser_goal_takes_fewer_of_people():
    cell = finished_after(LEARNED)
    assert cell.images == 800
    assert [(f.max_error, f.rule) for f in cell.finished] == [
        (goal, rule) for goal in (0.02, 0.1) for _ in range(DRAWS) for rule in (PROMISED, UNBOUNDED)
    ]
    for finished in cell.finished:
        assert finished.by_people + finished.by_model == 800
        assert finished.by_people >= 150 + finished.sample
        assert finished.broken == (finished.wrong > int(finished.max_error * 800))
    for strict, loose in zip(cell.of(0.02), cell.of(0.1), strict=True):
        assert 150 < loose.by_people < strict.by_people <= 800
    assert len({finished.by_people for finished in cell.of(0.1)}) > 1  # each sample is another
    assert FinishedCell.from_json(json.loads(json.dumps(cell.to_json()))) == cell


def test_confidences_kept_are_those_of_the_images_left():
    cell = finished_after(LEARNED)
    assert len(cell.confidence) == 201
    assert cell.confidence == sorted(cell.confidence)
    assert cell.confidence[0] >= 0.1
    assert cell.confidence[-1] <= 1


def test_when_every_image_is_picked_people_have_labelled_all():
    cell = finished_after(np.arange(800))
    assert cell.confidence == []
    assert {(f.by_people, f.by_model, f.broken) for f in cell.finished} == {(800, 0, False)}


@pytest.mark.parametrize("max_error", [0.0, 1.0, -0.1, float("nan")])
def test_an_error_is_a_share(max_error):
    with pytest.raises(DataError, match="error"):
        Goals((max_error,))


@pytest.mark.parametrize("confidence", [0.0, 1.0, float("nan")])
def test_a_confidence_is_a_probability(confidence):
    with pytest.raises(DataError, match="confidence"):
        Goals((0.02,), confidence)


def test_rows_are_set_against_random_picks_of_the_same_seeds():
    methods = {name: scorers.get(name) for name in ("random", "kmeans")}
    trainer = train.get("linear", l2=1e-3)
    outcomes = list(simulate(TASK, LABELS, methods, (60, 120), (0, 1), trainer, goals=GOALS))
    cells = {(o.method, o.budget, o.seed): o.finished for o in outcomes}
    summary = {(r.max_error, r.method, r.budget): r for r in finish_rows(cells, {})}
    assert len(summary) == 8
    for (goal, method, budget), row in summary.items():
        by_people = {
            name: [
                np.mean([each.by_people for each in cells[name, budget, seed].of(goal)])
                for seed in (0, 1)
            ]
            for name in ("random", "kmeans")
        }
        assert row.labels == pytest.approx(np.mean(by_people[method]))
        assert (row.n, row.runs) == (2, 2 * DRAWS)
        saved = np.mean(by_people["random"]) - np.mean(by_people["kmeans"])
        assert row.saved == (None if method == "random" else pytest.approx(saved))
        assert 0 <= row.interval[0] <= row.labels <= row.interval[1] <= row.images == 800


def test_finishing_moves_no_cell():
    methods, trainer = {"random": scorers.get("random")}, train.get("linear", l2=1e-3)
    plain, finished = (
        next(iter(simulate(TASK, LABELS, methods, (60,), (0,), trainer, goals=goals)))
        for goals in (None, GOALS)
    )
    assert plain.metrics == finished.metrics
    assert plain.picks.tolist() == finished.picks.tolist()
    assert plain.finished is None


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    write_images(folder / "images", count=120)
    project = create(folder / "p", config.check(small_values(folder / "images"), "test"))
    scan(project)
    embed(project)
    return project


def test_cells_are_kept_apart_from_those_without_and_found_again(labelled):
    counts = []

    def simulated(goals, seeds=2):
        counts.clear()
        grid = Grid({"random": ("random", {})}, [6, 12], seeds, finish=goals)
        return step(labelled, grid, on_progress=lambda done, total: counts.append(done))

    plain = simulated(None)
    assert (plain.finish, counts) == (None, [1, 2, 3, 4])
    first = simulated(Goals((0.1,)))
    assert counts == [1, 2, 3, 4]
    assert simulated(Goals((0.1,))).finish == first.finish
    assert counts == []
    more = simulated(Goals((0.1,)), seeds=3)
    assert counts == [5, 6]
    assert [row.n for row in more.finish] == [3, 3]
    simulated(Goals((0.1,), confidence=0.9))
    assert counts == [1, 2, 3, 4]
    assert simulated(None) == plain
    assert counts == []
    digests = rows(labelled, "SELECT config FROM simulation ORDER BY id")
    assert ["finish" in json.loads(text) for (text,) in digests] == [False, True, True]
    assert {run.set for run in curves.own(labelled)} == {
        "small, finish -",
        "small, finish 0.1 at 0.95",
        "small, finish 0.1 at 0.9",
    }


def asked(project, *options):
    fixed = ["simulate", "-p", str(project.root), "--methods", "kmeans", "--budgets", "6,12"]
    return CliRunner().invoke(cli, [*fixed, "--seeds", "2", "--jobs", "1", *options])


def test_the_table_fits_and_json_has_the_rows(labelled):
    done = asked(labelled, "--finish", "--max-errors", "0.2,0.1")
    assert done.exit_code == 0, done.output
    assert "error of at most 10 %" in done.stdout
    assert done.stdout.index("at most 10 %") < done.stdout.index("at most 20 %")
    assert max(map(len, done.stdout.splitlines())) <= 80
    facts = json.loads(asked(labelled, "--finish", "--max-errors", "0.1,0.2", "--json").stdout)
    assert len(facts["methods"]) == 4
    assert [(row["max_error"], row["method"], row["budget"]) for row in facts["finish"]] == [
        (goal, method, budget)
        for goal in (0.1, 0.2)
        for method in ("random", "kmeans")
        for budget in (6, 12)
    ]


def test_without_finish_json_is_a_list_of_methods(labelled):
    facts = json.loads(asked(labelled, "--json").stdout)
    means = [row.pop("means") for row in facts]
    grid = Grid({"random": ("random", {}), "kmeans": ("kmeans", {})}, [6, 12], 2)
    rows = step(labelled, grid)
    assert facts == json.loads(json.dumps([asdict(row) for row in rows]))
    for row, of_row in zip(rows, means, strict=True):
        at = row.method, row.budget
        assert of_row == {metric: by_row[at] for metric, by_row in rows.beside.items()}
        assert {"accuracy", "macro_f1", "classes_found"} <= of_row.keys()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--finish", "--max-errors", "0"], "error of 0"),
        (["--finish", "--max-errors", "1"], "between 0 and 1"),
        (["--finish", "--max-errors", "nan"], "between 0 and 1"),
        (["--finish", "--max-errors", "two"], "0.01,0.02,0.05"),
        (["--finish", "--confidence", "1"], "confidence"),
        (["--max-errors", "0.02"], "--finish"),
        (["--confidence", "0.9"], "--finish"),
    ],
)
def test_bad_input(labelled, options, words):
    done = asked(labelled, *options)
    assert done.exception is not None
    assert words in str(done.exception) + done.output
