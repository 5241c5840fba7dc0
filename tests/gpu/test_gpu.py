"""make gpu starts: without a card all of it runs in miniature."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT
from tests.gpu import run
from tests.gpu.parts import PARTS


@pytest.mark.slow
@pytest.mark.parametrize("name", PARTS)
def test_each_part_in_miniature(name, tmp_path):
    """With a card as well: the process is told that there is none."""
    environment = {**os.environ, "OUT": str(tmp_path / "out"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu.run", name],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    written = json.loads((tmp_path / "out" / "gpu.json").read_text())
    (result,) = written["parts"]
    assert result["outcome"] == "done"
    assert result["figures"]
    assert all(figure["value"] >= 0 for figure in result["figures"])
    assert "miniature" in written["hardware"]["card"]
    assert written["hardware"]["torch"] in done.stdout
    assert f"tests.gpu.run {name}" in (tmp_path / "out" / "gpu.txt").read_text()


def test_a_part_that_fails_or_hangs_does_not_stop_the_others(monkeypatch, tmp_path, capsys):
    """Processes that leave at once with an error, and one that would run for a minute."""
    began = time.monotonic()
    monkeypatch.setenv("OUT", str(tmp_path))
    monkeypatch.setitem(run.PARTS, "unheard of", (None, 60))
    monkeypatch.setitem(run.PARTS, "zcore", (None, 0.5))
    assert run.main(["unheard of", "zcore", "unheard of"]) == 1
    outcomes = [
        part["outcome"] for part in json.loads((tmp_path / "gpu.json").read_text())["parts"]
    ]
    assert outcomes == ["failed with 1", "stopped after 0.5 s", "failed with 1"]
    assert "KeyError" in capsys.readouterr().out
    assert time.monotonic() - began < 50


def test_all_limits_together_are_under_eight_minutes():
    assert run.TOTAL < 480
