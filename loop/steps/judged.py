"""Each label so far, and what a model of all other labels says of its image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from loop.errors import NotReady
from loop.project import Project
from loop.steps.embed import embeddings
from loop.suspicious import LEAST, left_out


@dataclass(frozen=True)
class Judged:
    """(k,) array rows and their given classes; (k, C) chances by a model that never saw the row."""

    rows: NDArray[np.int64]
    given: NDArray[np.int64]
    chances: NDArray[np.float64]

    @property
    def said(self) -> dict[int, int]:
        """Array row -> class."""
        best = self.chances.argmax(axis=1)
        return {int(r): int(b) for r, b in zip(self.rows, best, strict=True)}


def judged(session: Session, project: Project, labels: dict[int, int]) -> Judged:
    """Judges ``labels``, array row -> class.

    Raises:
        NotReady: the images are not embedded, or too few are labelled.
    """
    rows = np.array(sorted(labels), dtype=np.int64)
    given = np.array([labels[int(row)] for row in rows], dtype=np.int64)
    seen = len(np.unique(given))
    if len(rows) < LEAST or seen < 2:
        raise NotReady(
            f"{len(rows)} labels of {seen} classes are too few to judge them by each other; "
            f"label at least {LEAST} images of two classes"
        )
    classes = len(project.config.project.classes)
    return Judged(rows, given, left_out(embeddings(session, project)[rows], given, classes))


def none_judged(project: Project) -> Judged:
    """Nothing."""
    nothing = np.empty(0, np.int64)
    return Judged(nothing, nothing, np.empty((0, len(project.config.project.classes))))
