"""Pull: versions kept, deletions seen, rounds closed by people only."""

from __future__ import annotations

import csv

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from db import queries
from db.models import Annotation, Round
from loop import config
from loop.cli import cli
from loop.errors import ConfigError, NotReady
from loop.steps.init import init
from loop.steps.opened import reading, writing
from loop.steps.pull import pull
from loop.steps.push import push
from loop.steps.remote import LABEL_CONFIG
from loop.steps.run import run
from tests.conftest import rows as records_of
from tests.conftest import small_values


@pytest.fixture
def sheets(tmp_path, images):
    values = small_values(images, labeler={"kind": "csv", "error_rate": 0.0})
    return init(tmp_path / "p", config.check(values, "test"))


def fill(project, label, rows=None):
    for sheet in (project.root / "sheets").glob("*.csv"):
        found = list(csv.DictReader(sheet.open()))
        for i, row in enumerate(found):
            if rows is None or i in rows:
                row["label"] = label
        with sheet.open("w", newline="") as file:
            table = csv.DictWriter(file, found[0])
            table.writeheader()
            table.writerows(found)


def answered_by(project, kind):
    """The same project with another kind of labeler in its config."""
    values = project.config.model_dump()
    values["labeler"]["kind"] = kind
    return type(project)(project.root, config.check(values, "test"))


def versions(project):
    with reading(project) as records, records.read() as session:
        return list(session.scalars(select(Annotation).order_by(Annotation.id)))


def test_run_waits_for_people_and_goes_on(sheets):
    ended = run(sheets)
    assert ended.why == "waiting"
    assert "0 of 12" in ended.message
    assert run(sheets).message == ended.message  # repeating changes nothing
    fill(sheets, "digit-1", rows=range(6))
    fill(sheets, "digit-0", rows=range(6, 12))
    ended = run(sheets)
    assert ended.why == "waiting"
    assert "round 1: 0 of 6" in ended.message


def test_edits_are_new_versions_and_back_again(sheets):
    run(sheets)
    for label in ("digit-0", "digit-1", "digit-0"):
        fill(sheets, label, rows=[0])
        pull(sheets)
        assert pull(sheets).new == 0  # nothing changed since
    assert [note.label for note in versions(sheets)] == ["digit-0", "digit-1", "digit-0"]
    with reading(sheets) as records, records.read() as session:
        (answer,) = queries.answers(session, 1)
        assert answer.label == "digit-0"


def test_deleted_answers_leave_a_tombstone(sheets):
    run(sheets)
    fill(sheets, "digit-0", rows=[0])
    pull(sheets)
    fill(sheets, "", rows=[0])
    assert pull(sheets).answered == 0
    assert [note.deleted for note in versions(sheets)] == [False, True]
    fill(sheets, "digit-2", rows=[0])
    assert pull(sheets).answered == 1


def test_close_early(sheets):
    run(sheets)
    with pytest.raises(NotReady, match="no label at all"):
        pull(sheets, close=True)
    fill(sheets, "digit-0", rows=range(4))
    assert pull(sheets, close=True).complete
    assert "round 1" in run(sheets).message


def test_skips_are_counted(sheets):
    run(sheets)
    fill(sheets, "digit-0")
    fill(sheets, "skip", rows=[0, 1])
    found = pull(sheets)
    assert (found.answered, found.skipped, found.complete) == (10, 2, True)


def test_an_open_round_stays_with_the_labeler_it_was_pushed_to(sheets):
    run(sheets)
    other = answered_by(sheets, "oracle")
    for step in (push, pull, run, lambda project: pull(project, close=True)):
        with pytest.raises(ConfigError, match=r'the test round was pushed to csv.* kind = "csv"'):
            step(other)
    fill(sheets, "digit-1", rows=range(6))
    fill(sheets, "digit-0", rows=range(6, 11))
    assert pull(sheets, close=True).complete
    assert run(other).why == "done"


def test_what_was_never_sent_goes_to_the_labeler_of_today(sheets, monkeypatch):
    monkeypatch.setattr("loop.steps.push._next_planned", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(sheets)
    monkeypatch.undo()
    assert run(answered_by(sheets, "oracle")).why == "done"
    assert set(records_of(sheets, "SELECT connector, state FROM batch")) == {
        ("oracle", "CONFIRMED")
    }


def test_a_label_config_of_before_means_nothing_to_sheets(sheets):
    run(sheets)
    with writing(sheets) as records, records.write() as session:
        found = session.scalars(select(Round)).one()
        found.versions = {**found.versions, LABEL_CONFIG: "of a server"}
    fill(sheets, "digit-1", rows=range(6))
    fill(sheets, "digit-0", rows=range(6, 12))
    assert "round 1" in run(sheets).message


def test_what_to_type_next_goes_by_the_round(project):
    run(project)
    assert pull(project).next == "coreloop run"
    done = CliRunner().invoke(cli, ["pull", "-p", str(project.root)])
    assert done.output.endswith("next: coreloop run\n")


def test_a_closed_round_is_trained_next(sheets):
    run(sheets)
    for following in ("coreloop run", "coreloop train"):
        assert pull(sheets).next == "coreloop pull"
        fill(sheets, "digit-1", rows=range(3))
        fill(sheets, "digit-0", rows=range(3, 6))
        assert pull(sheets, close=True).next == following
        run(sheets)
