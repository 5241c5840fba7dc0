"""A project as teams have it, images in three kinds of storage and some labelled by hand, from its
tasks to the end of the second round by ``coreloop serve`` alone; a scripted person labels what a
real browser offers in a round's tab, and sees there what the newest model says."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from db.answers import current_answers
from loop.demo.server import personal_token
from loop.project import find
from loop.steps.init import init
from loop.steps.pull import pull
from loop.steps.run import run
from loop.steps.status import status
from tests.connectors.buckets import NAME, s3_server
from tests.label_studio.adopting import SINGLE, People
from tests.label_studio.browsing import TASK, guessed, open_task, signed_in, ticked
from tests.label_studio.conftest import second_person
from tests.label_studio.serving import serving, states, until
from tests.label_studio.test_pool import (
    coreloop,
    filled,
    label_of,
    marked,
    mislabelled,
    people,
    picture,
    pooled,
    tabs_of,
)

__all__ = ["people"]
pytestmark = [pytest.mark.server, pytest.mark.browser]
SLOW = bool(os.environ.get("CORELOOP_SLOW"))
TASKS, BEFORE = (300, 40) if SLOW else (60, 9)
BY_HAND = 1000 if SLOW else 2
"""Picks of round 1 that are labelled in the browser; the others by the API."""


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
    """Tasks in the order offered, each labelled once its picture is up, until none is left; with
    what was ticked before."""
    page.goto(url, wait_until="domcontentloaded")
    offered = {}
    while len(offered) < most:
        task = open_task(page)
        if task is None:
            break
        if not offered:
            page.screenshot(path=str(screenshot))
        offered[task] = ticked(page)
        if offered[task] != [labels[task]]:
            page.click(f".lsf-choices label:has-text('{labels[task]}')")
        page.click("[data-testid='bottombar-submit-button']")
        page.wait_for_function(
            "([where,o])=>{const e=document.querySelector(where);"
            "return !e||e.firstChild.textContent!==o}",
            arg=[TASK, str(task)],
            timeout=60_000,
        )
    return offered


def added_later(people, number):
    """A task with an image that no scan has seen."""
    there = {task["id"] for task in people.tasks(number)}
    people.upload(number, {"901.png": picture(901)})
    (task,) = [task for task in people.tasks(number) if task["id"] not in there]
    return task["id"]


def check_answers(running, tasks, labels, picked):
    """Of images that nobody was asked about the model is right, and of those that measure silent;
    all are known by task and address."""
    asked = {"tasks": [task for task in tasks if task["id"] in labels], "label_config": SINGLE}
    given = running.http.post("/predict", json=asked).json()["results"]
    said = {
        task["id"]: results[0]["result"][0]["value"]["choices"][0]
        for task, results in zip(asked["tasks"], given, strict=True)
        if results
    }
    others = [task for task in labels if task not in picked]
    right = [task for task in others if said[task] == labels[task]]
    assert len(right) > 0.8 * len(others)
    assert len(said) < TASKS
    assert 'how="embedded"} 1.0' in running.http.get("/metrics").text, "none was fetched"


def test_two_rounds_without_a_command(server, s3, page, tmp_path, monkeypatch):
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
        compare={"baselines": ["random"] if SLOW else [], "seeds": 2},
        labeler={"kind": "label-studio", "url": server.url},
    )
    assert (scanned.images, scanned.labelled_before, scanned.unreadable) == (TASKS, BEFORE, [])
    project = find(made.root)
    with serving(project, "--connect", "--every", "600") as running:  # woken by webhooks alone
        (link,) = until(running.links)
        offered = label_in_browser(page, link, labels, BY_HAND, tmp_path / "round-1.png")
        assert list(offered) == in_tab(people, number, "Round 1")[: len(offered)]
        assert not any(offered.values()), "of images that measure nothing is guessed"
        for task in [task.id for task in marked(project, "round 1")]:
            if task not in offered:
                people.choose(task, [labels[task]])
        _, link = until(lambda: len(running.links()) == 2 and running.links())
        offered = label_in_browser(page, link, labels, 10, tmp_path / "round-2.png")
        assert list(offered) == in_tab(people, number, "Round 2")
        assert [len(choices) for choices in offered.values()] == [1, 1, 1], "live predictions"
        until(lambda: "all 2 rounds are done" in running.said())
        picked = [task.id for turn in (1, 2) for task in marked(project, f"round {turn}")]
        late = added_later(people, number)
        screenshot = tmp_path / "never-pushed.png"
        assert guessed(page, server.url, number, late, screenshot) == ["digit-1"]
        (seen,) = people.ask("GET", f"/api/tasks/{late}/")["predictions"]
        assert seen["model_version"] == "round-2"
        check_answers(running, people.tasks(number), labels, picked)
    assert states(project) == ["labeled", "compared", "compared"]
    assert (project.root / "reports" / "report.html").is_file()
    page.goto(f"{server.url}/projects/{number}/data", wait_until="domcontentloaded")
    page.wait_for_selector("text=/Label All Tasks/", timeout=60_000)
    page.screenshot(path=str(tmp_path / "data-manager.png"))
    assert set(tabs_of(people, number)) == {"Default", "Round 1", "Round 2"}
    for title in ("Default", "Round 1", "Round 2"):
        assert page.get_by_text(title, exact=True).count() >= 1
    assert status(project).counts["labelled before"] == BEFORE
    after = {task["id"]: task["data"] for task in people.tasks(number) if task["id"] != late}
    assert after == before
    assert people.ask("GET", f"/api/projects/{number}/")["label_config"] == SINGLE


def test_each_person_labels_what_a_link_offers(people, server, tmp_path):
    names, password = [f"{who}@{uuid4().hex[:8]}.org" for who in ("ann", "bob")], uuid4().hex
    number = filled(people, before=30)
    labels = {task["id"]: label_of(task["data"]) for task in people.tasks(number)}
    wrong = mislabelled(people, number)
    project, _ = pooled(tmp_path, server, number, budgets=[4], people=names)
    assert run(project).why == "waiting"
    asked = [task.id for task in marked(project, "round 1")]
    links = [*map(link_in, pull(project).notes)]
    shares = []
    for name, link in zip(names, links, strict=True):
        second_person(server, name, password)
        account = replace(server, username=name, password=password)
        with signed_in(account, tmp_path / name) as page:
            picture = tmp_path / f"{name[:3]}.png"
            shares.append([*label_in_browser(page, link, labels, TASKS, picture)])
            assert shares[-1] == in_tab(people, number, f"Round 1, {name}")
            if len(shares) == 2:
                options = ("--suspects", "--send-back", "--yes", "--limit", 1)
                link = link_in(coreloop("labels", "-p", project.root, *options))
                again = label_in_browser(page, link, labels, TASKS, tmp_path / "look-again.png")
                assert list(again) == [wrong]
    assert sorted(shares[0] + shares[1]) == sorted(asked)
    assert abs(len(shares[0]) - len(shares[1])) <= 1
    assert pull(project).complete
    with project.records.read() as session:
        opinions = Counter(answer.annotator for answer in current_answers(session, 1))
    assert sorted(opinions.values()) == sorted([30, len(shares[0]), len(shares[1]) + 1])


def link_in(text):
    """Where people label."""
    (link,) = re.findall(r"http\S+&labeling=1", text)
    return link


def in_tab(people, number, title):
    """Tasks that a tab shows, in its order."""
    view = tabs_of(people, number)[title]
    params = {"view": view["id"], "project": number, "page_size": 500, "fields": "task_only"}
    return [task["id"] for task in people.ask("GET", "/api/tasks/", params=params)["tasks"]]
