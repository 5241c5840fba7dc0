"""A scan goes on where it was left, and its workers end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from connectors import folder
from db.models import Item
from loop.steps import scan as scan_step
from loop.steps.opened import reading
from loop.steps.scan import scan
from tests.conftest import write_images
from tests.durability.forked import ROOT


def items(project):
    with reading(project) as records, records.read() as session:
        return [(i.row, i.uri, i.key) for i in session.query(Item).order_by(Item.row)]


def test_a_scan_goes_on_behind_the_last_chunk(project, monkeypatch):
    monkeypatch.setattr(scan_step, "CHUNK", 10)
    looked = []
    check = folder.check_image

    def watched(data):
        looked.append(1)
        if len(looked) == 37:
            raise KeyboardInterrupt
        return check(data)

    monkeypatch.setattr(folder, "check_image", watched)
    with pytest.raises(KeyboardInterrupt):
        scan(project, workers=0)
    found = scan(project, workers=0)
    assert len(looked) == 37 + 60 - 30
    assert (found.images, found.added) == (60, 30)
    assert [row for row, _, _ in items(project)] == list(range(60))
    assert [uri for _, uri, _ in items(project)] == sorted(uri for _, uri, _ in items(project))
    assert scan(project).added == 0
    assert len(looked) == 67  # known files are not opened again


def test_new_images_are_added_behind_the_others(project, images):
    scan(project)
    before = items(project)
    write_images(images, count=75)
    assert scan(project).added == 15
    assert items(project)[:60] == before


def test_workers_end_with_a_killed_scan(project, images):
    write_images(images, count=160)
    code = (
        "import connectors.folder as f; f.ALONE = 0; f.CHUNK = 1\n"
        "import sys; sys.argv = ['coreloop', 'scan', '--workers', '2']\n"
        "import loop.steps.scan as s; s.CHUNK = 5\n"
        "from loop.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=project.root, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not items(project) and process.poll() is None:
        time.sleep(0.02)
    assert process.poll() is None, "the scan was over before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    ended = time.monotonic()
    with pytest.raises(ProcessLookupError):
        while time.monotonic() - ended < 60:
            os.killpg(process.pid, 0)
            time.sleep(0.05)
    assert scan(project).images == 160
