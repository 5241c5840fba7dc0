"""Images in a bucket, shown to people from there: a real S3-compatible server, the real Label
Studio, a real browser."""

from __future__ import annotations

import io

import fsspec
import numpy as np
import pytest
from PIL import Image

from connectors.base import Rejected
from connectors.label_studio.images import InBucket
from loop import config
from loop.project import create
from loop.project.labeler import connect_labeler
from loop.steps.pull import pull
from loop.steps.run import run
from tests.connectors.buckets import s3_server
from tests.label_studio.browsing import SHOWN, signed_in
from tests.label_studio.world import tasks_of

pytestmark = [pytest.mark.server, pytest.mark.browser]


@pytest.fixture
def s3(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fsspec.filesystem("s3").clear_instance_cache()
    with s3_server(monkeypatch) as bucket:
        for i in range(44):
            data, colour = io.BytesIO(), (200, 60, 60) if i % 2 else (60, 60, 200)
            noise = np.random.default_rng(i).normal(colour, 25, (30, 40, 3))
            Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(data, "PNG")
            bucket.put(f"a set/blätter {i:02d}.png", data.getvalue())
        yield bucket
    fsspec.filesystem("s3").clear_instance_cache()


@pytest.fixture
def project(s3, server, monkeypatch, tmp_path):
    monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", server.token)
    values = {
        "project": {"name": "from a bucket", "classes": ["red", "blue"]},
        "pool": {"source": "bucket", "path": "s3://photos/a set"},
        "encoder": "pixels:4",
        "measure": {"images": 20},
        "selection": {"scorer": "kmeans", "budgets": [4]},
        "labeler": {"kind": "label-studio", "url": server.url, "images": "url"},
    }
    with create(tmp_path / "project", config.check(values, "test")) as made:
        yield made


@pytest.fixture
def page(server, s3, tmp_path):
    with signed_in(server, tmp_path / "profile", s3.url) as page:
        yield page


def labeler_of(project):
    with project.records.read() as session:
        return connect_labeler(session, project)


def add_storage(labeler, s3):
    """As a person does in the project's settings, with credentials."""
    labeler.client.write(
        "POST",
        "/api/storages/s3",
        {
            "project": labeler.project.id,
            "bucket": "photos",
            "s3_endpoint": s3.url,
            "aws_access_key_id": "somebody",
            "aws_secret_access_key": "else",
            "region_name": "us-east-1",
            "use_blob_urls": True,
            "presign": True,
            "title": "photographs",
        },
    )


def test_people_see_the_images_where_they_lie(project, s3, page):
    with pytest.raises(Rejected, match=r"no storage of 'photos'.*settings/storage"):
        run(project)
    labeler = labeler_of(project)
    labeler.prepare(["red", "blue"])
    assert tasks_of(labeler) == []
    add_storage(labeler, s3)
    assert run(project).why != "done", "people are asked"
    tasks = tasks_of(labeler)
    assert len(tasks) == 24
    stored = labeler.client.get(
        "/api/tasks/",
        {"project": labeler.project.id, "resolve_uri": "false", "page_size": 100},
    )
    addresses = {task["data"]["image"] for task in stored["tasks"]}
    assert all(address.startswith("s3://photos/a set/blätter ") for address in addresses)
    (storage,) = labeler.client.get("/api/storages/s3", {"project": labeler.project.id})
    assert storage["title"] == "photographs", "no other one was made"
    page.goto(labeler.project.url + "?labeling=1", wait_until="domcontentloaded")
    page.wait_for_function(SHOWN, timeout=60_000)
    assert page.evaluate(SHOWN) == [40, 30]
    page.click(".lsf-choices label:has-text('red')")
    with page.expect_response(lambda answer: "/annotations" in answer.url):
        page.click("[data-testid='bottombar-submit-button']")
    assert pull(project).new == 1


@pytest.mark.parametrize(
    ("base", "address"),
    [
        ("s3://photos", "s3://photos/a/b c.png"),
        ("s3://photos/a set/", "s3://photos/a set/a/b c.png"),
        ("gcs://photos/x", "gs://photos/x/a/b c.png"),
        ("az://photos/x", "azure-blob://photos/x/a/b c.png"),
    ],
)
def test_addresses_are_those_that_the_server_resolves(base, address):
    serving = InBucket(base)
    assert f"{serving.scheme}://{serving.bucket}/{serving.prefix}a/b c.png" == address
