"""The examples run as they stand, on fewer images; the README of each names what it prints."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

import pytest

from tests.conftest import write_images

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def story(tmp_path, on_path):
    """Runs an example's run.sh in an empty folder beside 80 digits of three classes."""
    write_images(tmp_path / "images", count=80)

    def run(name: str, *args: str, **settings: str) -> str:
        done = subprocess.run(
            ["bash", str(EXAMPLES / name / "run.sh"), str(tmp_path / "images"), *args],
            cwd=tmp_path,
            env={**on_path, **settings},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.slow
def test_choosing_a_method(story):
    printed = story(
        "choosing_a_method",
        METHODS="random,kmeans",
        PER_CLASS="1,2,4,8",
        SEEDS="2",
        ENCODER="pixels:8",
    )
    assert "method \\ labels" in printed
    assert "labels to the target, in simulation:" in printed


@pytest.mark.slow
def test_planning_a_budget(story):
    printed = story("planning_a_budget", BUDGETS="4,4", TEST="12", TARGET="0.99")
    assert "this project, 2 rounds" in printed
    assert "target 99.0 %" in printed
    assert "the budget buys" in printed
    assert "the next 60 labels" in printed  # all that is left


@pytest.mark.slow
def test_several_annotators(story, tmp_path):
    printed = story("several_annotators", BUDGETS="9", TEST="12")
    for name in ("alice", "bob", "carol"):
        assert name in printed
    assert "Krippendorff's alpha" in printed
    with (tmp_path / "shared" / "votes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 + 9
    assert all(row["alice"] and row["bob"] and row["carol"] for row in rows)


@pytest.mark.slow
def test_measuring_by_repetition(tmp_path, on_path):
    """Two repetitions of the evidence behind docs/measuring.md; a third goes on from them."""
    write_images(tmp_path / "images", count=150)
    simulated = [
        "-c",
        "from loop.cli import main; main()",
        "simulate",
        "images",
        "--methods",
        "random",
        "--budgets",
        "4",
    ]
    script = [str(EXAMPLES / "measuring" / "run.py"), "coreloop-simulate-images"]
    for command in (
        [*simulated, "--seeds", "1", "--jobs", "1", "--encoder", "pixels:8"],
        [*script, "--cells", "20+10", "--repetitions", "2"],
        [*script, "--cells", "20+10", "--repetitions", "3"],
    ):
        done = subprocess.run(
            [on_path["PYTHON"], *command], cwd=tmp_path, env=on_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert len((tmp_path / "cells.jsonl").read_text().splitlines()) == 3 * 2
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[:4] for line in lines[1:]] == [
        ["| auto", "20 + 10", "images", "3"],
        ["| linear", "20 + 10", "images", "3"],
    ]
    assert all(len(line.split(" | ")) == 14 for line in lines)


@pytest.mark.slow
def test_finishing_by_repetition(tmp_path, on_path):
    """Two repetitions of the evidence behind docs/finishing.md; a third goes on from them."""
    write_images(tmp_path / "images", count=260)
    simulated = ["-c", "from loop.cli import main; main()", "simulate", "images"]
    simulated += ["--methods", "random", "--budgets", "4", "--seeds", "1", "--jobs", "1"]
    script = [str(EXAMPLES / "finishing" / "run.py"), "coreloop-simulate-images", "--learned", "30"]
    for command in (
        [*simulated, "--encoder", "pixels:8"],
        [*script, "--repetitions", "2", "--compared", "2"],
        [*script, "--repetitions", "3", "--compared", "2"],
    ):
        done = subprocess.run(
            [on_path["PYTHON"], *command], cwd=tmp_path, env=on_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert len((tmp_path / "finishes.jsonl").read_text().splitlines()) == 3
    rows = [
        line
        for line in done.stdout.splitlines()
        if line.startswith("| linear | images | 30 random |")
    ]
    assert len(rows) == 3 * 4 + 2  # tables and goals
    assert all(" nan" not in row for row in rows)
