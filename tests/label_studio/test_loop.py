"""The whole loop against the real server: as many tasks as picks, all answered, nothing secret."""

from __future__ import annotations

import subprocess
from datetime import timedelta

import pytest

from connectors.base import Unknown, Unreachable
from loop import config
from loop.project import create
from loop.project.simulated_annotator import answer_open_tasks
from loop.steps.measure import measure
from loop.steps.push import push
from loop.steps.run import run
from loop.steps.status import status
from tests.conftest import rows, small_values
from tests.label_studio.world import tasks_of

pytestmark = pytest.mark.server


@pytest.fixture
def live(tmp_path, images, server, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", server.token)
    values = small_values(images, labeler={"kind": "label-studio", "error_rate": 0.0})
    return create(tmp_path / "p", config.check(values, "test"))


def test_rounds_with_people(live, server):
    from connectors.label_studio import LabelStudio

    for _ in range(6):
        ended = run(live)
        if ended.why == "done":
            break
        assert ended.url.startswith(server.url)
        answer_open_tasks(live, server, lambda done, total: None)
    assert ended.why == "done"
    number = connected(live).project.id
    reader = LabelStudio(
        server.url,
        server.token,
        title="",
        marker="",
        classes=[],
        read=lambda uri: b"",
        project_id=number,
    )
    tasks = tasks_of(reader)
    assert len(tasks) == 12 + 6 + 6
    assert len({task.data["coreloop_key"] for task in tasks}) == 24
    assert all(task.total_annotations == 1 for task in tasks)
    assert reader.client.get(f"/api/projects/{number}/")["model_version"] == "round-1"
    assert [line.labelled for line in status(live).rounds] == [12, 6, 6]
    leaks = subprocess.run(
        ["grep", "-rlE", f"{server.token}|sessionid|{server.password}", str(live.root)],
        capture_output=True,
        text=True,
    )
    assert leaks.stdout == ""


def test_the_sample_goes_to_people_among_the_first_picks(tmp_path, images, server, monkeypatch):
    """One push, one wait; nothing on a task tells the sample from the picks."""
    monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", server.token)
    values = small_values(images, labeler={"kind": "label-studio", "error_rate": 0.0})
    del values["pool"]["test"]
    values["measure"] = {"images": 20, "folds": 5}
    project = create(tmp_path / "p", config.check(values, "test"))
    counts = []
    while run(project).why == "waiting":
        counts.append(len(tasks_of(connected(project))))
        answer_open_tasks(project, server, lambda done, total: None)
    assert counts == [26, 32]
    tasks = tasks_of(connected(project))
    arms = dict(rows(project, "SELECT key, arm FROM pick JOIN item ON item.id = item_id"))
    told = {"sample": set(), "coreset": set()}
    client = connected(project).client
    for task in tasks[:26]:
        shown = client.get(f"/api/tasks/{task.id}/")
        told[arms[task.data["coreloop_key"]]].add(
            (*sorted(shown["data"]), len(shown["predictions"]))
        )
    assert told["sample"] == told["coreset"], "tasks tell what they are for"
    order = [arms[task.data["coreloop_key"]] for task in sorted(tasks, key=lambda t: t.id)[:26]]
    assert order.count("sample") == 20
    assert "coreset" in order[:20], "the picks come last"
    measured = measure(project)
    assert (measured.by, measured.images, measured.labels) == ("sample", 20, 32)


def connected(project):
    from db import queries
    from loop.project.labeler import connect_labeler

    with project.records.read() as session:
        assert queries.the_pool(session)
        return connect_labeler(session, project)


def test_push_whose_answer_is_lost_is_settled_by_the_next_run(live, server, proxy, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_URL", proxy.url)
    proxy.breaks("drop", "/import?return_task_ids")
    with pytest.raises(Unknown, match="same command"):
        run(live)
    assert "UNKNOWN" in status(live).troubles[0]
    assert run(live).why == "waiting"
    assert status(live).troubles == []
    sent = [seen for seen in proxy.seen if "/import?return_task_ids" in seen]
    assert len(sent) == 1


def test_server_away_keeps_everything(live, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:9")
    before = None
    for _ in range(2):
        with pytest.raises(Unreachable, match="repeat the command later"):
            run(live)
        now = [line.state for line in status(live).rounds]
        assert before in (None, now)
        before = now


def test_restored_backup_finds_the_answers_of_its_lost_rounds(live, server, tmp_path, monkeypatch):
    """The tasks of the later rounds are there, answered, and unknown to the restored records."""
    import connectors.label_studio.pull as module
    from loop.project import find
    from loop.steps.backup import backup, restore

    monkeypatch.setattr(module, "OVERLAP", timedelta(0))
    run(live)
    answer_open_tasks(live, server, lambda done, total: None)
    run(live)
    backup(live, tmp_path / "backup")
    for _ in range(4):
        answer_open_tasks(live, server, lambda done, total: None)
        if run(live).why == "done":
            break
    restore(tmp_path / "backup", tmp_path / "again")
    again = find(tmp_path / "again")
    for _ in range(6):
        ended = run(again)
        if ended.why == "done":
            break
    assert ended.why == "done"  # nobody had to answer anything twice
    assert [line.labelled for line in status(again).rounds] == [12, 6, 6]


def test_tasks_that_stay_where_copies_were_removed_are_known(live, server, proxy, monkeypatch):
    run(live)
    answer_open_tasks(live, server, lambda done, total: None)
    monkeypatch.setenv("LABEL_STUDIO_URL", proxy.url)
    proxy.breaks("twice", "/import?return_task_ids")
    run(live)
    pushed = push(live)  # replaces the guesses on the tasks that are there
    assert (pushed.sent, pushed.again) == (0, 0)
    assert status(live).troubles == []
