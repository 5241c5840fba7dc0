"""Answers are seen whatever clocks say and however long a pull takes."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from connectors.label_studio.answers import STAMP
from db import models
from db.answers import current_answers
from db.models import Cursor
from loop.steps.pull import pull
from loop.steps.push import push

pytestmark = pytest.mark.server
LIST = "GET /api/tasks/"


def result(label):
    return [
        {
            "from_name": "label",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": [label]},
        }
    ]


def labels(world):
    """Item key -> label that stands in the records."""
    with world.project.records.read() as session:
        return {answer.key: answer.label for answer in current_answers(session, 1)}


def annotation_of(world, key):
    """Id on the server of the one annotation of an image."""
    (entry,) = world.direct().client.get(f"/api/tasks/{world.tasks()[key]}/")["annotations"]
    return entry["id"]


def touch(world, key, after: timedelta):
    """Sets when the server believes that a task was changed: so much after now."""
    file = next((world.server.folder / "data").glob("*.sqlite3"))
    at = (datetime.now(UTC) + after).strftime("%Y-%m-%d %H:%M:%S.%f")
    with sqlite3.connect(file, timeout=30) as database:
        database.execute("UPDATE task SET updated_at = ? WHERE id = ?", (at, world.tasks()[key]))
    database.close()


def pulls_in_full(world):
    """How often the next pull lists tasks without a filter on the time they were changed."""
    before = len(world.proxy.seen)
    pull(world.project)
    lists = [s for s in world.proxy.seen[before:] if LIST in s and "annotations" in s]
    return sum("updated_at%22%2C" not in s for s in lists)


def test_a_slow_pull_misses_nothing_of_the_pages_it_has_read(world, monkeypatch):
    """The pause of a slow pull is longer than any overlap; here there is none of either."""
    monkeypatch.setattr("connectors.label_studio.pull.OVERLAP", timedelta(0))
    monkeypatch.setattr("connectors.label_studio.tasks.PAGE", 2)
    push(world.project)
    edited, late, *others = world.picks
    world.answer([edited, *others[:1]], "digit-0")
    pages = iter(range(9))

    def between_pages():
        if next(pages) == 1:
            path = f"/api/annotations/{annotation_of(world, edited)}/"
            world.write("PATCH", path, {"result": result("digit-2")})
            world.answer([late], "digit-1")
            world.answer(others[1:2], "digit-1")

    world.proxy.breaks(between_pages, LIST, times=3)
    pull(world.project)
    pull(world.project)
    assert labels(world) == {
        edited: "digit-2",
        late: "digit-1",
        others[0]: "digit-0",
        others[1]: "digit-1",
    }


def test_a_server_whose_clock_was_ahead_for_one_task(world, monkeypatch):
    monkeypatch.setattr("connectors.label_studio.pull.OVERLAP", timedelta(0))
    push(world.project)
    first, *others = world.picks
    world.answer([first])
    touch(world, first, timedelta(minutes=4))
    assert pull(world.project).new == 1
    world.answer(others[:2])
    assert pull(world.project).new == 2
    with world.project.records.read() as session:
        cursor = session.scalar(select(Cursor.value))
    assert datetime.strptime(cursor, STAMP).replace(tzinfo=UTC) <= datetime.now(UTC)


def test_a_cursor_ahead_of_the_server_is_not_believed(world):
    """An earlier version of the program kept such cursors."""
    push(world.project)
    world.answer(world.picks[:1])
    pull(world.project)
    ahead = (datetime.now(UTC) + timedelta(days=1)).strftime(STAMP)
    with world.project.records.write() as session:
        session.execute(update(Cursor).values(value=ahead))
    world.answer(world.picks[1:2])
    assert pull(world.project).new == 1


def test_what_the_server_counts_is_compared(world):
    """An answer, and a deletion, on tasks that the server does not call changed."""
    push(world.project)
    first, second, *_ = world.picks
    world.answer([first])
    pull(world.project)
    world.answer([second])
    touch(world, second, timedelta(hours=-1))
    assert pull(world.project).new == 1
    world.write("DELETE", f"/api/annotations/{annotation_of(world, first)}/")
    touch(world, first, timedelta(hours=-1))
    pull(world.project)
    assert set(labels(world)) == {second}
    assert pulls_in_full(world) == 0  # nothing differs any more


def test_answers_of_other_people_s_tasks_are_no_difference(world):
    push(world.project)
    foreign = world.write(
        "POST",
        "/api/projects/{project}/import",
        [{"data": {"image": "/static/x.png"}}],
        return_task_ids="true",
    )["task_ids"]
    world.write("POST", f"/api/tasks/{foreign[0]}/annotations/", {"result": result("digit-0")})
    world.answer(world.picks[:1])
    pull(world.project)
    world.answer(world.picks[1:2])
    assert pulls_in_full(world) == 0
    assert len(labels(world)) == 2


def test_an_edit_that_the_server_does_not_call_a_change_is_seen_at_the_end_of_the_round(world):
    push(world.project)
    first, *others = world.picks
    world.answer([first], "digit-0")
    pull(world.project)
    path = f"/api/annotations/{annotation_of(world, first)}/"
    world.write("PATCH", path, {"result": result("digit-2")})
    touch(world, first, timedelta(hours=-1))
    world.answer(others)
    assert pull(world.project).complete
    assert labels(world)[first] == "digit-2"


@pytest.mark.parametrize("full", [False, True])
def test_our_clock_a_day_ahead_at_the_push(world, full):
    push(world.project)
    with world.project.records.write() as session:
        ahead = models.now() + timedelta(days=1)
        session.execute(update(models.Batch).values(created_at=ahead, updated_at=ahead))
    first = world.picks[0]
    world.answer([first])
    pull(world.project)
    world.write("DELETE", f"/api/annotations/{annotation_of(world, first)}/")
    pull(world.project, full=full)
    assert labels(world) == {}


def test_an_answer_on_one_of_two_tasks_does_not_take_back_the_other(world):
    push(world.project)
    key = world.picks[0]
    task = world.direct().client.get(f"/api/tasks/{world.tasks()[key]}/")
    (copy,) = world.write(
        "POST",
        "/api/projects/{project}/import",
        [{"data": task["data"]}],
        return_task_ids="true",
    )["task_ids"]
    for id_ in (task["id"], copy):
        world.write("POST", f"/api/tasks/{id_}/annotations/", {"result": result("digit-1")})
    pull(world.project)
    touch(world, key, timedelta(minutes=-9))
    with world.project.records.write() as session:
        later = (datetime.now(UTC) - timedelta(minutes=5)).strftime(STAMP)
        session.execute(update(Cursor).values(value=later))
    pull(world.project)
    with world.project.records.read() as session:
        deleted = select(func.count()).select_from(models.Annotation)
        assert session.scalar(deleted.where(models.Annotation.deleted)) == 0


def test_a_server_without_a_date_is_read_in_full(world, monkeypatch):
    push(world.project)
    world.answer(world.picks[:1])
    monkeypatch.setattr("connectors.label_studio.client._date", lambda response: None)
    pull(world.project)
    assert pulls_in_full(world) == 1
