"""Answers that are corrected after a round was trained reach the model and every figure."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from loop import config
from loop.cli.pull import pull as pull_command
from loop.cli.steps import train as train_command
from loop.errors import NotReady
from loop.project import Project, create
from loop.project.model import model_of, newest_model
from loop.project.recorded import Wish
from loop.steps.autolabel import Goal, autolabel
from loop.steps.compare import compare
from loop.steps.measure import enlarge
from loop.steps.plan import plan
from loop.steps.pull import pull
from loop.steps.report import facts
from loop.steps.run import run
from loop.steps.status import status
from loop.steps.train import train_again
from tests.conftest import rows, small_values

NAMES = ("digit-0", "digit-1", "digit-2")


def sheet_project(folder: Path, images: Path, **changes: object) -> Project:
    """A project that people label on sheets, measured by a random sample."""
    labeler = {"kind": "csv"}
    values = small_values(images, measure={"images": 20, "folds": 5}, **changes)
    values["labeler"] = labeler
    values["pool"] = {"path": str(images)}
    return create(folder, config.check(values, "test"))


def fill(project: Project, wrong: int = 0) -> None:
    """Answers each empty line by its image's folder; the first ``wrong`` of them wrongly."""
    for sheet in sorted((project.root / "sheets").glob("*.csv")):
        lines = list(csv.DictReader(sheet.read_text(encoding="utf-8").splitlines()))
        for line in lines:
            if line["label"]:
                continue
            right = Path(line["image"]).parent.name
            other = NAMES[(NAMES.index(right) + 1) % len(NAMES)]
            line["label"] = other if wrong > 0 else right
            wrong -= 1
        write(sheet, lines)


def write(sheet: Path, lines: list[dict[str, str]]) -> None:
    with sheet.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["key", "image", "label"])
        table.writeheader()
        table.writerows(lines)


def correct(project: Project, number: int) -> int:
    """Puts the right answer on every line of a round's sheet; how many that changed."""
    (sheet,) = (project.root / "sheets").glob(f"round-{number}-*.csv")
    lines = list(csv.DictReader(sheet.read_text(encoding="utf-8").splitlines()))
    changed = 0
    for line in lines:
        right = Path(line["image"]).parent.name
        changed += line["label"] != right
        line["label"] = right
    write(sheet, lines)
    return changed


def figures(project: Project) -> list[tuple]:
    """Everything measured, as the records have it."""
    query = (
        "SELECT number, arm, run.seed, labels, rows_digest, metrics FROM run "
        "JOIN round ON round.id = round_id ORDER BY number, arm, run.seed"
    )
    return rows(project, query)


@pytest.fixture
def finished(tmp_path, images):
    """Two rounds; of the answers to the first ten are wrong."""
    project = sheet_project(tmp_path / "project", images)
    run(project)
    fill(project, wrong=10)
    run(project)
    fill(project)
    assert run(project).why == "done"
    return project


def straight(tmp_path: Path, images: Path) -> Project:
    """The same project where every answer was right from the beginning."""
    project = sheet_project(tmp_path / "straight", images)
    run(project)
    fill(project)
    run(project)
    fill(project)
    run(project)
    return project


def test_run_measures_every_round_on_corrected_answers(finished, tmp_path, images):
    before = figures(finished)
    assert correct(finished, 1) == 10
    ended = run(finished)
    assert ended.why == "done"
    after = figures(finished)
    assert [line[:4] for line in after] == [line[:4] for line in before]
    assert not {line[5] for line in after} & {line[5] for line in before}, "an old figure stayed"
    other = straight(tmp_path, images)
    picks = "SELECT key FROM pick JOIN item ON item.id = item_id ORDER BY pick.id"
    assert rows(finished, picks) == rows(other, picks)
    assert after == figures(other), "corrected answers count less than answers right at once"
    shown = json.loads((finished.root / "reports" / "report.json").read_text())
    newest = rows(finished, "SELECT metrics FROM run WHERE arm = 'all' ORDER BY id")
    live = shown["curves"][0]
    assert live["kind"] == "live"
    assert [point["outdated"] for point in live["points"]] == [False, False]
    assert {point["accuracy"] for point in live["points"]} == {
        json.loads(metrics)["accuracy"] for (metrics,) in newest
    }
    assert run(finished).why == "done"
    assert figures(finished) == after, "what is of today's answers is not trained again"


def test_pull_after_the_end_says_what_changed_and_what_to_type(finished):
    correct(finished, 1)
    pulled = pull(finished)
    assert pulled.outdated == (1, 2)
    assert pulled.next == "coreloop run"
    told = CliRunner().invoke(pull_command, ["-p", str(finished.root)]).output
    assert "labels have changed since rounds 1 and 2 were trained" in told
    assert "next: coreloop run" in told
    assert status(finished).next == "coreloop run"
    assert any("train --again" in trouble for trouble in status(finished).troubles)
    run(finished)
    assert pull(finished).outdated == ()
    assert status(finished).next != "coreloop run"
    assert not any("train --again" in trouble for trouble in status(finished).troubles)


