"""The service against the real server: known to it once, asked live, woken by its webhooks, and no
harm where these are lost, doubled or forged."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loop import config, secrets
from loop.demo.server import start
from loop.project import create
from loop.project.labeler import connect_labeler
from loop.project.simulated_annotator import answer_open_tasks
from loop.steps.run import run
from loop.steps.serve import Connection
from loop.steps.status import status
from tests.conftest import ROOT, rows, small_values
from tests.label_studio.browsing import CHROMIUM, guessed, signed_in
from tests.label_studio.serving import serving, states, until

pytestmark = pytest.mark.server


@pytest.fixture
def live(tmp_path, images, server, monkeypatch):
    """A sample of 20 goes out with 6 picks, then 6 more alone."""
    monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", server.token)
    values = small_values(
        images,
        measure={"images": 20, "folds": 3},
        labeler={"kind": "label-studio", "error_rate": 0.0},
    )
    del values["pool"]["test"]
    project = create(tmp_path / "p", config.check(values, "test"))
    secrets.service_secret(project.root)
    return project


def label_all(project, server) -> None:
    answer_open_tasks(project, server, lambda done, total: None)


def labeler_of(project):
    with project.records.read() as session:
        return connect_labeler(session, project)


def listed(client, project: int) -> tuple[list[dict], list[dict]]:
    """Backends and webhooks of a project."""
    return (
        client.get("/api/ml/", {"project": project}),
        client.get("/api/webhooks/", {"project": project}),
    )


def foreign_task(server, client, number: int) -> int:
    """A task with an image that was never pushed, uploaded as a person does."""
    path = Path(server.folder) / f"{uuid.uuid4().hex}.png"
    pixels = (np.indices((8, 8)).sum(axis=0) * 17).astype(np.uint8)
    Image.fromarray(pixels).resize((64, 64)).save(path)
    answer = client.write(
        "POST",
        f"/api/projects/{number}/import",
        files={"f": (path.name, path.read_bytes())},
        params={"return_task_ids": "true"},
    )
    return int(answer["task_ids"][0])


@pytest.mark.browser
def test_rounds_go_by_and_people_see_what_the_model_says(live, server, tmp_path, record_property):
    with serving(live, "--connect", "--every", "600") as running:
        until(lambda: "as its ML backend and webhook" in running.said())
        labeler = labeler_of(live)
        number, client = labeler.project.id, labeler.client
        backends, hooks = listed(client, number)
        assert [(each["url"], each["readable_state"]) for each in backends] == [
            (running.url, "Connected")
        ]
        assert [(each["url"], each["send_payload"]) for each in hooks] == [
            (f"{running.url}/webhook", False)
        ]
        assert states(live) == ["pushed"]
        label_all(live, server)  # from now on only webhooks: the next look is in ten minutes
        until(lambda: states(live)[1:] == ["pushed"])
        assert client.get(f"/api/projects/{number}/")["model_version"] == "coreloop"

        foreign = foreign_task(server, client, number)
        if CHROMIUM:
            with signed_in(server, tmp_path / "profile") as page:
                screenshot = tmp_path / "guess.png"
                (choice,) = guessed(page, server.url, number, foreign, screenshot)
        task = client.get(f"/api/tasks/{foreign}/")
        (given,) = task["predictions"]
        assert given["model_version"] == "round-1"
        if CHROMIUM:
            assert given["result"][0]["value"]["choices"] == [choice]

        record_property("measured", predict_times(running, live))
        shown = running.http.get("/metrics").text
        assert 'coreloop_predictions_total{how="embedded"} 1.0' in shown
        assert running.http.get("/health").json()["watch"]["tries"] == 0

        began = time.monotonic()
        assert running.end() == 130
        assert time.monotonic() - began < 5
    told = [server.token, running.http.auth and secrets.service_secret(live.root)]
    for path in live.root.rglob("*"):
        if path.is_file() and path.name != secrets.SERVICE_FILE:
            assert not any(secret.encode() in path.read_bytes() for secret in told), path

    with serving(live, "--connect", "--every", "600") as other:  # at another port: moved, not added
        until(lambda: "as its ML backend and webhook" in other.said())
        backends, hooks = listed(client, number)
        assert [each["url"] for each in backends] == [other.url]
        assert [each["url"] for each in hooks] == [f"{other.url}/webhook"]
        label_all(live, server)
        until(lambda: states(live) == ["compared"] * 2)
        until(lambda: "all 2 rounds are done" in other.said())
        assert other.process.poll() is None, "it goes on answering"
        assert other.http.get("/versions").json() == {"versions": ["round-2"]}
    assert len(rows(live, "SELECT * FROM annotation")) == 32


def predict_times(running, project) -> str:
    """Of a known task, as Label Studio asks."""
    labeler = labeler_of(project)
    xml = labeler.project.description.label_config
    query = "SELECT key FROM item WHERE id NOT IN (SELECT item_id FROM pick)"
    times = []
    for number, (key,) in enumerate(rows(project, query) * 9):
        task = {"id": number, "data": {"coreloop_key": key, "image": "/data/upload/a.png"}}
        began = time.perf_counter()
        answer = running.http.post("/predict", json={"tasks": [task], "label_config": xml})
        times.append(1000 * (time.perf_counter() - began))
        assert len(answer.json()["results"][0]) == 1
    p50, p95 = statistics.median(times), sorted(times)[int(0.95 * len(times))]
    assert p50 < 50
    took = f"p50 {p50:.1f} ms, p95 {p95:.1f} ms, n={len(times)}, load {os.getloadavg()[0]:.1f}"
    return f"/predict of a known task: {took}"


def test_webhooks_lost_doubled_and_forged_and_two_at_once(live, server):
    with serving(live, "--connect", "--every", "600") as running:
        until(lambda: "as its ML backend and webhook" in running.said())
        until(lambda: status(live).watch.again)
        with serving(live) as second:
            assert second.process.wait(60) == 5
            assert "another 'coreloop run --watch' or 'coreloop serve'" in second.said()
        before = len(rows(live, "SELECT * FROM event"))
        assert running.webhook(secret="forged") == 401
        for event in ("ANNOTATIONS_DELETED", "ANNOTATION_CREATED", "ANNOTATION_CREATED"):
            assert running.webhook(event) == 200  # of nothing that happened, and twice
        time.sleep(3)
        assert states(live) == ["pushed"]
        assert len(rows(live, "SELECT * FROM event")) == before
        running.process.kill()
        running.process.wait()
    began = time.monotonic()
    label_all(live, server)  # nobody is there: people notice nothing
    assert (time.monotonic() - began) / 26 < 3
    assert "was ended by force" in status(live).watch.in_words()
    with serving(live, "--connect", "--every", "600", port=running.port) as again:
        until(lambda: states(live)[1:] == ["pushed"])  # those webhooks were lost
        (backend,), (_,) = listed(labeler_of(live).client, labeler_of(live).project.id)
        assert backend["url"] == again.url
        assert again.end(signal.SIGINT) == 130
    assert len(rows(live, "SELECT * FROM annotation")) == 26


def test_a_server_that_may_not_call_us_is_polled(live, server, monkeypatch, tmp_path):
    folder = tmp_path / "strict"
    shutil.copytree(ROOT / ".build" / "label-studio", folder)
    strict = start(folder, Path(server.process.args[0]), calls_loopback=False)
    try:
        monkeypatch.setenv("LABEL_STUDIO_URL", strict.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", strict.token)
        with serving(live, "--connect", "--every", "0.5") as running:
            said = until(lambda: "ML_BLOCK_LOCAL_IP=false" in running.said() and running.said())
            assert "SSRF_PROTECTION_ENABLED=false" in said
            labeler = labeler_of(live)
            assert listed(labeler.client, labeler.project.id) == ([], [])
            label_all(live, strict)
            until(lambda: states(live)[1:] == ["pushed"])
            version = labeler.client.get(f"/api/projects/{labeler.project.id}/")["model_version"]
            assert version == "round-1", "imported predictions are shown"
            assert running.end() == 130
    finally:
        strict.stop()


def test_registering_again_adds_nothing_and_leaves_others_alone(live, server):
    from connectors.label_studio.backend import ServiceAddress, register

    run(live)
    labeler = labeler_of(live)
    number, client = labeler.project.id, labeler.client
    other = {"project": number, "url": "http://127.0.0.1:9/hook", "headers": {"X-Theirs": "1"}}
    client.write("POST", "/api/webhooks/", other)
    with serving(live) as running:
        until(lambda: "answering at" in running.said())
        secret = secrets.service_secret(live.root)
        at = ServiceAddress(running.url, "coreloop", secret, secrets.webhook_secret(secret))
        assert register(labeler, at, live=True).backend
        first = listed(client, number)
        assert register(labeler_of(live), at, live=True).backend
        again = listed(client, number)
        assert [[each["id"] for each in kind] for kind in again] == [
            [each["id"] for each in kind] for kind in first
        ]
        client.write(
            "POST",
            "/api/ml/",
            {"project": number, "url": running.url, "title": "x", **auth(secret)},
        )
        assert len(listed(client, number)[0]) == 2, "the server takes an address twice"
        register(labeler_of(live), at, live=True)
        backends, hooks = listed(client, number)
        assert len(backends) == 1
        assert len(hooks) == 2
        assert {"X-Theirs": "1"} in [hook["headers"] for hook in hooks]

        told = []
        Connection("http://127.0.0.1:9", secret, "x", told.append).settle(live)
        assert "connect to ML backend http://127.0.0.1:9" in told[0]
        assert "say where it reaches this one: --address" in told[0]
        hooks = listed(client, number)[1]
        assert [hook["headers"] for hook in hooks] == [{"X-Theirs": "1"}], "people wait for none"

        task = client.get("/api/tasks/", {"project": number, "page_size": 1})["tasks"][0]["id"]
        guess = {"task": task, "result": [], "score": 0.5, "model_version": "their model"}
        client.write("POST", f"/api/projects/{number}/import/predictions", [guess])
        client.write("PATCH", f"/api/projects/{number}/", {"model_version": "their model"})
        (note,) = register(labeler_of(live), at, live=True).notes
        assert "shows the predictions of 'their model', which stays so" in note
        assert client.get(f"/api/projects/{number}/")["model_version"] == "their model"


def auth(secret: str) -> dict[str, str]:
    return {
        "auth_method": "BASIC_AUTH",
        "basic_auth_user": "coreloop",
        "basic_auth_pass": secret,
    }
