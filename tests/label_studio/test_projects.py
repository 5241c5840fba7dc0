"""Which project is ours, whatever people write into it, copy or paste, and however often a creation
was carried out."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from connectors.base import Unknown
from connectors.label_studio import config
from db.answers import current_answers
from db.models import Batch, Item, Pick, Pool, Sent
from loop.demo.server import annotate
from loop.steps.pull import pull
from loop.steps.push import push
from loop.steps.status import status
from tests.label_studio.world import PICKS, settled, tasks_of

pytestmark = pytest.mark.server


def marked(world) -> set[int]:
    """The server's projects whose description holds our marker."""
    listed = world.direct().client.get("/api/projects/", {"page_size": 1000})["results"]
    marker = world.direct().project.marker
    return {project["id"] for project in listed if marker in str(project["description"])}


def labels(world):
    with world.project.records.read() as session:
        return {answer.key: answer.label for answer in current_answers(session, 1)}


def forget(world) -> None:
    """As records are that an earlier version wrote."""
    with world.project.records.write() as session:
        pool = session.scalar(select(Pool))
        pool.source = {"marker": pool.source["marker"]}


def make_project(world, description: str, tasks=()) -> int:
    """A project of somebody, with these tasks' data."""
    config = world.direct().project.description.label_config
    body = {"title": "small too", "description": description, "label_config": config}
    id_ = world.write("POST", "/api/projects/", body)["id"]
    if tasks:
        data = [{"data": task.data} for task in tasks]
        world.write("POST", f"/api/projects/{id_}/import", data)
    return id_


EDITS = {
    "description": {"description": "photos of digits, ask Ann"},
    "title": {"title": "Digits, second try"},
    "both": {"title": "Digits", "description": ""},
}


@pytest.mark.parametrize("memory", [True, False], ids=["remembered", "older-records"])
@pytest.mark.parametrize("verb", ["push", "pull"])
@pytest.mark.parametrize("edit", EDITS)
def test_a_person_edits_the_project(world, edit, verb, memory):
    push(world.project)
    world.answer(world.picks[:3])
    ours = world.direct().project.id
    world.write("PATCH", "/api/projects/{project}/", EDITS[edit])
    if not memory:
        forget(world)
    if verb == "push":
        assert push(world.project).again == 0
    pulled = pull(world.project)
    assert pulled.new == 3
    assert f"/projects/{ours}/" in pulled.url
    settled(world)
    assert world.direct().project.id == ours


@pytest.mark.parametrize("memory", [True, False], ids=["remembered", "older-records"])
@pytest.mark.parametrize("verb", ["push", "pull"])
def test_a_copy_made_in_the_server(world, verb, memory):
    """Its tasks have our keys and batches, its description our marker; it is made later."""
    push(world.project)
    ours = world.direct().project.id
    marker = world.direct().project.marker
    copy = make_project(world, f"copy of coreloop's, marker {marker}", tasks_of(world.direct()))
    if not memory:
        forget(world)
    if verb == "push":
        assert push(world.project).again == 0
    assert pull(world.project).new == 0
    assert world.direct().project.id == ours
    assert len(world.direct().client.get("/api/tasks/", {"project": copy})["tasks"]) == PICKS
    settled(world)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_marker_pasted_elsewhere(world, moment):
    marker = world.direct().project.marker
    if moment == "after":
        push(world.project)
    stranger = make_stranger(world, f"see {marker}")
    client = world.direct().client
    client.write("POST", f"/api/projects/{stranger}/import", [{"data": {"text": "hello"}}])
    push(world.project)
    assert world.direct().project.id != stranger
    settled(world)
    assert len(world.direct().client.get("/api/tasks/", {"project": stranger})["tasks"]) == 1


def test_a_server_set_up_anew_gives_our_number_to_somebody_else(world):
    push(world.project)
    world.write("DELETE", "/api/projects/{project}/")
    stranger = make_stranger(world, "")
    with world.project.records.write() as session:
        pool = session.scalar(select(Pool))
        pool.source = {**pool.source, "labeler": {"projects": [stranger]}}
    push(world.project)
    assert world.direct().project.id != stranger
    settled(world)


def make_stranger(world, description: str) -> int:
    """A project that has nothing to do with ours."""
    config = "<View><Text name='t' value='$text'/></View>"
    body = {"title": "somebody's", "description": description, "label_config": config}
    return world.direct().client.write("POST", "/api/projects/", body)["id"]


# creation


