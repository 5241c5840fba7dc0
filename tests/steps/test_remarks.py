"""Nothing is left out in silence: every file of a folder is in the numbers of init, scan, status
and doctor; folders that are laid out as train, val and test are read so."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from connectors import heif
from connectors.walk import HIDDEN, SYSTEM
from loop.cli import cli
from loop.project import find
from loop.project.class_folders import UnclearClasses
from loop.project.problem import problem
from loop.steps.doctor import doctor
from loop.steps.embed import embed
from loop.steps.init import init
from loop.steps.run import run
from loop.steps.status import status


def picture(path, seed, level=128):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(level, 30, (16, 16, 3)).clip(0, 255)
    Image.fromarray(noise.astype(np.uint8)).save(path)


def coreloop(*args):
    return CliRunner().invoke(cli, [str(each) for each in args])


@pytest.fixture
def messy(tmp_path, monkeypatch):
    """40 images in two classes, six of them copies, and 73 files of other kinds."""
    monkeypatch.setattr(heif, "can_be_read", lambda: False)
    pool = tmp_path / "pool"
    for i in range(34):
        picture(pool / ("cat" if i % 2 else "dog") / f"{i}.png", i)
    for i in range(1, 12, 2):
        shutil.copy(pool / "cat" / f"{i}.png", pool / "dog" / f"copy{i}.png")
    for i in range(30):
        (pool / f"IMG_{i:04d}.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes([i]))
    for i in range(20):
        picture(pool / "cat" / "@eaDir" / f"{i}.jpg" / "SYNOPHOTO_THUMB_M.jpg", 100 + i)
    for i in range(10):
        picture(pool / "#recycle" / "bird" / f"{i}.png", 200 + i)
    for i in range(13):
        (pool / f".hidden{i}.png").touch()
    (pool / "cat" / "broken.png").write_bytes(b"no image")
    return pool


def test_every_file_is_accounted_for(messy, tmp_path):
    project, scanned = init(
        tmp_path / "p",
        messy,
        project={"classes": ["cat", "dog"]},
        pool={"labelled": True},
        labeler={"kind": "oracle"},
        measure={"images": 20},
    )
    everything = sum(len(files) for _, _, files in os.walk(messy))
    taken = scanned.images + scanned.duplicates + len(scanned.unreadable)
    assert (scanned.images, scanned.duplicates, len(scanned.unreadable)) == (34, 6, 1)
    assert taken + sum(each.count for each in scanned.passed_over) == everything
    counts = {each.suffix or each.reason: each.count for each in scanned.passed_over}
    assert counts == {".heic": 30, SYSTEM: 30, HIDDEN: 13}
    assert len(scanned.two_labels) == 6
    assert ("cat/1.png", "cat", "dog/copy1.png", "dog") in scanned.two_labels
    assert status(project).passed_over == scanned.passed_over
    said = next(each for each in doctor(project.root) if each.name == "images")
    assert said.ok
    assert "73 other files are passed over (30 .heic, 30 thumbnails" in said.detail


def test_commands_name_them(messy, tmp_path):
    made = coreloop("init", tmp_path / "p", "--images", messy, "--labelled", "--labeler", "oracle")
    assert made.exit_code == 0, made.output
    lines = made.output.splitlines()
    assert "6 further copies of images that are there already" in lines
    assert "1 file cannot be used:" in lines
    assert "73 other files are passed over:" in lines
    assert "6 images in two classes, byte for byte:" in lines
    reason = "  30 .heic: pip install 'coreloop[heic]' reads these, e.g. IMG_0000.HEIC"
    assert reason in lines
    assert max(len(line) for line in lines if not line.startswith("next:")) <= 80
    scanned = coreloop("scan", "-p", tmp_path / "p")
    assert "73 other files are passed over:" in scanned.output
    told = json.loads(coreloop("status", "-p", tmp_path / "p", "--json").stdout)
    assert sum(each["count"] for each in told["passed_over"]) == 73
    (messy / "IMG_0000.HEIC").unlink()
    told = json.loads(coreloop("scan", "-p", tmp_path / "p", "--json").stdout)
    assert sum(each["count"] for each in told["passed_over"]) == 72


def test_thumbnails_make_no_classes(messy, tmp_path):
    picture(messy / "bird" / "@eaDir" / "1.jpg", 300)
    (messy / "notes").mkdir()
    (messy / "notes" / "read me.txt").touch()
    project, _ = init(tmp_path / "p", messy, measure={"images": 20})
    assert project.config.project.classes == ["cat", "dog"]


def laid_out(folder):
    seed = 0
    for split, count in (("train", 24), ("val", 8), ("test", 8)):
        for kind, level in (("healthy", 60), ("leaf rust", 190)):
            for i in range(count):
                seed += 1
                picture(folder / split / kind / f"{i:03d}.png", seed, level)
    return folder


def test_train_val_and_test_are_no_classes(tmp_path):
    project, scanned = init(tmp_path / "p", laid_out(tmp_path / "set"))
    assert project.config.project.classes == ["healthy", "leaf rust"]
    assert project.config.pool.splits
    assert (scanned.images, scanned.test) == (80, 16)
    with find(project.root) as again:
        embed(again)
        with again.records.read() as session:
            asked = problem(session, again)
    assert len(asked.rows) == 64
    assert np.bincount(asked.task.test_labels).tolist() == [8, 8]


def test_a_rehearsal_on_such_a_folder(tmp_path):
    project, _ = init(
        tmp_path / "p",
        laid_out(tmp_path / "set"),
        pool={"labelled": True},
        labeler={"kind": "oracle"},
        selection={"budgets": [6]},
        compare={"baselines": ["random"]},
    )
    assert run(project).why == "done"
    assert status(project).measured.accuracy > 0.9


def test_one_folder_beside_them_makes_it_no_such_layout(tmp_path):
    pool = laid_out(tmp_path / "set")
    picture(pool / "other" / "1.png", 900)
    with pytest.raises(UnclearClasses, match="looks like a part of a set"):
        init(tmp_path / "p", pool)
    names = ["other", "test", "train", "val"]
    project, _ = init(tmp_path / "p", pool, project={"classes": names})
    assert not project.config.pool.splits
