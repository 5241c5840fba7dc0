"""Nothing is deleted on a server that is nobody's copy, and nothing sent twice because it lists
badly."""

from __future__ import annotations

import pytest

from connectors.base import Unreachable
from loop.steps.pull import pull
from loop.steps.push import push
from tests.label_studio.conftest import second_person
from tests.label_studio.world import PICKS, settled, tasks_of

pytestmark = pytest.mark.server
LIST = "GET /api/tasks/?"


def twice(answer):
    tasks = answer["tasks"]
    return {**answer, "tasks": [*tasks, *tasks[:3]], "total": answer["total"] + 3}


def doubled_page(answer):
    return {**answer, "tasks": answer["tasks"] * 2}


def falling(answer):
    return {**answer, "tasks": answer["tasks"][::-1]}


def empty(answer):
    return {**answer, "tasks": [], "total": 0}


def without_one(answer):
    return {**answer, "tasks": answer["tasks"][1:], "total": answer["total"] - 1}


def unanswered(answer):
    counts = {"total_annotations": 0, "cancelled_annotations": 0}
    return {**answer, "tasks": [{**task, **counts} for task in answer["tasks"]]}


def one_key(answer):
    """As if all tasks were of one image."""
    first = answer["tasks"][0]["data"] if answer["tasks"] else {}
    return {**answer, "tasks": [{**task, "data": first} for task in answer["tasks"]]}


LIES = [twice, doubled_page, falling, empty, without_one, unanswered, one_key]


def refused(lie, page, command):
    """Whether a listing is no answer; a short one does for a pull, which counts no tasks."""
    if page == 2 and lie in (falling, without_one):
        return True  # all on one page, any order does, and nothing contradicts a smaller count
    return lie in (twice, one_key) or (lie in (empty, without_one) and command is push)


@pytest.mark.parametrize("answered", [0, 3])
@pytest.mark.parametrize("page", [500, 2])
@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_listing_that_lies_deletes_and_doubles_nothing(world, lie, page, answered, monkeypatch):
    push(world.project)
    world.answer(world.picks[:answered])
    before = world.tasks()
    monkeypatch.setattr("connectors.label_studio.tasks.PAGE", page)
    told = []
    world.proxy.lies(LIST, lambda answer: told.append(lie) or lie(answer))
    for command in (push, pull, push):
        if refused(lie, page, command):
            with pytest.raises(Unreachable):
                command(world.project)
        else:
            done = command(world.project)
            assert command is pull or (done.sent, done.again) == (0, 0)
    assert len(told) > 3
    world.proxy.lie = None
    assert world.tasks() == before
    assert not [seen for seen in world.proxy.seen if seen.startswith("DELETE")]
    settled(world)


def copy_of(world, key: str) -> int:
    """A second task of an image, imported by somebody."""
    (task,) = [t for t in tasks_of(world.direct()) if t.data["coreloop_key"] == key]
    path, params = "/api/projects/{project}/import", {"return_task_ids": "true"}
    return world.write("POST", path, [{"data": task.data}], **params)["task_ids"][0]


def ids(world) -> set[int]:
    return {task.id for task in tasks_of(world.direct())}


def draft(world, task: int) -> None:
    """Somebody else has begun."""
    other = second_person(world.server)
    region = {
        "from_name": "label",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": ["digit-0"]},
    }
    answer = other.post(
        f"/api/tasks/{task}/drafts",
        json={"result": [region], "lead_time": 1.0},
        headers={"X-CSRFToken": other.cookies["csrftoken"], "Referer": world.server.url},
    )
    assert answer.status_code == 201


def skip(world, task: int) -> None:
    body = {"result": [], "was_cancelled": True}
    world.write("POST", f"/api/tasks/{task}/annotations/", body)


@pytest.mark.parametrize("work", [draft, skip], ids=lambda work: work.__name__)
def test_a_copy_that_somebody_has_worked_on_stays(world, work):
    push(world.project)
    copies = [copy_of(world, key) for key in world.picks[:2]]
    work(world, copies[0])
    world.proxy.lies(LIST, unanswered)  # the listing does not tell
    push(world.project)
    world.proxy.lie = None
    assert len(ids(world)) == PICKS + 1
    assert copies[0] in ids(world)


def test_a_copy_is_not_removed_for_a_task_that_has_gone(world):
    """The listing still names the task that should stay."""
    push(world.project)
    key = world.picks[0]
    old = world.tasks()[key]
    copy = copy_of(world, key)
    listed = world.direct().client.get(
        "/api/tasks/", {"project": world.direct().project.id, "page_size": 99, "fields": "all"}
    )
    world.write("DELETE", f"/api/tasks/{old}/")
    world.proxy.lies(LIST, lambda answer: listed)
    push(world.project)
    world.proxy.lie = None
    assert copy in ids(world)
    assert not [seen for seen in world.proxy.seen if seen.startswith("DELETE")]


def test_copies_made_since_the_push_go_at_the_next_pull(world):
    """An import that the server carried out after its answer was lost and it was sent again."""
    push(world.project)
    world.answer(world.picks[:1])
    pull(world.project)
    for key in world.picks[1:3]:
        copy_of(world, key)
    pull(world.project)
    assert len(ids(world)) == PICKS
    settled(world)


def test_an_image_labelled_on_both_of_its_tasks_counts_once(world):
    push(world.project)
    copy_of(world, world.picks[0])
    world.answer(world.picks[:1])  # on both
    pulled = pull(world.project)
    assert (pulled.answered, pulled.new) == (1, 2)
    world.answer(world.picks[1:])
    pulled = pull(world.project)
    assert (pulled.answered, pulled.picked, pulled.complete) == (PICKS, PICKS, True)