def test_figures_of_earlier_answers_are_marked_until_they_are_measured_anew(finished):
    assert plan(finished, Wish(target=0.9)).basis.startswith("this project")
    correct(finished, 2)
    (sheet,) = (finished.root / "sheets").glob("round-2-*.csv")
    lines = list(csv.DictReader(sheet.read_text(encoding="utf-8").splitlines()))
    lines[0]["label"] = next(name for name in NAMES if name != lines[0]["label"])
    write(sheet, lines)
    pull(finished)
    shown = facts(finished)
    assert [point.outdated for point in shown.curves[0].points] == [False, True]
    assert shown.notes[0].startswith("Labels have changed since round 2 was trained")
    with pytest.raises(NotReady, match="labels have changed since round 2 was trained"):
        plan(finished, Wish(target=0.9))
    train_again(finished)
    assert plan(finished, Wish(target=0.9)).basis.startswith("this project")
    assert [point.outdated for point in facts(finished).curves[0].points] == [False, False]


def test_a_labeler_that_cannot_be_asked_after_the_end_is_said(finished):
    """A finished project stays finished, whatever has become of the other side."""
    before = figures(finished)
    (sheet,) = (finished.root / "sheets").glob("round-2-*.csv")
    sheet.write_text(sheet.read_text().replace("digit-", "digt-"))
    ended = run(finished)
    assert ended.why == "done"
    assert "are not in these figures: " in ended.message
    assert "'digt-" in ended.message
    assert figures(finished) == before


def test_train_again_by_hand(finished):
    with pytest.raises(NotReady, match="round 2 is over"):
        from loop.steps.train import train

        train(finished)
    correct(finished, 1)
    pull(finished)
    printed = CliRunner().invoke(train_command, ["--again", "-p", str(finished.root)])
    assert printed.exit_code == 0, printed.output
    assert "trained again: rounds 1, 2; accuracy " in printed.output
    assert rows(finished, "SELECT state FROM round ORDER BY number") == [
        ("compared",),
        ("trained",),
    ]
    assert facts(finished).differences == [], "a comparison of earlier answers is shown"
    assert compare(finished).rows, "compared anew"
    again = train_again(finished)
    assert again.rounds == (2,), "the newest is trained whenever it is asked for"
    assert again.before == again.metrics.accuracy


def test_before_the_first_training_there_is_nothing_to_repeat(tmp_path, images):
    project = sheet_project(tmp_path / "project", images)
    run(project)
    with pytest.raises(NotReady, match="no round is trained yet"):
        train_again(project)


def test_a_late_answer_counts_in_every_round(tmp_path, images):
    """A round that was closed with answers missing: the curve has the same images throughout."""
    project = sheet_project(tmp_path / "project", images)
    run(project)
    fill(project)
    (sheet,) = (project.root / "sheets").glob("*.csv")
    lines = list(csv.DictReader(sheet.read_text(encoding="utf-8").splitlines()))
    late = {line["key"]: line["label"] for line in lines[:5]}
    write(
        sheet, [{**line, "label": "" if line["key"] in late else line["label"]} for line in lines]
    )
    pull(project, close=True)
    run(project)
    fill(project)
    run(project)
    labels = rows(project, "SELECT labels FROM run WHERE arm = 'all' ORDER BY id")
    assert sorted(labels) == [(26,), (32,)]
    measured = rows(project, "SELECT metrics FROM run WHERE arm = 'all'")
    assert {json.loads(metrics)["n"] for (metrics,) in measured} == {20}


def test_corrections_after_a_promise_are_said_and_leave_it_as_it_was(finished):
    """Other answers make another model; the promise keeps that of then. Other answers of its own
    sample are compared with what they would have allowed."""
    autolabel(finished, Goal(0.3), 12)
    run(finished)
    fill(finished)
    assert run(finished).why == "done"
    before = rows(finished, "SELECT model, outcome FROM promise")
    assert told(finished) == ""
    correct(finished, 1)
    ended = run(finished)
    assert rows(finished, "SELECT model, outcome FROM promise") == before
    assert "A newer model was trained since; promise 1 and its labels are of the model of then" in (
        ended.message
    )
    with finished.records.read() as session:
        assert model_of(session, finished, before[0][0]), "the model of the promise is kept"
        assert newest_model(session, finished).digest != before[0][0]
    (sheet,) = (finished.root / "sheets").glob("round-3-*.csv")
    lines = list(csv.DictReader(sheet.read_text(encoding="utf-8").splitlines()))
    for line in lines[:6]:
        line["label"] = next(name for name in NAMES if name != line["label"])
    write(sheet, lines)
    run(finished)
    assert "Answers of promise 1's calibration sample have changed since it was settled" in (
        told(finished)
    )
    assert "coreloop autolabel --max-error 0.3" in told(finished)
    assert rows(finished, "SELECT model, outcome FROM promise") == before


def told(project: Project) -> str:
    """What status says of the promise beyond what was promised."""
    return status(project).completion.promise.since


def test_every_round_is_judged_on_the_sample_as_it_is_today(finished):
    """Images drawn later judge the models of earlier rounds, which do not learn them."""
    labels = "SELECT number, labels FROM run JOIN round ON round.id = round_id WHERE arm = 'all'"
    before = dict(rows(finished, labels))
    enlarge(finished, 15, at_random=True)
    run(finished)
    fill(finished)
    assert run(finished).why == "done"
    after = dict(rows(finished, labels))
    assert (after[1], after[2]) == (before[1], before[2])
    measured = rows(finished, "SELECT metrics FROM run WHERE arm = 'all'")
    assert [json.loads(metrics)["n"] for (metrics,) in measured] == [35, 35, 35]
