"""Files that go away, images that people take out, picks that are replaced, rounds taken back."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from connectors.base import SourceError
from db import arrays, queries
from db.errors import StaleRound
from db.models import Array
from db.soundness import contradictions
from loop.cli.mend import exclude as exclude_command
from loop.errors import ConfigError, NotReady
from loop.project.problem import problem
from loop.steps.autolabel import Goal, autolabel
from loop.steps.embed import embed
from loop.steps.exclude import exclude
from loop.steps.export import export
from loop.steps.pull import pull
from loop.steps.push import push
from loop.steps.repick import repick
from loop.steps.run import run
from loop.steps.scan import scan
from loop.steps.score import score
from loop.steps.select import select
from loop.steps.status import status
from loop.steps.undo import undo
from tests.conftest import rows
from tests.steps.test_corrections import fill, sheet_project, write


@pytest.fixture
def asked(tmp_path, images):
    """A project whose first round is with people: 20 of the sample and 6 picks, on a sheet."""
    project = sheet_project(tmp_path / "project", images)
    assert run(project).why == "waiting"
    return project


def picked(project, number=1, arm="coreset"):
    """Files of the picks of an arm, in labelling order."""
    query = (
        "SELECT uri FROM pick JOIN item ON item.id = item_id JOIN round ON round.id = round_id "
        f"WHERE number = {number} AND arm = '{arm}' ORDER BY rank"
    )
    return [uri for (uri,) in rows(project, query)]


def sound(project):
    with project.records.read() as session:
        return list(contradictions(session, queries.the_pool(session))) == []


def sheet_of(project, number=1):
    (sheet,) = (project.root / "sheets").glob(f"round-{number}-*.csv")
    return sheet


def answer(project, uri, label):
    """Fills in one image's line."""
    sheet = sheet_of(project)
    lines = list(csv.DictReader(sheet.read_text(encoding="utf-8").splitlines()))
    for line in lines:
        if line["image"].endswith(uri):
            line["label"] = label
    write(sheet, lines)


def up_to_selected(project):
    """As ``run``, but nothing is sent yet."""
    from loop.project.rounds import begin_round

    scan(project)
    embed(project)
    begin_round(project)
    score(project)
    select(project)


def test_a_deleted_photo_is_named_counted_and_passed_over(asked, images):
    fill(asked)
    run(asked)
    fill(asked)
    run(asked)
    (unpicked,) = rows(
        asked,
        "SELECT uri FROM item WHERE id NOT IN (SELECT item_id FROM pick) ORDER BY id LIMIT 1",
    )[0]
    before = (images / unpicked).read_bytes()
    (images / unpicked).unlink()
    scanned = scan(asked)
    assert (scanned.gone, scanned.back, scanned.images) == ((unpicked,), (), 59)
    assert status(asked).counts["gone"] == 1
    assert scan(asked).gone == (), "named once"
    run(asked, budget=22)
    fill(asked)
    assert run(asked).why == "done"
    assert unpicked not in picked(asked, 3), "a photo that has gone was picked"
    (images / unpicked).write_bytes(before)
    assert scan(asked).back == (unpicked,)
    assert status(asked).counts["gone"] == 0
    assert rows(asked, "SELECT count(*) FROM item") == [(60,)]
    assert sound(asked)


def test_a_photo_that_was_moved_has_not_gone(asked, images):
    uri = picked(asked)[0]
    (images / "moved").mkdir()
    shutil.move(images / uri, images / "moved" / "new name.png")
    scanned = scan(asked)
    assert (scanned.gone, scanned.added) == ((), 0)
    assert "moved/new name.png" in picked(asked)


def test_a_photo_that_comes_back_under_another_name(asked, images):
    uri = picked(asked)[0]
    data = (images / uri).read_bytes()
    (images / uri).unlink()
    assert scan(asked).gone == (uri,)
    (images / "again.png").write_bytes(data)
    scanned = scan(asked)
    assert (scanned.back, scanned.added) == ((uri,), 0)
    assert "again.png" in picked(asked)


def test_a_disk_that_is_not_there_makes_no_photo_gone(tmp_path, images):
    asked = sheet_project(tmp_path / "project", images)
    up_to_selected(asked)
    for file in images.rglob("*.png"):
        file.unlink()
    for step in (scan, push):
        with pytest.raises(SourceError, match="is the disk there"):
            step(asked)
    assert rows(asked, "SELECT count(*) FROM absence") == [(0,)]
    shutil.rmtree(images)
    with pytest.raises(SourceError, match="no folder"):
        scan(asked)


