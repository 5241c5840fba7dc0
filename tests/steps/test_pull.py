"""Pull: versions kept, deletions seen, rounds closed by people only."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from sqlalchemy import select

from connectors.base import Rejected
from db.answers import current_answers
from db.models import Annotation, Round
from loop import config
from loop.cli import cli
from loop.errors import ConfigError, NotReady
from loop.project import create
from loop.project.remote import LABEL_CONFIG
from loop.steps.pull import pull
from loop.steps.push import push
from loop.steps.run import run
from tests.conftest import rows as records_of
from tests.conftest import small_values


@pytest.fixture
def sheets(tmp_path, images):
    values = small_values(images, labeler={"kind": "csv", "error_rate": 0.0})
    return create(tmp_path / "p", config.check(values, "test"))


def fill(project, label, rows=None):
    for sheet in (project.root / "sheets").glob("*.csv"):
        lines = list(csv.DictReader(sheet.open()))
        for i, row in enumerate(lines):
            if rows is None or i in rows:
                row["label"] = label
        with sheet.open("w", newline="") as file:
            table = csv.DictWriter(file, lines[0])
            table.writeheader()
            table.writerows(lines)


def answered_by(project, kind):
    """The same project with another kind of labeler in its config."""
    values = project.config.model_dump()
    values["labeler"]["kind"] = kind
    return type(project)(project.root, config.check(values, "test"))


def versions(project):
    with project.records.read() as session:
        return list(session.scalars(select(Annotation).order_by(Annotation.id)))


def test_sheets_name_files_that_exist(tmp_path, images):
    tests = tmp_path / "tests"
    tests.mkdir()
    for picture in (images / "digit-0").iterdir():
        shutil.move(picture, tests)
    values = small_values(images, labeler={"kind": "csv"}, pool={"test_path": str(tests)})
    project = create(tmp_path / "p", config.check(values, "test"))
    run(project)
    fill(project, "digit-0")
    run(project)
    named = [
        Path(row["image"])
        for sheet in (project.root / "sheets").glob("*.csv")
        for row in csv.DictReader(sheet.open())
    ]
    assert {path.parent for path in named} > {tests}
    assert all(path.is_file() for path in named)


def test_sheets_of_a_parquet_name_rows(tmp_path, images):
    pictures = [path.read_bytes() for path in sorted(images.rglob("*.png"))]
    pq.write_table(pa.table({"image": pictures}), tmp_path / "set.parquet")
    values = small_values(
        tmp_path / "set.parquet", labeler={"kind": "csv"}, pool={"source": "parquet"}
    )
    project = create(tmp_path / "p", config.check(values, "test"))
    run(project)
    (sheet,) = (project.root / "sheets").glob("*.csv")
    assert all(row["image"].startswith("row/") for row in csv.DictReader(sheet.open()))


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
    with sheets.records.read() as session:
        (answer,) = current_answers(session, 1)
        assert answer.label == "digit-0"


def test_deleted_answers_leave_a_tombstone(sheets):
    run(sheets)
    fill(sheets, "digit-0", rows=[0])
    pull(sheets)
    fill(sheets, "", rows=[0])
    pulled = pull(sheets)
    assert (pulled.answered, pulled.skipped) == (0, 0)
    assert [note.deleted for note in versions(sheets)] == [False, True]
    with sheets.records.read() as session:
        assert current_answers(session, 1) == []
    fill(sheets, "digit-2", rows=[0])
    assert pull(sheets).answered == 1


def test_what_a_deleted_task_was_answered_is_not_taken_back(tmp_path, images):
    """Two people are asked. One has answered when the sheets are lost; those sent again lack that
    answer, which does not mean that anybody took it back."""
    values = small_values(images, labeler={"kind": "csv", "overlap": 2})
    project = create(tmp_path / "p", config.check(values, "test"))
    run(project)
    fill(project, "digit-0", rows=[0])
    (sheet,) = (project.root / "sheets").glob("*.csv")
    sheet.rename(sheet.with_suffix(".alice.csv"))
    assert pull(project).new == 1
    sheet.with_suffix(".alice.csv").unlink()
    assert push(project).again == 12
    assert pull(project).new == 0
    assert [(note.label, note.deleted) for note in versions(project)] == [("digit-0", False)]


def test_an_old_sheet_that_comes_back_is_a_new_version(sheets, tmp_path):
    run(sheets)
    fill(sheets, "digit-0", rows=[0])
    (sheet,) = (sheets.root / "sheets").glob("*.csv")
    pull(sheets)
    shutil.copy2(sheet, tmp_path / "old.csv")
    fill(sheets, "digit-1", rows=[0])
    os.utime(sheet, (1, 1))
    pull(sheets)
    shutil.copy2(sheet, tmp_path / "other.csv")
    for kept in ("old", "other", "old"):
        shutil.copy2(tmp_path / f"{kept}.csv", sheet)
        assert pull(sheets).new == 1
        assert pull(sheets).new == 0
    notes = versions(sheets)
    assert [note.label for note in notes] == [f"digit-{i}" for i in (0, 1, 0, 1, 0)]
    assert len({note.version for note in notes}) == 5
    fill(sheets, "", rows=[0])
    pull(sheets)
    shutil.copy2(tmp_path / "old.csv", sheet)
    assert pull(sheets).answered == 1
    fill(sheets, "", rows=[0])
    assert pull(sheets).answered == 0


def test_another_answer_under_the_time_of_the_last_one(sheets):
    run(sheets)
    (sheet,) = (sheets.root / "sheets").glob("*.csv")
    for label in ("digit-0", "digit-1"):
        fill(sheets, label, rows=[0])
        os.utime(sheet, (1, 1))
        assert pull(sheets).new == 1
    assert [note.label for note in versions(sheets)] == ["digit-0", "digit-1"]


def test_copies_of_a_sheet_must_not_contradict_each_other(sheets):
    run(sheets)
    fill(sheets, "digit-0", rows=range(4))
    (sheet,) = (sheets.root / "sheets").glob("*.csv")
    copy = sheet.with_name(f"{sheet.stem} (copy).csv")
    shutil.copy(sheet, copy)
    assert pull(sheets).new == 4
    assert pull(sheets).new == 0
    copy.write_text(copy.read_text().replace("digit-0\n", "digit-2\n", 1))
    for _ in range(2):
        with pytest.raises(Rejected) as refused:
            pull(sheets)
    image = next(csv.DictReader(sheet.open()))["image"]
    message = str(refused.value)
    assert (
        f"{image}: 'digit-2' in {copy.name} (line 2), 'digit-0' in {sheet.name} (line 2)" in message
    )
    assert len(versions(sheets)) == 4
    copy.rename(sheet.with_suffix(".alice.csv"))
    assert pull(sheets).new == 4


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
    pulled = pull(sheets)
    assert (pulled.answered, pulled.skipped, pulled.complete) == (10, 2, True)


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
    monkeypatch.setattr("loop.project.delivery.Delivery._planned", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(sheets)
    monkeypatch.undo()
    assert run(answered_by(sheets, "oracle")).why == "done"
    assert set(records_of(sheets, "SELECT connector, state FROM batch")) == {
        ("oracle", "CONFIRMED")
    }


def test_a_label_config_of_before_means_nothing_to_sheets(sheets):
    run(sheets)
    with sheets.writing() as records, records.write() as session:
        round_ = session.scalars(select(Round)).one()
        round_.versions = {**round_.versions, LABEL_CONFIG: "of a server"}
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
