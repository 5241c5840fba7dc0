"""A whole project whose images lie in a bucket, on a real S3-compatible server."""

from __future__ import annotations

import io
import json

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from loop.cli import cli
from loop.errors import ConfigError
from loop.project import find
from loop.steps.doctor import doctor
from loop.steps.init import init
from loop.steps.run import run
from tests.connectors.buckets import s3_server


@pytest.fixture
def s3(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fsspec.filesystem("s3").clear_instance_cache()
    with s3_server(monkeypatch) as server:
        for i in range(60):
            noise = np.random.default_rng(i).normal(190 if i % 2 else 60, 30, (16, 16, 3))
            data = io.BytesIO()
            Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(data, "PNG")
            server.put(f"set/{'healthy' if i % 2 else 'leaf rust'}/{i:02d}.png", data.getvalue())
        yield server
    fsspec.filesystem("s3").clear_instance_cache()


def coreloop(*args):
    return CliRunner().invoke(cli, [str(each) for each in args])


def test_from_init_to_a_label_for_every_image(s3, tmp_path):
    made = coreloop(
        *("init", tmp_path / "p", "--images", "s3://photos/set", "--labelled"),
        *("--labeler", "oracle", "--encoder", "pixels:8", "--budgets", "6,6", "--measure", 20),
    )
    assert made.exit_code == 0, made.output
    assert "classes: healthy, leaf rust" in made.output
    with find(tmp_path / "p") as project:
        assert project.config.pool.source == "bucket"
        assert project.config.pool.path == "s3://photos/set"
        assert run(project).why == "done"
    fetched = len(s3.gets)
    assert fetched == 60, "each image once"
    finished = coreloop("autolabel", "-p", tmp_path / "p", "--max-error", "0.1", "--yes")
    assert finished.exit_code == 0, finished.output
    with find(tmp_path / "p") as project:
        run(project)
    exported = coreloop("export", "-p", tmp_path / "p", "--all", "--out", tmp_path / "all.csv")
    assert exported.exit_code == 0, exported.output
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 61
    report = (tmp_path / "p" / "reports" / "report.html").read_text()
    assert "data:image/jpeg" in report
    images = next(each for each in doctor(tmp_path / "p") if each.name == "images")
    assert images.ok
    assert "s3://photos/set" in images.detail


def test_a_later_scan_finds_what_is_new(s3, tmp_path):
    project, scanned = init(tmp_path / "p", "s3://photos/set", encoder="pixels:8")
    assert scanned.images == 60
    image = s3.client.get_object(Bucket="photos", Key="set/healthy/01.png")["Body"].read()
    s3.put("set/healthy/copy.png", image)
    s3.put("set/healthy/notes.txt", b"x")
    told = json.loads(coreloop("scan", "-p", project.root, "--json").stdout)
    assert (told["images"], told["added"], told["duplicates"]) == (60, 0, 1)
    assert [each["suffix"] for each in told["passed_over"]] == [".txt"]


def test_credentials_are_not_taken_from_an_address(s3, tmp_path):
    with pytest.raises(ConfigError, match="the images holds a password"):
        init(
            tmp_path / "p",
            "s3://key:secret@photos/set",
            project={"classes": ["a", "b"]},
            pool={"splits": False, "source": "bucket"},
        )
    assert not (tmp_path / "p").exists()


def test_a_server_that_is_away_ends_with_try_again(s3, tmp_path, monkeypatch):
    made = coreloop("init", tmp_path / "p", "--images", "s3://photos/set", "--encoder", "pixels:8")
    assert made.exit_code == 0, made.output
    monkeypatch.setattr("connectors.objects.TRIES", 1)
    fsspec.filesystem("s3").clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    done = coreloop("scan", "-p", tmp_path / "p")
    assert done.exception.exit_code == 4
    assert "type the same command again" in str(done.exception)
