"""What a labelled calibration sample says of a promise, and which images it leaves to people."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from db import queries
from db.errors import Damaged, Missing
from db.models import Array, Promise
from loop.finish.by_class import promise_by_class
from loop.finish.promise import allowed_wrong, labels_needed, promise, smallest_error
from loop.project.digests import numbers_digest
from loop.project.labels import Labels, collect
from loop.project.model import MODEL
from loop.project.project import Project
from loop.project.promise import Frozen, accepted, calibration_rows, load_frozen

Rows = NDArray[np.int64]


ANSWERS = "answers"
"""Key in an outcome: digest of the calibration sample and its labels when it was settled."""


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
            ANSWERS: numbers_digest(sample, labels.of(sample)),
        }
    by_class = _by_class(project, made, frozen, labels, sample, right)
    return {
        **by_class,
        "labelled": labelled,
        ANSWERS: numbers_digest(sample, labels.of(sample)),
    }


def since_settled(session: Session, project: Project, made: Promise) -> str:
    """What has changed since a promise was settled, what of it stands, and what to type; empty
    where nothing has, or it was settled by an older version."""
    if ANSWERS not in made.outcome:
        return ""
    labels = collect(session, queries.the_pool(session), project.config, absent=True)
    sample = calibration_rows(session, made)
    again = f"coreloop autolabel --max-error {made.max_error:g}"
    if made.outcome[ANSWERS] != numbers_digest(sample, labels.of(sample)):
        then = int(made.outcome["accepted"])
        try:
            frozen = load_frozen(session, project, made)
        except (Missing, Damaged):  # 'coreloop doctor' says so
            return ""
        now = int(outcome_of(session, project, made, frozen, labels)["accepted"])
        kept = f"today's allow the model {now} labels, and it keeps {then}"
        return (
            f"Answers of promise {made.look}'s calibration sample have changed since it was "
            f"settled: {kept}. What was promised is by the answers of then; a promise by today's: "
            f"{again}"
        )
    newest = _newest_model(session)
    if newest not in ("", made.model):
        return (
            f"A newer model was trained since; promise {made.look} and its labels are of the model "
            f"of then, and stand. A promise for the newer one: {again}"
        )
    return ""


def _newest_model(session: Session) -> str:
    """Digest of the model trained last; empty where none is kept."""
    rows = session.scalars(
        select(Array).where(Array.kind == MODEL, Array.of.startswith("round-"))
    ).all()
    newest = max(rows, key=lambda row: int(row.of.removeprefix("round-")), default=None)
    return newest.digest if newest else ""


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
