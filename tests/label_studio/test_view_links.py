"""Pages of ``coreloop view`` lead to the tasks of the real server."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from loop import config
from loop.project import create
from loop.project.labeler import connect_labeler
from loop.steps.run import run
from loop.steps.view import View
from loop.view.app import make_app
from loop.view.guard import Credentials
from tests.conftest import small_values

pytestmark = pytest.mark.server


def test_each_image_that_waits_links_to_its_task(tmp_path, images, server, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", server.token)
    values = small_values(images, labeler={"kind": "label-studio", "error_rate": 0.0})
    project = create(tmp_path / "p", config.check(values, "test"))
    assert run(project).why == "waiting"
    view, credentials = View(project), Credentials(8123)
    client = TestClient(make_app(view, credentials), "http://127.0.0.1:8123")
    client.get(f"/?token={credentials.token}")
    page = client.get("/label").text
    links = re.findall(r'href="/image/(\w+)".*?href="([^"]+)"', page, re.DOTALL)
    assert len(links) == 12
    with project.records.read() as session:
        labeler = connect_labeler(session, project)
    for key, link in links:
        number, task = re.fullmatch(rf"{server.url}/projects/(\d+)/data\?task=(\d+)", link).groups()
        there = labeler.client.get(f"/api/tasks/{task}/")
        assert (there["data"]["coreloop_key"], str(there["project"])) == (key, number)
        assert link in client.get(f"/image/{key}").text
