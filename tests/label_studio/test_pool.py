"""A Label Studio project as the pool: from its tasks to a trained model, on the real server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from connectors.label_studio.marks import holding
from connectors.label_studio.tasks import list_tasks
from db import queries
from db.answers import current_answers
from loop.project import find
from loop.project.labeler import connect_labeler
from loop.project.problem import problem
from loop.steps.init import init
from loop.steps.run import run
from loop.steps.status import status
from tests.label_studio.adopting import SINGLE, People

pytestmark = pytest.mark.server
TASKS, BEFORE = 40, 6


def picture(number: int) -> bytes:
    """A small picture that its class is seen by: odd ones are light."""
    from io import BytesIO

    noise = np.random.default_rng(number).normal(180 if number % 2 else 60, 30, (16, 16, 3))
    file = BytesIO()
    Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def label_of(data: dict) -> str:
    """What people say: the number stands in the file's name."""
    name = str(data["image"]).rpartition("-")[2]
    return f"digit-{int(Path(name).stem) % 2}"


@pytest.fixture
def people(server, monkeypatch, tmp_path):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", server.token)
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return People.of(server)


def filled(people, count=TASKS, before=BEFORE, first=0):
    number = people.make()
    people.upload(number, {f"{i:03}.png": picture(i) for i in range(first, first + count)})
    for task in people.tasks(number)[:before]:
        people.choose(task["id"], [label_of(task["data"])])
    return number


def pooled(folder, server, number, **labeler):
    sections = {"labeler": {"kind": "label-studio", "url": server.url, **labeler}}
    project, scanned = init(
        folder / "p",
        f"label-studio://{number}",
        encoder="pixels:8",
        measure={"by": "sample", "images": 20},
        selection={"budgets": [4, 4]},
        **sections,
    )
    return find(project.root), scanned


def marked(project, turn):
    """Tasks of a round in the order of its tab, as the server gives them."""
    with project.records.read() as session:
        labeler = connect_labeler(session, project)
    text = labeler._marking.start_of(turn)
    return list(list_tasks(labeler.client, labeler.images.project, [holding(text)]))


def answer_round(people, project, turn):
    for task in marked(project, turn):
        people.choose(task.id, [label_of(task.data)])


def test_from_tasks_to_a_model(people, server, tmp_path):
    number = filled(people)
    before = people.tasks(number)
    project, scanned = pooled(tmp_path, server, number)
    assert (scanned.images, scanned.labelled_before) == (TASKS, BEFORE)
    assert project.config.project.classes == ["digit-0", "digit-1"]
    assert status(project).counts["labelled before"] == BEFORE
    ended = run(project)
    assert ended.why == "waiting"
    assert "tab=" in ended.url
    assert "labeling=1" in ended.url
    asked = marked(project, "round 1")
    labelled = {task["id"] for task in before[:BEFORE]}
    assert not labelled & {task.id for task in asked}, "nobody is asked again"
    with project.records.read() as session:
        picks = queries.picks(session, 1, 1)
    assert len(asked) == len(picks)
    answer_round(people, project, "round 1")
    ended = run(project)
    assert ended.why == "waiting"
    answer_round(people, project, "round 2")
    ended = run(project)
    assert ended.why == "done"
    assert ended.result.measured.accuracy > 0.8
    with project.records.read() as session:
        labels = problem(session, project).labels
        answers = current_answers(session, 1)
    assert (labels >= 0).sum() == len(answers) == BEFORE + len(picks) + 4
    after = people.tasks(number)
    assert [task["data"] for task in after] == [task["data"] for task in before]
    now = people.ask("GET", f"/api/projects/{number}/")
    assert (now["model_version"] or "", now["label_config"]) == ("", SINGLE)
