"""A project as teams have it, images in three kinds of storage and some labelled by hand, from its
tasks to the second round; a scripted person labels what a real browser offers in a round's tab."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loop.demo.server import personal_token
from loop.project import find
from loop.steps.init import init
from loop.steps.run import run
from loop.steps.status import status
from tests.connectors.buckets import NAME, s3_server
from tests.label_studio.adopting import SINGLE, People
from tests.label_studio.browsing import SHOWN, signed_in
from tests.label_studio.test_pool import label_of, marked, picture

pytestmark = [pytest.mark.server, pytest.mark.browser]
SLOW = bool(os.environ.get("CORELOOP_SLOW"))
TASKS, BEFORE = (300, 40) if SLOW else (60, 9)
BY_HAND = 1000 if SLOW else 4
"""Picks of round 1 that are labelled in the browser; the others by the API."""
TASK = ".lsf-current-task__task-id"
OVER = "No More Tasks Left in Queue"


@pytest.fixture
def s3(monkeypatch):
    with s3_server(monkeypatch) as server:
        yield server


def fill(people, server, s3):
    """A third of the tasks in each kind of storage."""
    number, third = people.make(), TASKS // 3
    uploads = {f"{i:03}.png": picture(i) for i in range(third)}
    people.upload(number, uploads)
    folder = Path(server.folder) / "files" / f"story-{number}"
    folder.mkdir(parents=True)
    storage = {"project": number, "path": str(folder), "use_blob_urls": True, "title": "disk"}
    people.ask("POST", "/api/storages/localfiles", json={**storage, "regex_filter": ".*"})
    tasks = []
    for i in range(third, 2 * third):
        (folder / f"a-{i:03}.png").write_bytes(picture(i))
        tasks.append({"image": f"/data/local-files/?d=story-{number}/a-{i:03}.png"})
    bucket = {
        "project": number,
        "bucket": NAME,
        "s3_endpoint": s3.url,
        "aws_access_key_id": "testing-key",
        "aws_secret_access_key": "testing-secret",
        "region_name": "us-east-1",
        "use_blob_urls": True,
        "presign": True,
        "title": "bucket",
    }
    people.ask("POST", "/api/storages/s3/", json=bucket)
    for i in range(2 * third, TASKS):
        s3.put(f"über uns/b-{i:03}.png", picture(i))
        tasks.append({"image": f"s3://{NAME}/über uns/b-{i:03}.png"})
    people.ask("POST", f"/api/projects/{number}/import", json=[{"data": data} for data in tasks])
    listed = people.tasks(number)
    for task in listed[:: TASKS // BEFORE][:BEFORE]:
        people.choose(task["id"], [label_of(task["data"])])
    return number


@pytest.fixture
def page(server, s3, tmp_path):
    with signed_in(server, tmp_path / "profile", s3.url) as page:
        yield page


def label_in_browser(page, url, labels, most, screenshot):
    """Tasks in the order offered, each labelled once its picture is up; until none is left."""
    page.goto(url, wait_until="domcontentloaded")
    offered = []
    while len(offered) < most:
        page.wait_for_function(
            f"() => document.body.innerText.includes('{OVER}') || ({SHOWN})()", timeout=60_000
        )
        if OVER in page.inner_text("body"):
            break
        task = page.locator(TASK).first.evaluate("e=>e.firstChild.textContent")
        if not offered:
            page.screenshot(path=str(screenshot))
        offered.append(int(task))
        page.click(f".lsf-choices label:has-text('{labels[int(task)]}')")
        page.click("[data-testid='bottombar-submit-button']")
        page.wait_for_function(
            "o=>{const e=document.querySelector('.lsf-current-task__task-id');"
            "return !e||e.firstChild.textContent!==o}",
            arg=task,
            timeout=60_000,
        )
    return offered


def test_two_rounds_in_a_project_that_was_there(server, s3, page, tmp_path, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", personal_token(server))
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    people = People.of(server)
    number = fill(people, server, s3)
    before = {task["id"]: task["data"] for task in people.tasks(number)}
    labels = {id_: label_of(data) for id_, data in before.items()}
    made, scanned = init(
        tmp_path / "mine",
        f"label-studio://{number}",
        encoder="pixels:8",
        measure={"by": "sample", "images": 20},
        selection={"budgets": [4, 3]},
        compare={"baselines": ["random"], "seeds": 2},
        labeler={"kind": "label-studio", "url": server.url},
    )
    assert (scanned.images, scanned.labelled_before, scanned.unreadable) == (TASKS, BEFORE, [])
    project = find(made.root)
    ended = run(project)
    assert ended.why == "waiting"
    asked = [task.id for task in marked(project, "round 1")]
    offered = label_in_browser(page, ended.url, labels, BY_HAND, tmp_path / "round-1.png")
    assert offered == in_tab(people, number, "Round 1")[: len(offered)]
    for task in asked:
        if task not in offered:
            people.choose(task, [labels[task]])
    ended = run(project)
    assert ended.why == "waiting"
    assert ended.result is not None
    offered = label_in_browser(page, ended.url, labels, 10, tmp_path / "round-2.png")
    assert offered == in_tab(people, number, "Round 2")
    assert len(offered) == 3
    assert OVER in page.inner_text("body")
    page.goto(f"{server.url}/projects/{number}/data", wait_until="domcontentloaded")
    page.wait_for_selector("text=/Label All Tasks/", timeout=60_000)
    page.screenshot(path=str(tmp_path / "data-manager.png"))
    for title in ("Default", "Round 1", "Round 2"):
        assert page.get_by_text(title, exact=True).count() >= 1
    ended = run(project)
    assert ended.why == "done"
    assert status(project).counts["labelled before"] == BEFORE
    assert {task["id"]: task["data"] for task in people.tasks(number)} == before
    now = people.ask("GET", f"/api/projects/{number}/")
    assert (now["model_version"] or "", now["label_config"]) == ("", SINGLE)


def in_tab(people, number, title):
    """Tasks that a tab shows, in its order."""
    views = people.ask("GET", "/api/dm/views/", params={"project": number})
    (view,) = [view for view in views if view["data"]["title"] == title]
    params = {"view": view["id"], "project": number, "page_size": 500, "fields": "task_only"}
    return [task["id"] for task in people.ask("GET", "/api/tasks/", params=params)["tasks"]]