def test_a_pick_that_is_gone_before_the_push_is_replaced_by_the_next_best(tmp_path, images):
    project = sheet_project(tmp_path / "project", images)
    up_to_selected(project)
    first, second = picked(project)[:2]
    for uri in (first, second):
        (images / uri).unlink()
    pushed = push(project)
    assert set(pushed.replaced.dropped) == {first, second}
    assert len(pushed.replaced.added) == 2
    assert len(picked(project)) == 6
    assert not {first, second} & set(picked(project))
    with project.records.read() as session:
        row = session.query(Array).filter_by(kind="scores").one()
        scores = np.asarray(arrays.load(row, project.arrays))
        rows_ = {uri: r for r, uri in queries.row_uris(session, 1).items()}
    unpicked = set(rows_) - set(picked(project)) - set(picked(project, arm="sample"))
    best_left = max(scores[rows_[uri]] for uri in unpicked - {first, second})
    assert min(scores[rows_[uri]] for uri in pushed.replaced.added) >= best_left
    assert "picks taken out" in rows(project, "SELECT message FROM event WHERE step = 'push'")[0][0]
    fill(project)
    assert run(project).why == "waiting", "round 2"
    assert sound(project)


def test_sample_images_that_go_leave_the_sample(asked, images):
    uri = picked(asked, arm="sample")[0]
    (images / uri).unlink()
    scan(asked)
    fill(asked)
    run(asked)
    fill(asked)
    assert run(asked).why == "done"
    assert status(asked).measured.images == status(asked).counts["sample"] == 19
    assert status(asked).measured.labels == 31
    with project_session(asked) as session:
        kept = problem(session, asked)
        assert len(kept.sample) == 19
        assert (kept.labels[kept.sample.rows] >= 0).all()


def project_session(project):
    return project.records.read()


def test_excluded_images_are_out_of_everything(asked, tmp_path):
    fill(asked)
    run(asked)
    fill(asked)
    run(asked)
    labelled = picked(asked)[0]
    (unlabelled,) = rows(
        asked,
        "SELECT uri FROM item WHERE id NOT IN (SELECT item_id FROM pick) ORDER BY id LIMIT 1",
    )[0]
    learned = rows(asked, "SELECT max(labels) FROM run WHERE arm = 'all'")
    done = exclude(asked, [labelled, unlabelled])
    assert set(done.files) == {labelled, unlabelled}
    assert (done.labelled, done.already, done.excluded) == (1, 0, 2)
    assert status(asked).counts["excluded"] == 2
    assert status(asked).counts["images"] == 58
    assert rows(asked, "SELECT count(*) FROM annotation") == [(32,)], "its label is kept"
    assert run(asked).why == "done"
    assert rows(asked, "SELECT max(labels) FROM run WHERE arm = 'all'")[0][0] == learned[0][0] - 1
    notes = []
    path, count = export(asked, "csv", tmp_path / "labels.csv", on_note=notes.append)
    assert count == 31
    assert labelled not in path.read_text()
    assert notes == ["left out as gone or excluded: 1 labelled image"]
    path, _ = export(asked, "csv", tmp_path / "all.csv", everything=True)
    assert unlabelled not in path.read_text()
    autolabel(asked, Goal(0.5), 10)
    drawn = rows(
        asked, "SELECT uri FROM pick JOIN item ON item.id = item_id WHERE arm = 'calibration'"
    )
    assert (unlabelled,) not in drawn
    back = exclude(asked, [labelled, unlabelled], undo=True)
    assert (back.labelled, back.excluded) == (1, 0)
    assert status(asked).counts["images"] == 60


@pytest.mark.parametrize("by", ["path", "glob", "key", "uri"])
def test_images_are_named_in_many_ways(asked, images, by):
    uri, key = rows(asked, "SELECT uri, key FROM item ORDER BY id LIMIT 1")[0]
    given = {
        "path": str(images / uri),
        "glob": f"{Path(uri).parent}/*{Path(uri).name[1:]}",
        "key": key[:10],
        "uri": uri,
    }[by]
    assert uri in exclude(asked, [given]).files


def test_a_name_that_is_no_image_changes_nothing(asked):
    uri = rows(asked, "SELECT uri FROM item ORDER BY id LIMIT 1")[0][0]
    with pytest.raises(ConfigError, match="no image is called 'nothing"):
        exclude(asked, [uri, "nothing.png"])
    assert rows(asked, "SELECT count(*) FROM absence") == [(0,)]


