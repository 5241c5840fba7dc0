"""The demo, whole; and interrupted anywhere, with the same picks."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time

import pytest

from loop import config
from loop.steps.init import init
from loop.steps.run import run
from tests.conftest import small_values

DEMO = [sys.executable, "-c", "from loop.cli import main; main()", "demo"]


def picks(root):
    with sqlite3.connect(root / "coreloop.db") as raw:
        return raw.execute(
            "SELECT round.number, arm, rank, item.key FROM pick JOIN round ON round.id = round_id "
            "JOIN item ON item.id = item_id ORDER BY 1, 2, 3"
        ).fetchall()


def annotations(root):
    with sqlite3.connect(root / "coreloop.db") as raw:
        return raw.execute("SELECT external_id, label FROM annotation ORDER BY id").fetchall()


@pytest.mark.timeout(300)
def test_demo_from_the_command_line(tmp_path):
    done = subprocess.run(
        [*DEMO, "d"], cwd=tmp_path, capture_output=True, text=True, timeout=280, check=True
    )
    for words in ("random", "margin", "el2n", "report.html", "next:"):
        assert words in done.stdout
    assert "━" not in done.stderr  # no progress bars when not a terminal
    html = (tmp_path / "d" / "reports" / "report.html").read_text()
    assert html.count("data:image/jpeg;base64") == 140
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "https://" not in html
    again = subprocess.run([*DEMO, "d"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "random" in again.stdout


@pytest.mark.timeout(500)
def test_killed_anywhere_and_resumed(tmp_path, images):
    """Kills the real command 12 times at random moments, then compares with an unbroken run."""
    values = small_values(images)
    whole = init(tmp_path / "whole", config.check(values, "test"))
    run(whole)
    broken = init(tmp_path / "broken", config.check(values, "test"))
    command = [sys.executable, "-c", "from loop.cli import main; main()", "run"]
    chance = random.Random(7)
    for _ in range(12):
        process = subprocess.Popen(
            command, cwd=broken.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(chance.uniform(0.3, 4.0))
        process.kill()
        process.wait()
    run(broken)
    assert picks(broken.root) == picks(whole.root)
    assert annotations(broken.root) == annotations(whole.root)
    with sqlite3.connect(broken.root / "coreloop.db") as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_interrupt_leaves_promptly_and_says_so(project):
    process = subprocess.Popen(
        [sys.executable, "-c", "from loop.cli import main; main()", "run"],
        cwd=project.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    process.stderr.readline()  # the first step has begun
    process.terminate()
    began = time.monotonic()
    _, words = process.communicate(timeout=20)
    assert time.monotonic() - began < 10
    assert process.returncode == 130
    assert "same command continues" in words
