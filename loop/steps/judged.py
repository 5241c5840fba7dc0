"""Each label so far, and what a model of all other labels says of its image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db import queries
from loop.errors import NotReady
from loop.label_issues import (
    MIN_LABELS,
    LabelIssue,
    find_label_issues,
    label_margin,
    left_out_probabilities,
    self_confidence,
)
from loop.project import Project
from loop.steps.embed import embeddings


@dataclass(frozen=True)
class Judged:
    """Out-of-sample predictions of the k labelled images, each by a model that never saw its label.

    Attributes:
        rows: (k,) int64 array rows.
        labels: (k,) int64 given classes.
        probabilities: (k, C) float64.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    @property
    def predicted(self) -> dict[int, int]:
        """Array row -> predicted class."""
        predicted = self.probabilities.argmax(axis=1)
        return dict(zip(self.rows.tolist(), predicted.tolist(), strict=True))


def judged(session: Session, project: Project, labels: dict[int, int]) -> Judged:
    """Judges ``labels``, array row -> class.

    Raises:
        NotReady: the images are not embedded, or too few are labelled.
    """
    rows = np.array(sorted(labels), dtype=np.int64)
    given = np.array([labels[int(row)] for row in rows], dtype=np.int64)
    seen = len(np.unique(given))
    if len(rows) < MIN_LABELS or seen < 2:
        raise NotReady(
            f"{len(rows)} labels of {seen} classes are too few to judge them by each other; "
            f"label at least {MIN_LABELS} images of two classes"
        )
    classes = len(project.config.project.classes)
    features = embeddings(session, project)[rows]
    return Judged(rows, given, left_out_probabilities(features, given, classes))


def issues_among(
    session: Session, project: Project, pool_id: int, judgements: Judged
) -> list[LabelIssue]:
    """Label issues among the judged labels, the largest label margin first."""
    uris, keys = queries.row_uris(session, pool_id), queries.row_keys(session, pool_id)
    test = set(queries.split_rows(session, pool_id, "test").tolist())
    names = project.config.project.classes
    labels, probabilities = judgements.labels, judgements.probabilities
    margins = label_margin(labels, probabilities)
    confidences = self_confidence(labels, probabilities)
    issues = []
    for i in find_label_issues(labels, probabilities):
        row = int(judgements.rows[i])
        issues.append(
            LabelIssue(
                key=keys[row],
                uri=uris[row],
                split="test" if row in test else "train",
                label=names[labels[i]],
                predicted=names[probabilities[i].argmax()],
                confidence=float(probabilities[i].max()),
                self_confidence=float(confidences[i]),
                label_margin=float(margins[i]),
            )
        )
    return issues


def none_judged(project: Project) -> Judged:
    """Nothing."""
    nothing = np.empty(0, np.int64)
    return Judged(nothing, nothing, np.empty((0, len(project.config.project.classes))))
