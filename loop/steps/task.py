"""The classification problem of a project, as trainers and scorers see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db import queries
from loop.device import resolve
from loop.project import Project
from loop.steps.embed import embeddings
from loop.steps.labels import as_array, collected
from loop.steps.opened import source

if TYPE_CHECKING:
    from loop.train import Task


@dataclass(frozen=True)
class Problem:
    """A Task with the labels collected so far.

    ``rows`` maps a pool row (the index space of every algorithm) to the array row of its item.
    """

    task: Task
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]
    test_rows: NDArray[np.int64]
    covered: NDArray[np.bool_]


def problem(session: Session, project: Project, *, images: bool = False) -> Problem:
    """Loads embeddings and labels; with ``images`` also a way to the decoded images.

    Raises:
        NotReady: the pool is not embedded.
    """
    from loop.train import Task

    pool = queries.the_pool(session)
    all_rows = embeddings(session, project)
    rows = queries.split_rows(session, pool.id, "pool")
    test_rows = queries.split_rows(session, pool.id, "test")
    labels = collected(session, project, pool.id)
    picked = np.isin(rows, queries.picked_rows(session, pool.id))
    task = Task(
        n_classes=len(project.config.project.classes),
        pool=np.asarray(all_rows[rows], dtype=np.float32),
        test=np.asarray(all_rows[test_rows], dtype=np.float32),
        test_labels=as_array(labels, test_rows),
        pool_images=_images(session, project, rows) if images else None,
        test_images=_images(session, project, test_rows) if images else None,
        device=resolve(project.config.training.device),
    )
    return Problem(task, as_array(labels, rows), rows, test_rows, picked)


def _images(
    session: Session, project: Project, rows: NDArray[np.int64]
) -> Callable[[], NDArray[np.uint8]]:
    """Decodes the images of array rows when called."""
    from loop.images import squares

    uris = queries.row_uris(session, queries.the_pool(session).id)
    wanted = [uris[int(row)] for row in rows]
    side = int(project.config.training.params.get("side", 32))
    return lambda: squares(source(project).read, wanted, side)
