"""What a bad day does to a project: a full or read-only disk, a clock that goes back, a truncated
array, two commands at once, signals."""

from __future__ import annotations

import datetime as time_library
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from db import models
from loop import config
from loop.project import create, delivery, find
from loop.project.damage import verify
from loop.steps.doctor import doctor
from loop.steps.run import run
from loop.steps.scan import scan
from tests import postgresql
from tests.conftest import rows, small_values
from tests.durability.forked import ROOT

MAIN = [sys.executable, "-c", "from loop.cli import main; main()"]
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def coreloop(*args, cwd, **env):
    return subprocess.run(
        [*MAIN, *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={**ENV, **env},
    )


def picks(project):
    return rows(
        project,
        "SELECT number, arm, rank, key FROM pick JOIN round ON round.id = round_id "
        "JOIN item ON item.id = item_id ORDER BY 1, 2, 3",
    )


def content(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.endswith(("-shm", "-wal", ".lock"))
    }


@pytest.fixture
def disk(small_disk):
    """A small disk for a project with its records."""
    if postgresql.server is not None:
        pytest.skip("the records are not on this disk")
    return small_disk


@pytest.mark.parametrize("left", [4_000, 150_000])
def test_full_disk(disk, images, left):
    project = create(disk / "project", config.check(small_values(images), "test"))
    scan(project)
    free = shutil.disk_usage(disk).free
    (disk / "ballast").write_bytes(b"x" * max(0, free - left))
    full = coreloop("run", cwd=project.root)
    assert full.returncode == 4, full.stderr
    assert "Free some space" in full.stderr
    (disk / "ballast").unlink()
    assert verify(project) == ([], [])
    assert run(project).why == "done"
    assert not list(project.arrays.glob("draft-*"))


@pytest.mark.parametrize("command", ["run", "scan", "status"])
def test_read_only_folder(disk, images, command):
    project = create(disk / "project", config.check(small_values(images), "test"))
    with project:
        scan(project)
    before = content(project.root)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    ended = coreloop(command, cwd=project.root)
    assert ended.returncode == (0 if command == "status" else 4)
    assert "Traceback" not in ended.stderr
    assert command == "status" or "permissions" in ended.stderr
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    assert content(project.root) == before


def test_a_clock_that_goes_back(tmp_path, images, monkeypatch):
    """Every moment that is recorded lies a day before the last: order never depends on it."""
    whole = create(tmp_path / "whole", config.check(small_values(images), "test"))
    monkeypatch.setattr(delivery, "BATCH", 2)
    run(whole)
    present = [time_library.datetime.now(time_library.UTC)]

    class Backwards(time_library.datetime):
        @classmethod
        def now(cls, tz=None):
            present[0] -= time_library.timedelta(days=1)
            return present[0]

    monkeypatch.setattr(models, "datetime", Backwards)
    back = create(tmp_path / "back", config.check(small_values(images), "test"))
    assert run(back).why == "done"
    assert picks(back) == picks(whole)
    asked = [
        [json.loads(line)["key"] for line in (root / "oracle.jsonl").read_text().splitlines()]
        for root in (whole.root, back.root)
    ]
    assert asked[0] == asked[1]


@pytest.mark.parametrize("keep", [0, 300])
def test_truncated_newest_array(project, keep):
    """What a power cut does where the disk lied about what it had written."""
    run(project)
    newest = max(project.arrays.glob("*.npy"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:keep])
    looked = coreloop("doctor", "--deep", cwd=project.root)
    assert looked.returncode == 3
    assert "damaged" in looked.stdout
    assert all(check.ok for check in doctor(project.root, mend=True))
    assert run(find(project.root), budget=2).why == "done"


@pytest.mark.slow
def test_two_commands_at_once(tmp_path, images):
    """One works, the other waits for it or leaves with code 5; the picks are those of one."""
    values = small_values(images)
    alone = create(tmp_path / "alone", config.check(values, "test"))
    run(alone)
    both = create(tmp_path / "both", config.check(small_values(images), "test"))
    env = {**ENV, "CORELOOP_LOCK_SECONDS": "0.1"}
    pair = [
        subprocess.Popen(
            [*MAIN, "run"],
            cwd=both.root,
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    ends = [(process.communicate(timeout=120), process.returncode) for process in pair]
    for (_, words), code in ends:
        assert code in (0, 5), words
        assert code == 0 or "nothing was changed" in words
    assert coreloop("run", cwd=both.root).returncode == 0
    assert picks(both) == picks(alone)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_followed_promptly(project, number):
    process = subprocess.Popen(
        [*MAIN, "run"],
        cwd=project.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**ENV, "PYTHONUNBUFFERED": "1"},
        # a test run in the background of a shell is deaf to Ctrl-C, and would hand that down
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    process.stderr.readline()  # the first step has begun
    process.send_signal(number)
    began = time.monotonic()
    _, words = process.communicate(timeout=20)
    assert time.monotonic() - began < 10
    assert process.returncode == 130
    assert "same command continues" in words
    assert run(find(project.root)).why == "done"
