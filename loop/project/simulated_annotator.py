"""The simulated annotator of the demo: knows the images' folders, and errs now and then."""

from __future__ import annotations

from collections.abc import Callable

from connectors.label_studio import LabelStudio
from connectors.oracle import Oracle
from db import queries
from loop.demo.server import Server, annotate
from loop.project.labeler import connect_labeler
from loop.project.project import Project

ERROR_RATE = 0.03


def answer_open_tasks(
    project: Project,
    server: Server,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Answers every open task of the project in the server; returns how many."""
    with project.records.read() as session:
        labels = queries.known_labels(session, queries.the_pool(session).id)
        labeler = connect_labeler(session, project)
    assert isinstance(labeler, LabelStudio)
    oracle = Oracle(
        project.root,
        labels,
        project.config.project.classes,
        error_rate=ERROR_RATE,
        seed=project.config.project.seed,
    )
    answers = {}
    for key in labels:
        annotation = oracle.answer(key)
        answers[key] = annotation.label or "", annotation.seconds or 1.0
    return annotate(server, labeler.project.id, answers, on_progress=on_progress)