def test_skipped_excluded_and_unreadable_picks_are_replaced_within_the_budget(asked, images):
    skipped, excluded, gone = picked(asked)[:3]
    answer(asked, skipped, "skip")
    pull(asked)
    printed = CliRunner().invoke(exclude_command, ["-p", str(asked.root), excluded])
    assert "next: coreloop repick" in printed.output
    (images / gone).write_bytes(b"no image any more")
    done = repick(asked)
    assert (done.skipped, done.absent, done.unreadable) == ((skipped,), (excluded,), (gone,))
    assert len(done.added) == 3
    assert done.next == status(asked).next == "coreloop push"
    assert repick(asked).added == (), "within the budget"
    ended = run(asked)
    assert (ended.why, ended.message.split(";")[0]) == (
        "waiting",
        "round 1: 0 of 27 images labelled, 1 skipped",
    ), "20 of the sample, the 6 of the budget and the one skipped"
    fill(asked)
    assert run(asked).why == "waiting"
    labels = rows(asked, "SELECT labels FROM run WHERE arm = 'all'")
    assert labels == [(26,)]
    assert sound(asked)


def test_a_round_is_taken_back_as_if_it_had_never_begun(asked):
    before = picked(asked), picked(asked, arm="sample")
    sheet = sheet_of(asked)
    undone = undo(asked)
    assert (undone.round, undone.picks, undone.withdrawn) == (1, 26, 26)
    for table in ("round", "pick", "sent", "batch"):
        assert rows(asked, f"SELECT count(*) FROM {table}") == [(0,)]
    assert not sheet.exists()
    assert (sheet.parent / "set-aside" / sheet.name).exists()
    assert run(asked).why == "waiting"
    assert (picked(asked), picked(asked, arm="sample")) == before
    fill(asked)
    assert run(asked).why == "waiting"
    assert sound(asked)


def test_what_people_have_labelled_is_not_taken_back(asked):
    answer(asked, picked(asked)[0], "digit-0")
    with pytest.raises(StaleRound, match="people have worked on 1 image of round 1"):
        undo(asked)
    assert sheet_of(asked).exists()
    pull(asked)
    with pytest.raises(StaleRound, match="people have worked on 1 image"):
        undo(asked)
    fill(asked)
    run(asked)
    assert undo(asked).round == 2, "of round 2 nobody has labelled anything"
    with pytest.raises(NotReady, match="round 1 is 'compared'"):
        undo(asked)
    assert run(asked).why == "waiting"


def test_an_enlargement_of_the_sample_is_taken_back_whole(asked):
    from loop.steps.measure import enlarge

    fill(asked)
    run(asked)
    fill(asked)
    run(asked)
    before = rows(asked, "SELECT item_id, draw, probability FROM pick ORDER BY id")
    enlarge(asked, 15, at_random=True)
    run(asked)
    undo(asked)
    assert rows(asked, "SELECT item_id, draw, probability FROM pick ORDER BY id") == before


def test_a_calibration_round_is_taken_back_with_its_promise(asked):
    fill(asked)
    run(asked)
    fill(asked)
    run(asked)
    autolabel(asked, Goal(0.5), 10)
    run(asked)
    undo(asked)
    assert rows(asked, "SELECT count(*) FROM promise") == [(0,)]
    assert autolabel(asked, Goal(0.5), 10) == 3


def test_images_that_are_added_are_embedded_alone_and_absent_ones_when_they_are_back(
    asked, images, monkeypatch
):
    uri = rows(asked, "SELECT uri FROM item ORDER BY id LIMIT 1")[0][0]
    data = (images / uri).read_bytes()
    (images / uri).unlink()
    for shade in (10, 200):
        Image.new("L", (8, 8), shade).save(images / f"new {shade}.png")
    scan(asked)
    (images / "new 10.png").rename(images.parent / "away.png")
    seen = []
    read = type(asked.source).read
    monkeypatch.setattr(
        type(asked.source), "read", lambda self, uri: (seen.append(uri), read(self, uri))[1]
    )
    assert embed(asked) == (62, 64)
    assert seen == ["new 200.png"]
    assert status(asked).counts["gone"] == 2
    (images.parent / "away.png").rename(images / "new 10.png")
    (images / uri).write_bytes(data)
    assert set(scan(asked).back) == {uri, "new 10.png"}
    embed(asked)
    with asked.records.read() as session:
        assert not np.isnan(problem(session, asked).task.pool).any()
        assert len(problem(session, asked).rows) == 62
