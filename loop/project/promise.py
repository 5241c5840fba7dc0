"""The promise about the labels that a model gives, as the records have it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db import arrays, queries
from db.models import Promise
from loop.project.labels import Labels
from loop.project.model import Kept, pool_predictions
from loop.project.project import Project

PREDICTED = "predicted"
"""Kind of the two arrays that a promise keeps of its model, ``labels`` and ``confidence``."""
BLOCK = 16_384


@dataclass(frozen=True)
class Frozen:
    """What the frozen model of a promise says of every image; n items at that time.

    Attributes:
        labels: (n,) int32 class by array row; -1 outside the promise: picked or labelled before.
        confidence: (n,) float32 calibrated probability of that class; 0 outside.
    """

    labels: NDArray[np.int32]
    confidence: NDArray[np.float32]

    @cached_property
    def population(self) -> NDArray[np.int64]:
        """(U,) array rows that the promise is about, ascending."""
        return np.flatnonzero(self.labels >= 0)


def freeze(
    session: Session,
    project: Project,
    kept: Kept,
    *,
    before: int | None = None,
    count: int | None = None,
) -> Frozen:
    """What a model says of the pool's images that no round has picked.

    Args:
        before, count: as it was before the round of this number, with so many images.

    Raises:
        NotReady, DataError: see ``pool_predictions``.
    """
    pool = queries.the_pool(session)
    count = queries.item_count(session, pool.id) if count is None else count
    rows = queries.split_rows(session, pool.id, "pool", absent=before is not None)
    rows = np.setdiff1d(rows[rows < count], queries.picked_rows(session, pool.id, before=before))
    labels, confidence = np.full(count, -1, np.int32), np.zeros(count, np.float32)
    for block, probabilities in pool_predictions(session, project, kept, rows, BLOCK, before):
        labels[block] = probabilities.argmax(axis=1)
        confidence[block] = probabilities.max(axis=1)
    return Frozen(labels, confidence)


def write_frozen(frozen: Frozen, folder: Path) -> dict[str, Path]:
    """Name -> file, for ``arrays.record_all``."""
    return {
        "labels": arrays.write_file(frozen.labels, folder),
        "confidence": arrays.write_file(frozen.confidence, folder),
    }


def of_promise(look: int) -> str:
    """What the arrays of a promise are of."""
    return f"promise-{look}"


def load_frozen(session: Session, project: Project, promise: Promise) -> Frozen:
    """Raises Missing, Damaged: an array has gone or is not what it was."""
    from db.errors import Missing

    pool_id, loaded = queries.the_pool(session).id, []
    for name in ("labels", "confidence"):
        row = arrays.find(
            session, pool_id=pool_id, kind=PREDICTED, name=name, of=of_promise(promise.look)
        )
        if row is None:
            raise Missing(
                f"what the model of promise {promise.look} said is not recorded; type: "
                "coreloop doctor --repair"
            )
        loaded.append(np.asarray(arrays.load(row, project.arrays)))
    return Frozen(*loaded)  # type: ignore[arg-type]


@dataclass(frozen=True)
class ModelLabels:
    """Labels that the model of a kept promise gives; people's go before.

    Attributes:
        by_row: array row -> (class index, confidence).
        promise: the record.
    """

    by_row: Mapping[int, tuple[int, float]]
    promise: Promise


def model_labels(session: Session, project: Project, labels: Labels) -> ModelLabels | None:
    """Of the newest promise that keeps any; None without one."""
    kept = [each for each in kept_promises(session) if each.outcome["accepted"]]
    if not kept:
        return None
    promise = kept[-1]
    frozen = load_frozen(session, project, promise)
    calibration = calibration_rows(session, promise)
    sure = frozen.population[accepted(frozen, promise.outcome)]
    passed_over = queries.absences(session, queries.the_pool(session).id)
    rows = np.setdiff1d(sure, calibration)
    by_row = {
        int(row): (int(frozen.labels[row]), float(frozen.confidence[row]))
        for row in rows
        if int(row) not in labels.by_row and int(row) not in passed_over
    }
    return ModelLabels(by_row, promise)


def accepted(frozen: Frozen, outcome: Mapping[str, Any]) -> NDArray[np.bool_]:
    """(U,) whether the model's label of each image of the population is kept."""
    confidence = frozen.confidence[frozen.population].astype(np.float64)
    limits = [
        np.inf if each is None else each
        for each in outcome.get("thresholds", [outcome.get("threshold")])
    ]
    of_class = frozen.labels[frozen.population] if "thresholds" in outcome else 0
    return np.asarray(confidence >= np.array(limits)[of_class])


def kept_promises(session: Session) -> list[Promise]:
    """Those whose sample is labelled, oldest first."""
    pool_id = queries.the_pool(session).id
    return [each for each in queries.promises(session, pool_id) if each.outcome]


def calibration_rows(session: Session, promise: Promise) -> NDArray[np.int64]:
    """(n,) array rows of the sample, in the order drawn."""
    return queries.round_rows(session, promise.round_id)


def in_short(promise: Promise) -> str:
    """For a column: ``promise 1: at most 5 % of 1797 wrong, confidence 95 %``."""
    of = "of each name" if promise.per_class else f"of {promise.images}"
    return (
        f"promise {promise.look}: at most {100 * promise.max_error:g} % {of} wrong, "
        f"confidence {100 * promise.confidence:g} %"
    )
