"""A project whose test images are picked, behind a proxy, and what people answered: for tests of
whole commands against the real server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

from connectors.label_studio import LabelStudio
from connectors.label_studio.answers import ListedTask
from connectors.label_studio.tasks import list_tasks
from db import queries
from db.answers import current_answers
from loop.demo.server import annotate
from loop.project import Project
from loop.project.labeler import connect_labeler
from loop.steps.pull import pull
from loop.steps.status import status

PICKS = 5
DYING = """
import os, signal, sys
from contextlib import contextmanager
from db.state import Records
write, when, left = Records.write, sys.argv[1], int(sys.argv[2])

@contextmanager
def dying(self, *names):
    global left
    left -= 1
    with write(self, *names) as session:
        yield session
        if left == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

Records.write = dying
sys.argv = ["coreloop", *sys.argv[3:]]
from loop.cli import main
main()
"""


def tasks_of(labeler: LabelStudio) -> list[ListedTask]:
    """The tasks that the server has."""
    return list(list_tasks(labeler.client, labeler.project.id))


class World:
    """One project whose five test images are picked, behind a proxy, and what people answered."""

    def __init__(self, project: Project, server, proxy, monkeypatch) -> None:
        self.project, self.server, self.proxy = project, server, proxy
        self.monkeypatch = monkeypatch
        self.given: dict[str, str] = {}

    def direct(self) -> LabelStudio:
        """A labeler that goes around the proxy."""
        self.monkeypatch.setenv("LABEL_STUDIO_URL", self.server.url)
        with self.project.records.read() as session:
            direct = connect_labeler(session, self.project)
        self.monkeypatch.setenv("LABEL_STUDIO_URL", self.proxy.url)
        return direct

    @property
    def picks(self) -> list[str]:
        with self.project.records.read() as session:
            return [p.key for p in queries.picks(session, 1, 0)]

    def tasks(self) -> dict[str, int]:
        return {
            task.data["coreloop_key"]: task.id
            for task in tasks_of(self.direct())
            if "coreloop_key" in task.data
        }

    def answer(self, keys: list[str], label: str = "digit-1") -> None:
        annotate(self.server, self.direct().project.id, dict.fromkeys(keys, (label, 2.0)))
        self.given |= dict.fromkeys(keys, label)

    def write(self, method: str, path: str, body=None, **params):
        direct = self.direct()
        return direct.client.write(
            method, path.format(project=direct.project.id), body, params=params
        )

    def command(self, *words: str, code: tuple[str, ...] = ()) -> subprocess.Popen:
        """The command line in a process of its own."""
        program = ["-c", DYING, *code] if code else ["-c", "from loop.cli import main; main()"]
        return subprocess.Popen(
            [sys.executable, *program, *words, "-p", str(self.project.root)],
            env={**os.environ, "LABEL_STUDIO_URL": self.proxy.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def says(self) -> str:
        shown = status(self.project)
        return "\n".join([*shown.troubles, *shown.events])


def settled(world) -> None:
    """People finish what is open; then everything is there exactly once."""
    world.proxy.times = 0
    tasks = [task.data.get("coreloop_key") for task in tasks_of(world.direct())]
    counts = Counter(key for key in tasks if key)
    assert set(counts) == set(world.picks), "an image is missing, or one too many"
    assert set(counts.values()) == {1}, "an image is there twice"
    done = pull(world.project)
    world.answer([key for key in world.picks if key not in world.given], "digit-2")
    done = pull(world.project)
    assert (done.complete, done.answered) == (True, PICKS)
    with world.project.records.read() as session:
        answers = current_answers(session, 1)
    assert {a.key: a.label for a in answers} == world.given
    assert len(answers) == PICKS
    assert status(world.project).rounds[0].state == "labeled"
    assert [t for t in status(world.project).troubles if t.startswith("batch")] == []
