"""``coreloop run`` killed with SIGKILL between its writes and in the middle of its requests to a
real Label Studio server, over projects of a test round and two more. In the end each project must
be what an uninterrupted one makes of the same seed, with each task and each answer once.

    make soak        250 kills; CORELOOP_SERVER_KILLS sets how many at least
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from connectors.label_studio import LabelStudio
from db import faults
from loop import config
from loop.demo.server import Server, annotate
from loop.project import Project, create
from loop.project.damage import verify
from loop.project.labeler import connect_labeler
from tests.conftest import rows, small_values, write_images
from tests.durability.forked import Forked
from tests.label_studio.world import tasks_of

KILLS = int(os.environ.get("CORELOOP_SERVER_KILLS", "10"))
FURTHER = 20
"""A command is killed at one of the next so many points that it reaches, or at some moment."""
PATCHES = {"connectors.label_studio.labeler.LAG": 3.0, "connectors.label_studio.client.PAUSE": 0.05}
PICKS = 12 + 4 + 4


def facts(project: Project) -> dict[str, list[tuple]]:
    """What must depend neither on kills nor on the server's numbers."""
    joins = "JOIN round ON round.id = round_id JOIN item ON item.id = item_id"
    return {
        "items": rows(project, 'SELECT "row", key, uri, split, known_label FROM item ORDER BY 1'),
        "picks": rows(
            project,
            f"SELECT number, arm, rank, score, key, state FROM pick {joins} ORDER BY 1, 2, 3",
        ),
        "answers": rows(
            project,
            "SELECT key, annotator, label, seconds, deleted FROM annotation "
            "JOIN item ON item.id = item_id ORDER BY key, annotation.id",
        ),
        "figures": rows(
            project,
            "SELECT number, arm, method, run.seed, labels, rows_digest, metrics ->> 'accuracy' "
            "FROM run JOIN round ON round.id = round_id ORDER BY 1, 2, 3, 4",
        ),
        "arrays": rows(project, 'SELECT kind, name, "of", digest FROM "array" ORDER BY 1, 2, 3'),
    }


@dataclass
class Soak:
    """Kills commands until enough have died, over as many projects as that takes.

    Attributes:
        expected: facts of a project that nobody kills; the first one.
        killed: how many died at a point, and how many at random.
        seconds: how long the longest command took.
    """

    folder: Path
    images: Path
    server: Server
    forked: Forked
    expected: dict[str, list[tuple]] | None = None
    rng: random.Random = field(default_factory=lambda: random.Random(17))
    killed: Counter[str] = field(default_factory=Counter)
    projects: int = 0
    seconds: float = 0.0

    def whole(self, *, kill: bool) -> None:
        """A new project, brought to its end."""
        root = self.folder / f"{self.projects}"
        values = small_values(
            self.images,
            selection={"budgets": [4, 4]},
            labeler={"kind": "label-studio", "error_rate": 0.0},
            compare={"baselines": ["random"], "seeds": 1},
        )
        self.projects += 1
        with create(root, config.check(values, "test")) as project:
            while not self.ended(root, kill=kill and self.killed.total() < KILLS):
                self.answer(project)
            self.check(project)
        print(f"{self.killed.total()} kills, {self.projects} projects are whole", flush=True)

    def ended(self, root: Path, *, kill: bool) -> bool:
        """One command, killed or not; True if all is done."""
        at_random = self.rng.random() < 0.5
        env = {"LABEL_STUDIO_URL": self.server.url, "LABEL_STUDIO_API_KEY": self.server.token}
        if kill and not at_random:
            env[faults.VARIABLE] = f"any:{self.rng.randint(1, FURTHER)}"
        began = time.monotonic()
        process = self.forked.start(["run"], root, env, PATCHES)
        if kill and at_random:
            time.sleep(self.rng.uniform(0, self.seconds))
            os.kill(process, signal.SIGKILL)  # not waited for yet, so the number is still its own
        code = self.forked.wait()
        output = Path(f"{root}.log").read_text(errors="replace")
        assert code in (0, -signal.SIGKILL), output
        assert "Traceback" not in output, output
        if not kill:
            self.seconds = max(self.seconds, time.monotonic() - began)
        if code:
            self.killed["at random" if at_random else "at a point"] += 1
        return code == 0 and "done" in output

    def answer(self, project: Project) -> None:
        """People answer what is open, each with the class that the image's folder names."""
        known = rows(project, "SELECT key, known_label FROM item")
        if rows(project, "SELECT 1 FROM batch WHERE state = 'CONFIRMED'"):
            answers = {key: (label, 2.0) for key, label in known}
            annotate(self.server, self.labeler(project).project.id, answers)

    def labeler(self, project: Project) -> LabelStudio:
        with project.records.read() as session:
            return connect_labeler(session, project)

    def check(self, project: Project) -> None:
        """As if nothing had happened, and on the server each task and answer once."""
        assert verify(project) == ([], [])
        present = facts(project)
        self.expected = self.expected or present
        assert present == self.expected
        labeler = self.labeler(project)
        tasks = tasks_of(labeler)
        keys = Counter(task.data["coreloop_key"] for task in tasks)
        assert keys == Counter(key for *_, key, _ in present["picks"])
        assert len(tasks) == len(present["answers"]) == PICKS
        assert all(task.total_annotations == 1 for task in tasks)
        assert labeler.project.projects == [labeler.project.id]


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_killed_before_a_real_server(tmp_path, server, monkeypatch, record_property):
    monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", server.token)
    write_images(tmp_path / "images")
    began = time.monotonic()
    with Forked() as forked:
        soak = Soak(tmp_path, tmp_path / "images", server, forked)
        soak.whole(kill=False)
        while soak.killed.total() < KILLS:
            soak.whole(kill=True)
    counts = ", ".join(f"{count} {where}" for where, count in sorted(soak.killed.items()))
    record_property(
        "measured",
        f"{soak.killed.total()} kills ({counts}) over {soak.projects} projects on a real server "
        f"in {time.monotonic() - began:.0f} s",
    )
