"""Finishing against the real server: people calibrate unguided; what is left shows guesses."""

from __future__ import annotations

import pytest

from db import queries
from loop import config
from loop.errors import NotReady
from loop.project import create
from loop.project.completion import completion
from loop.project.labeler import connect_labeler
from loop.project.simulated_annotator import answer_open_tasks
from loop.steps.autolabel import Goal, autolabel
from loop.steps.predict import show
from loop.steps.run import run
from tests.conftest import rows, small_values, write_images
from tests.label_studio.world import tasks_of

pytestmark = pytest.mark.server


def connected(project):
    with project.records.read() as session:
        assert queries.the_pool(session)
        return connect_labeler(session, project)


def guesses_by_arm(project) -> dict[str, set[int]]:
    """Arm -> how many predictions its tasks show."""
    arms = dict(rows(project, "SELECT key, arm FROM pick JOIN item ON item.id = item_id"))
    labeler, shown = connected(project), {}
    for task in tasks_of(labeler):
        seen = labeler.client.get(f"/api/tasks/{task.id}/")
        count = len(seen["predictions"])
        shown.setdefault(arms[task.data["coreloop_key"]], set()).add(count)
    return shown


def test_people_calibrate_and_finish(tmp_path, server, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", server.token)
    write_images(tmp_path / "images", 90)
    values = small_values(
        tmp_path / "images",
        labeler={"kind": "label-studio", "error_rate": 0.0, "predictions": True},
    )
    values["selection"]["budgets"] = [8]
    project = create(tmp_path / "p", config.check(values, "test"))
    while run(project).why == "waiting":
        answer_open_tasks(project, server)
    with pytest.raises(NotReady, match="no task waits"):
        show(project)
    autolabel(project, Goal(0.1), 40)
    assert run(project).why == "waiting"
    with pytest.raises(NotReady, match="images that measure"):
        show(project)
    assert guesses_by_arm(project)["calibration"] == {0}
    answer_open_tasks(project, server)
    ended = run(project)
    if ended.why == "waiting":  # the last round
        assert guesses_by_arm(project)["rest"] == {1}
        assert show(project).shown > 0
        assert guesses_by_arm(project)["rest"] == {1}, "replaced, not added"
        answer_open_tasks(project, server)
        ended = run(project)
    assert ended.why == "done"
    with project.records.read() as session:
        done = completion(session, project)
    assert done.finished
    assert done.by_model > 0
    assert len(tasks_of(connected(project))) == done.by_people
    assert "export --all" in ended.next
