"""Hostile files, names and archives: nothing of them is run, followed or believed."""

from __future__ import annotations

import ast
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from connectors.base import SourceError, UnreadableFile
from connectors.folder import Folder
from loop import config, encoders
from loop.errors import ConfigError, DataError
from loop.project import create
from loop.secrets import FILE, VARIABLE, label_studio_token
from loop.steps.export import export
from loop.steps.report import report
from loop.steps.run import run
from tests.conftest import ROOT, rows, small_values, write_images

SOURCES = sorted(
    p for package in ("loop", "connectors", "db") for p in (ROOT / package).rglob("*.py")
)
SCRIPT = "<script>alert(1)</script>"


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_nothing_that_runs_what_it_reads(path):
    for name, keywords in calls(path):
        if name in ("np.load", "numpy.load"):
            assert keywords.get("allow_pickle") == "False", f"{path}: {name}"
        if name == "torch.load":
            assert keywords.get("weights_only") == "True", f"{path}: {name}"
        assert name not in ("eval", "exec", "os.system", "yaml.load", "marshal.loads"), path
        assert keywords.get("shell") != "True", path
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if names == ["pickle"] and not isinstance(node, ast.Import):  # an exception is harmless
            names = [] if [a.name for a in node.names] == ["UnpicklingError"] else names
        assert not {"pickle", "shelve", "joblib", "dill", "cloudpickle"} & set(names), path


@pytest.mark.parametrize("kind", ["timm:mobilenetv1_100", "torchvision:resnet18"])
@pytest.mark.parametrize("suffix", ["pt", "pth", "bin", "safetensors"])
def test_checkpoints_are_not_unpickled(tmp_path, kind, suffix):
    marker, file = tmp_path / "ran", tmp_path / f"evil.{suffix}"
    torch.save({"state_dict": Bomb(marker)}, file)
    with pytest.raises(ConfigError):
        encoders.get(f"{kind}:{file}")
    file.write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(ConfigError):
        encoders.get(f"{kind}:{file}")
    assert not marker.exists()


def test_own_embeddings_are_not_unpickled(tmp_path):
    marker = tmp_path / "ran"
    np.save(tmp_path / "e.npy", np.array([Bomb(marker)], dtype=object), allow_pickle=True)
    (tmp_path / "e.keys").write_text("a.png\n")
    with pytest.raises((ConfigError, DataError)):
        encoders.get(f"file:{tmp_path / 'e.npy'}")
    assert not marker.exists()


def test_paths_do_not_leave_the_pool(tmp_path):
    write_images(tmp_path / "pool", count=6)
    secret = tmp_path / "secret.png"
    shutil.copy(next((tmp_path / "pool").rglob("*.png")), secret)
    (tmp_path / "pool" / "link.png").symlink_to(secret)
    (tmp_path / "pool" / "around").symlink_to(tmp_path)
    source = Folder(tmp_path / "pool")
    for uri in (
        "../secret.png",
        str(secret),
        "link.png",
        "digit-0/../../secret.png",
        "around/secret.png",
    ):
        with pytest.raises(SourceError, match="leads out"):
            source.read(uri)
    scanned = {image.uri: image for image in source.scan()}
    assert "around/secret.png" not in scanned
    assert isinstance(scanned["link.png"], UnreadableFile)
    assert len(scanned) == 7


