"""The classification problem of a project, as trainers and scorers see it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db import queries
from db.arrays import file_digest
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


def numbers_digest(*arrays: NDArray[np.int64]) -> str:
    """32 hex digits of rows or labels, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for numbers in arrays:
        digest.update(np.ascontiguousarray(numbers, dtype="<i8").tobytes())
    return digest.hexdigest()


def start_digest(params: Mapping[str, object]) -> str:
    """Digest of the checkpoint that a trainer starts from; empty where there is none."""
    file = Path(str(params.get("checkpoint") or ""))
    return file_digest(file) if file.is_file() else ""


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
    side = int(project.config.training.params.get("side", 32))
    picked = np.isin(rows, queries.picked_rows(session, pool.id))
    task = Task(
        n_classes=len(project.config.project.classes),
        pool=np.asarray(all_rows[rows], dtype=np.float32),
        test=np.asarray(all_rows[test_rows], dtype=np.float32),
        test_labels=as_array(labels, test_rows),
        pool_images=pixels(session, project, rows, side) if images else None,
        test_images=pixels(session, project, test_rows, side) if images else None,
        device=project.config.training.device,
        unfinished=unfinished(project, pool.digest),
    )
    return Problem(task, as_array(labels, rows), rows, test_rows, picked)


def unfinished(project: Project, pool_digest: str) -> Path:
    """Where long trainings on a pool keep their state; the step that trains removes it at last."""
    return project.arrays / "drafts" / f"{pool_digest}-training"


def pixels(session: Session, project: Project, rows: NDArray[np.int64], side: int) -> Pixels:
    """Array rows' images as (n, side, side, 3) uint8 when called; decoded once."""
    uris = queries.row_uris(session, queries.the_pool(session).id)
    return Pixels(project, [uris[int(row)] for row in rows], side)


@dataclass
class Pixels:
    """Decodes at the first call; crosses to a worker process without the pixels."""

    project: Project
    uris: list[str]
    side: int
    _decoded: NDArray[np.uint8] | None = field(default=None, repr=False)

    def __call__(self) -> NDArray[np.uint8]:
        from loop.images import squares

        if self._decoded is None:
            self._decoded = squares(source(self.project).read, self.uris, self.side)
        return self._decoded
