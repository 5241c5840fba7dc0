"""Predictions sent along as pre-annotations: from class names first, later of the current model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from connectors.base import Prediction
from db import arrays, queries
from db.queries import Picked
from loop.measuring.runs import CALIBRATION
from loop.project.embeddings import embeddings
from loop.project.names import name_head_of
from loop.project.placed import known
from loop.project.project import Project
from loop.train.kept import tempered

ZERO_SHOT = "zero-shot"


def predictions(project: Project, number: int) -> dict[str, Prediction]:
    """Item key -> prediction for the picks of a round, all of one version.

    Round 1 gets zero-shot predictions if the encoder is CLIP-like, later rounds those of the model
    trained last before. Images that measure never get any: a prediction shown beforehand
    draws people towards it, and the model would then be measured on its own predictions. So there
    are none in round 0, and none in a round with images of the random sample, which would tell
    them from the other picks.
    """
    if number < 1 or not project.config.labeler.predictions:
        return {}
    with project.records.read() as session:
        picks = queries.picks(session, queries.the_pool(session).id, number)
        if any(pick.arm in ("sample", "calibration") for pick in picks):
            return {}
        trained = [n for n, _ in queries.runs(session, queries.the_pool(session).id, "all")]
        before = max((n for n in trained if n < number), default=0)
        if number > 1:
            picks, probabilities = _of_model(session, project, before, picks)
        elif (head := name_head_of(project.config)) is not None:
            embedded = embeddings(session, project)
        else:  # the encoder knows no words
            return {}
    classes = project.config.project.classes
    if number == 1:
        rows = np.asarray(embedded[[pick.row for pick in picks]], dtype=np.float32)
        assert head is not None
        probabilities = head.probabilities(rows)
    version = f"round-{before}" if number > 1 else ZERO_SHOT
    return {
        pick.key: Prediction(classes[int(p.argmax())], float(p.max()), version)
        for pick, p in zip(picks, probabilities, strict=True)
    }


def _of_model(
    session: Session, project: Project, number: int, picks: list[Picked]
) -> tuple[list[Picked], NDArray[np.float64]]:
    """Picks that the model of a round knew, and its (picks, C) probabilities."""
    rows, probabilities = _stored(session, project, number)
    pool_row = {int(row): i for i, row in enumerate(rows)}
    predicted = [pick for pick in picks if pick.row in pool_row]
    wanted = [pool_row[pick.row] for pick in predicted]
    return predicted, np.asarray(probabilities[wanted], dtype=np.float64)


def pool_confidence(session: Session, project: Project) -> dict[int, float]:
    """Array row -> calibrated confidence of the newest model; empty before the first training."""
    trained = queries.runs(session, queries.the_pool(session).id, "all")
    if not trained:
        return {}
    number, run = trained[-1]
    rows, probabilities = _stored(session, project, number)
    temperature = float(run.notes.get(CALIBRATION, {}).get("temperature", 1.0))
    confidence = tempered(np.asarray(probabilities, dtype=np.float64), temperature).max(axis=1)
    return dict(zip(rows.tolist(), confidence.tolist(), strict=True))


def _stored(
    session: Session, project: Project, number: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Array rows that the model of a round knew, and its (rows, C) probabilities."""
    pool_id = queries.the_pool(session).id
    array = arrays.find(
        session, pool_id=pool_id, kind="probabilities", name="pool", of=f"round-{number}"
    )
    if array is None:
        return np.empty(0, np.int64), np.zeros((0, len(project.config.project.classes)), np.float32)
    probabilities = arrays.load(array, project.arrays)
    rows, values = known(session, pool_id, probabilities)
    return rows, np.asarray(values, dtype=np.float32)