def test_pipes_and_devices_are_no_images(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (file,) = Folder(tmp_path).scan()
    assert isinstance(file, UnreadableFile)


def test_a_bomb_is_one_unreadable_file(tmp_path):
    write_images(tmp_path, count=3)
    Image.new("1", (30_000, 30_000)).save(tmp_path / "bomb.png")
    bad = [file for file in Folder(tmp_path).scan() if isinstance(file, UnreadableFile)]
    assert [file.uri for file in bad] == ["bomb.png"]


def test_names_that_are_no_text_are_reported(tmp_path):
    write_images(tmp_path / "pool", count=30)
    image = next((tmp_path / "pool").rglob("*.png"))
    Image.new("L", (8, 8), 9).save(tmp_path / "x.png")
    os.rename(tmp_path / "x.png", os.fsencode(image.parent) + b"/odd-\xff.png")
    project = create(tmp_path / "project", config.check(small_values(tmp_path / "pool"), "test"))
    from loop.steps.scan import scan

    scanned = scan(project)
    assert scanned.images == 30
    assert [reason for _, reason in scanned.unreadable] == ["file name is not UTF-8"]


def test_names_are_text_and_nothing_else(tmp_path):
    """Class and file names with SQL, HTML and paths in them, through a whole project."""
    classes = ["'; DROP TABLE item; --", SCRIPT, "../../outside"]
    write_images(tmp_path / "plain")
    folder = tmp_path / "pool"
    for i, path in enumerate(sorted((tmp_path / "plain").rglob("*.png"))):
        name = f'"><img src=x onerror=alert({i})>; DROP TABLE pick; --%s{{{{7*7}}}}.png'
        (folder / str(i % 3)).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / str(i % 3) / name.replace("/", ""))
    named = {"project": {"name": SCRIPT, "classes": classes}, "pool": {"labelled": False}}
    labeler = {"labeler": {"kind": "csv"}}
    project = create(
        tmp_path / "project", config.check(small_values(folder, **named, **labeler), "test")
    )
    answer_all(project, classes)
    assert rows(project, "SELECT count(*) FROM item") == [(60,)]
    paths = report(project)
    html = paths["html"].read_text()
    assert SCRIPT not in html
    assert "<img src=x" not in html
    assert "{{7*7}}" in html
    assert "<script>alert" not in paths["md"].read_text()
    before = {p for p in tmp_path.rglob("*") if not p.is_relative_to(project.root)}
    export(project, "folders", project.root / "dataset")
    assert {p for p in tmp_path.rglob("*") if not p.is_relative_to(project.root)} == before


@pytest.mark.parametrize("name", ["what?", "a#b", "50%41", "a@b:c"])
def test_the_records_stay_in_a_folder_of_any_name(tmp_path, images, name):
    from loop.steps.backup import backup

    values = small_values(images, project={"database": ""})
    project = create(tmp_path / name, config.check(values, "test"))
    assert (tmp_path / name / "coreloop.db").is_file()
    backup(project, tmp_path / f"{name} again")
    assert (tmp_path / f"{name} again" / "coreloop.db").is_file()
    assert {p.name for p in tmp_path.iterdir()} == {"images", name, f"{name} again"}


def answer_all(project, classes):
    """Fills each sheet by turns until the project is done."""
    import csv

    while run(project).why == "waiting":
        for sheet in project.root.glob("sheets/*.csv"):
            with sheet.open(newline="") as file:
                lines = list(csv.DictReader(file))
            for i, line in enumerate(lines):
                line["label"] = line["label"] or classes[i % 3]
            with sheet.open("w", newline="") as file:
                writer = csv.DictWriter(file, lines[0].keys())
                writer.writeheader()
                writer.writerows(lines)


@pytest.mark.parametrize("token", ["\u201csecret\u201d", "secret word", "secr\udce9t"])
def test_what_no_header_can_carry_is_no_token(tmp_path, monkeypatch, token):
    monkeypatch.setenv(VARIABLE, token)
    with pytest.raises(ConfigError, match=VARIABLE) as caught:
        label_studio_token(tmp_path)
    assert "secr" not in str(caught.value)
    monkeypatch.delenv(VARIABLE)
    (tmp_path / FILE).write_bytes(os.fsencode(token))
    (tmp_path / FILE).chmod(0o600)
    with pytest.raises(ConfigError, match=FILE) as caught:
        label_studio_token(tmp_path)
    assert "secr" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_token_others_can_read_is_refused(tmp_path, monkeypatch, mode):
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / FILE).write_text("secret\n")
    (tmp_path / FILE).chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600") as caught:
        label_studio_token(tmp_path)
    assert "secret" not in str(caught.value)
    (tmp_path / FILE).chmod(0o600)
    assert label_studio_token(tmp_path) == "secret"