def test_a_creation_that_the_server_repeats_makes_one_project(world):
    """Its retry on a locked SQLite file does; so does a gateway."""
    world.proxy.breaks("twice", "POST /api/projects/")
    push(world.project)
    assert len(marked(world)) == 1
    settled(world)


def test_a_creation_whose_answer_is_lost_makes_one_project(world):
    world.proxy.breaks("drop", "POST /api/projects/")
    push(world.project)
    assert len(marked(world)) == 1
    settled(world)


def test_a_creation_carried_out_after_we_gave_up_is_found_and_named(world):
    """The first request is carried out when a second project is in use."""
    world.proxy.breaks("refuse", "POST /api/projects/")
    with pytest.raises(Unknown):
        push(world.project)
    push(world.project)
    marker = world.direct().project.marker
    ours = world.direct().project.id
    late = make_project(world, f"made by coreloop, marker {marker}")
    push(world.project)
    pull(world.project)
    assert world.direct().project.id == ours
    assert marked(world) == {ours, late}  # it may be somebody's: named, not removed
    pushed = push(world.project)
    assert any(f"project {late}" in note for note in pushed.notes)
    settled(world)


def test_tasks_in_two_projects_are_read_from_both(world, monkeypatch):
    """An earlier version lost a project whose marker was gone, and pushed the rest to another."""
    push(world.project)
    world.answer(world.picks[:2], "digit-0")
    first = world.direct().project.id
    second = make_project(world, "made by coreloop")
    moved = world.picks[2:]
    tasks = {task.data["coreloop_key"]: task for task in tasks_of(world.direct())}
    batch = "f" * 32
    data = [{"data": {**tasks[key].data, "coreloop_batch": batch}} for key in moved]
    world.write("POST", f"/api/projects/{second}/import", data)
    for key in moved:
        world.write("DELETE", f"/api/tasks/{tasks[key].id}/")
    split_batch(world, batch, moved)
    marker = world.direct().project.marker
    world.write("PATCH", f"/api/projects/{second}/", {"description": f"marker {marker}"})
    world.write("PATCH", f"/api/projects/{first}/", {"description": "edited"})
    forget(world)
    world.given |= dict.fromkeys(moved, "digit-1")
    annotate(world.server, second, dict.fromkeys(moved, ("digit-1", 1.0)))
    pulled = pull(world.project)
    assert (pulled.answered, pulled.complete) == (PICKS, True)
    assert labels(world) == world.given
    assert any("should label at" in note for note in pulled.notes)
    assert any("should label at" in event for event in status(world.project).events)


def test_twins_of_one_creation_are_read_both(world):
    """Two were there before the first task was; then people labelled in both."""
    marker = world.direct().project.marker
    first, twin = (twin_of(world, marker) for _ in range(2))
    push(world.project)
    assert world.direct().project.id == first
    data = [{"data": task.data} for task in tasks_of(world.direct())]
    world.write("POST", f"/api/projects/{twin}/import", data)
    pushed = push(world.project)
    assert any(f"project {twin} holds tasks of ours too" in note for note in pushed.notes)
    assert [task.data for task in tasks_of(world.direct())] == [task["data"] for task in data]
    annotate(world.server, first, dict.fromkeys(world.picks[:2], ("digit-0", 1.0)))
    world.write("POST", f"/api/projects/{twin}/import", data)
    annotate(world.server, twin, dict.fromkeys(world.picks[2:], ("digit-1", 1.0)))
    pulled = pull(world.project)
    assert (pulled.answered, pulled.complete) == (PICKS, True)


def twin_of(world, marker: str) -> int:
    """As a repeated creation leaves it."""
    body = {
        "title": "small",
        "description": f"made by coreloop, marker {marker}",
        "label_config": config.build(["digit-0", "digit-1", "digit-2"]),
    }
    return world.direct().client.write("POST", "/api/projects/", body)["id"]


def split_batch(world, uuid: str, keys) -> None:
    """As if these images had been pushed in a batch of their own."""
    with world.project.records.write() as session:
        old = session.scalar(select(Batch))
        session.add(
            Batch(
                uuid=uuid,
                round_id=old.round_id,
                connector=old.connector,
                state="CONFIRMED",
                size=len(keys),
            )
        )
        session.flush()
        rows = session.scalars(
            select(Sent)
            .join(Pick, Pick.id == Sent.pick_id)
            .join(Item, Item.id == Pick.item_id)
            .where(Item.key.in_(keys))
        )
        for row in rows:
            row.batch_uuid = uuid
