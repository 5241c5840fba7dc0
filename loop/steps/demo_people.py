"""Simulated people for the demo with a real server: they know the folder names, and err."""

from __future__ import annotations

from collections.abc import Callable

from connectors.oracle import Oracle
from db import queries
from loop.demo.server import Server, annotate
from loop.project import Project
from loop.project.labeler import connect_labeler

ERROR_RATE = 0.03


def answer_open_tasks(
    project: Project, server: Server, on_progress: Callable[[int, int], None]
) -> int:
    """Answers every open task in the server; returns how many."""
    with project.records.read() as session:
        pool = queries.the_pool(session)
        known = queries.known_labels(session, pool.id)
        people = connect_labeler(session, project)
    oracle = Oracle(
        project.root,
        known,
        project.config.project.classes,
        error_rate=ERROR_RATE,
        seed=project.config.project.seed,
    )
    answers = {
        key: (note.label or "", note.seconds or 1.0)
        for key in known
        for note in (oracle.answer(key),)
    }
    number = people.project.id  # type: ignore[attr-defined]
    return annotate(server, number, answers, on_progress=on_progress)
