"""What a labelled calibration sample says of a promise, and which images it leaves to people."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db.models import Promise
from loop.finish.by_class import promise_by_class
from loop.finish.promise import allowed_wrong, labels_needed, promise, smallest_error
from loop.project.labels import Labels
from loop.project.project import Project
from loop.project.promise import Frozen, accepted, calibration_rows

Rows = NDArray[np.int64]


def outcome_of(
    session: Session, project: Project, made: Promise, frozen: Frozen, labels: Labels
) -> dict[str, Any]:
    """What the calibration sample says, as JSON holds it."""
    population = frozen.population
    sample = calibration_rows(session, made)
    place = np.searchsorted(population, sample)
    right = labels.of(sample) == frozen.labels[sample]
    confidence = frozen.confidence[population]
    labelled = int((labels.of(sample) >= 0).sum())
    if not made.per_class:
        allowed = allowed_wrong(made.max_error, made.images)
        kept = promise(confidence, place, right, allowed, made.alpha)
        needed = labels_needed(len(population), allowed, made.alpha)
        least = smallest_error(len(population), len(sample), made.images, made.alpha)
        return {
            **asdict(kept),
            "threshold": None if math.isinf(kept.threshold) else kept.threshold,
            "labelled": labelled,
            "needed": needed,
            "least": least,
        }
    return {**_by_class(project, made, frozen, labels, sample, right), "labelled": labelled}


def _by_class(
    project: Project,
    made: Promise,
    frozen: Frozen,
    labels: Labels,
    sample: Rows,
    right: NDArray[np.bool_],
) -> dict[str, Any]:
    """The outcome with a threshold for each class."""
    population = frozen.population
    predicted = frozen.labels[population].astype(np.int64)
    drawn = set(sample.tolist())
    given = np.bincount(
        [label for row, label in labels.by_row.items() if row not in drawn],
        minlength=len(project.config.project.classes),
    )
    by_class = promise_by_class(
        frozen.confidence[population],
        predicted,
        np.searchsorted(population, sample),
        right,
        given,
        made.max_error,
        made.alpha,
    )
    return {
        "thresholds": [None if math.isinf(p.threshold) else p.threshold for p in by_class],
        "by_class": [{**asdict(p), "threshold": None} for p in by_class],
        "accepted": sum(p.accepted for p in by_class),
        "sample": len(sample),
        "wrong": sum(p.wrong for p in by_class),
        "upper": sum(p.upper for p in by_class),
        "allowed": sum(p.allowed for p in by_class),
    }


def rest_of(session: Session, made: Promise, frozen: Frozen, outcome: dict[str, Any]) -> Rows:
    """Array rows under the threshold without the sample's, the most doubtful first."""
    below = frozen.population[~accepted(frozen, outcome)]
    below = np.setdiff1d(below, calibration_rows(session, made))
    return below[np.argsort(frozen.confidence[below], kind="stable")]
