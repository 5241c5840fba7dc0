"""The command line killed with SIGKILL at every named point of its writes and at random moments,
over a project of three rounds that is then finished. Each time it is started again; in the end the
project must be what uninterrupted commands make of the same seed.

    make soak        250 kills; CORELOOP_KILLS sets how many at least
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from db import arrays, faults, state
from loop import config
from loop.project import Project, create
from loop.project.damage import verify
from loop.steps.autolabel import Goal, autolabel
from loop.steps.run import run
from tests.conftest import rows, small_values, write_images
from tests.durability.forked import ROOT, Forked

KILLS = int(os.environ.get("CORELOOP_KILLS", "0"))
AT_RANDOM = 4
"""Kills at random moments, at least."""
COLD = 20
"""Every so many kills the command is a new interpreter instead of a fork."""
FURTHER = 12
"""A command is killed at one of the next so many points that it reaches."""
SETTLED = ["before-push-settle", "after-push-settle"]
"""Points that only a run reaches whose push before was killed."""


def new_project(folder: Path, images: Path) -> Project:
    values = small_values(
        images, selection={"budgets": [6, 6, 6], "control": 0.2}, compare={"seeds": 1}
    )
    return create(folder, config.check(values, "test"))


def next_command(project: Project) -> list[str]:
    """What a person types next: ``run``, once the rounds are over ``autolabel``, and ``run`` again;
    nothing when the promise is kept and its last round is over."""
    if not (project.root / "coreloop.db").exists() or not rows(project, "SELECT id FROM pool"):
        return ["run"]
    rounds = rows(project, "SELECT number, state FROM round ORDER BY number")
    if not rounds or rounds[-1] != (len(rounds) - 1, "compared") or len(rounds) < 4:
        return ["run"]
    if not rows(project, "SELECT id FROM promise"):
        return ["autolabel", "--max-error", "0.08", "--labels", "30", "--yes"]
    reported = project.reports / "report.json"
    if len(json.loads(reported.read_text())["rounds"]) < len(rounds) - 1:
        return ["run"]
    return []


def facts(project: Project) -> dict[str, list[tuple]]:
    """What must not depend on how often the commands were killed."""
    return {
        "items": rows(project, 'SELECT "row", key, uri, split, known_label FROM item ORDER BY 1'),
        "rounds": rows(
            project,
            "SELECT number, state, seed, budget, config, explanation FROM round ORDER BY number",
        ),
        "picks": rows(
            project,
            "SELECT number, arm, rank, score, key FROM pick JOIN round "
            "ON round.id = round_id JOIN item ON item.id = item_id "
            "ORDER BY number, arm, rank",
        ),
        "sent": rows(
            project,
            "SELECT number, key, remote_id, batch.state FROM sent JOIN batch "
            "ON uuid = batch_uuid JOIN round ON round.id = batch.round_id "
            "JOIN pick ON pick.id = pick_id JOIN item ON item.id = item_id "
            "ORDER BY number, key",
        ),
        "annotations": rows(
            project,
            "SELECT connector, external_id, version, annotator, label, "
            "seconds, deleted, key FROM annotation "
            "JOIN item ON item.id = item_id ORDER BY external_id",
        ),
        "runs": rows(
            project,
            "SELECT number, arm, method, run.seed, labels, rows_digest, "
            "metrics ->> 'accuracy' FROM run JOIN round "
            "ON round.id = round_id ORDER BY 1, 2, 3, 4, 5",
        ),
        "cells": rows(
            project,
            "SELECT method, schedule, budget, seed, outcome FROM cell ORDER BY 1, 2, 3, 4",
        ),
        "comparisons": rows(
            project,
            "SELECT number, methods, budgets, seeds FROM comparison JOIN round "
            "ON round.id = round_id ORDER BY 1",
        ),
        "promises": rows(project, "SELECT look, max_error, model, images, outcome FROM promise"),
        "arrays": rows(project, 'SELECT kind, name, "of", digest FROM "array" ORDER BY 1, 2, 3'),
    }


def check_whole(project: Project) -> None:
    """No orphan, no torn file, a sound database, every task and answer once."""
    assert verify(project) == ([], [])  # PRAGMA integrity_check and foreign_key_check among it
    recorded = {digest for (digest,) in rows(project, 'SELECT digest FROM "array"')}
    files = sorted(project.arrays.rglob("*.*"))
    assert {path.stem for path in files} == recorded
    assert all(arrays.file_digest(path) == path.stem for path in files)
    config.load(project.root / "coreloop.toml")
    report = json.loads((project.reports / "report.json").read_text())
    rounds = rows(project, "SELECT budget FROM round WHERE number > 0")
    assert len(report["rounds"]) == len(rounds) == 5
    assert sorted(path.suffix for path in project.reports.iterdir()) == [".html", ".json", ".md"]
    lines = (project.root / "oracle.jsonl").read_text().splitlines()
    keys = [json.loads(line)["key"] for line in lines]
    assert len(set(keys)) == len(keys) == 12 + sum(budget for (budget,) in rounds)
    answered = Counter(key for *_, key in facts(project)["annotations"])
    assert answered == Counter(keys)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder, 90)
    return folder


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, images):
    """(facts of the uninterrupted run, the points it reached in order)"""
    points: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for module in (state, arrays, sys.modules["loop.steps.embed"]):
            patch.setattr(module, "reached", points.append)
        project = new_project(tmp_path_factory.mktemp("whole") / "project", images)
        run(project)
        autolabel(project, Goal(0.08), 30)
        run(project)
    check_whole(project)
    points = list(dict.fromkeys(points))
    confirmed = points.index("before-push-confirmed") + 1
    return facts(project), points[:confirmed] + SETTLED + points[confirmed:]


@dataclass
class Soak:
    """Kills commands until enough have died, over as many projects as that takes."""

    folder: Path
    images: Path
    expected: dict[str, list[tuple]]
    forked: Forked
    rng: random.Random = field(default_factory=lambda: random.Random(11))
    killed: Counter[str] = field(default_factory=Counter)
    projects: int = 0
    cuts: int = 0
    project: Project | None = None
    whole_seconds: float = 6.0

    def attempt(self, point: str) -> bool:
        """Starts the command, killed at a point or (empty) at some moment; True if it died."""
        if self.project is None:
            self.project = new_project(self.folder / f"{self.projects}", self.images)
            self.projects += 1
        env = {faults.VARIABLE: point} if point else {}
        began = time.monotonic()
        while command := next_command(self.project):
            after = None if point else self.rng.uniform(0, self.whole_seconds / 4)
            cold = self.killed.total() % COLD == COLD - 1
            code = (self._cold if cold else self._warm)(command, env, after)
            assert code in (0, -signal.SIGKILL), (
                f"left with {code} at {point or after}: {self._said().read_text()[-2000:]}"
            )
            if code:
                break
        else:
            if self.killed.total() == 0:
                self.whole_seconds = time.monotonic() - began
            self.finish()
            return False
        self.killed[point.partition(":")[0] or "at random"] += 1
        self._cut_push()
        return True

    def _said(self) -> Path:
        """What the newest command wrote."""
        assert self.project is not None
        return Path(f"{self.project.root}.log")

    def finish(self) -> None:
        """The project has come to its end: it must be as if nothing had happened."""
        assert self.project is not None
        after = facts(self.project)
        for name, lines in self.expected.items():
            assert after[name] == lines, name
        check_whole(self.project)
        self.project = None

    def _warm(self, command: list[str], env: dict[str, str], after: float | None) -> int:
        assert self.project is not None
        number = self.forked.start(command, self.project.root, env)
        if after is not None:
            time.sleep(after)
            os.kill(number, signal.SIGKILL)  # not waited for yet, so the number is still its own
        return self.forked.wait()

    def _cold(self, command: list[str], env: dict[str, str], after: float | None) -> int:
        assert self.project is not None
        with self._said().open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", "from loop.cli import main; main()", *command],
                cwd=self.project.root,
                stdout=output,
                stderr=output,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **env},
            )
        if after is not None:
            time.sleep(2 * after)
            process.kill()
        return process.wait(timeout=600)

    def _cut_push(self) -> None:
        """The labeler's own fault: of a push whose answer never came it may have kept a part."""
        assert self.project is not None
        sent = rows(self.project, "SELECT uuid FROM batch WHERE state = 'SENT'")
        file = self.project.root / "oracle.jsonl"
        if not sent or not file.exists():
            return
        data = file.read_bytes()
        start = data.find(sent[0][0].encode())
        if start >= 0:
            start = data.rfind(b"\n", 0, start) + 1
            file.write_bytes(data[: self.rng.randint(start, len(data))])
            self.cuts += 1


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_killed_at_every_point_and_at_random(tmp_path, images, unbroken, record_property):
    expected, points = unbroken
    began = time.monotonic()
    with Forked() as forked:
        soak = Soak(tmp_path, images, expected, forked)
        soak.attempt("never")  # a forked run that nobody kills, also to know how long it takes
        # in the order in which a run reaches them: all die within one project
        for point in points:
            assert soak.attempt(point), f"{point} was not reached"
        while soak.killed.total() < KILLS or soak.killed["at random"] < AT_RANDOM:
            further = f"any:{soak.rng.randint(1, FURTHER)}"
            soak.attempt(soak.rng.choice([further, ""]))
        while soak.project is not None:
            soak.attempt("never")
    assert set(points) <= set(soak.killed)
    record_property(
        "measured",
        f"{soak.killed.total()} kills ({soak.killed['at random']} at random, the others at a "
        f"point, each of {len(points)} at least once) and {soak.cuts} pushes cut short over "
        f"{soak.projects} projects in {time.monotonic() - began:.0f} s",
    )
