"""Guesses sent along as pre-annotations: from text prompts first, later of the current model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from connectors.base import Prediction
from db import arrays, queries
from db.models import Pool
from db.queries import Picked
from db.state import Records
from loop import encoders
from loop.encoders import zero_shot
from loop.project import Project
from loop.steps.embed import embeddings

ZERO_SHOT = "zero-shot"


def predictions(records: Records, project: Project, number: int) -> dict[str, Prediction]:
    """Item key -> guess for the picks of a round, all of one version.

    Round 1 gets zero-shot guesses if the encoder is CLIP-like, later rounds those of the model
    trained in the round before. Test images (round 0) never get any: a guess shown beforehand
    draws people towards it, and the model would then be measured on its own guesses.
    """
    if number < 1 or not project.config.labeler.predictions:
        return {}
    with records.read() as session:
        pool = queries.the_pool(session)
        picks = queries.picks(session, pool.id, number)
        if number == 1:
            picks, probabilities = _zero_shot(session, project, picks)
        else:
            picks, probabilities = _model(session, project, pool, number - 1, picks)
    version = f"round-{number - 1}" if number > 1 else ZERO_SHOT
    names = project.config.project.classes
    return {
        pick.key: Prediction(names[int(p.argmax())], float(p.max()), version)
        for pick, p in zip(picks, probabilities, strict=True)
    }


Guessed = tuple[list[Picked], NDArray[np.float64]]


def _zero_shot(session: Session, project: Project, picks: list[Picked]) -> Guessed:
    """All picks and their (picks, C) probabilities; nothing where the encoder knows no words."""
    names = project.config.project.classes
    if not picks or "open_clip:" not in project.config.encoder:
        return [], np.zeros((0, len(names)))
    encoder = encoders.get(project.config.encoder)
    rows = np.asarray(embeddings(session, project)[[pick.row for pick in picks]], np.float32)
    return picks, zero_shot.probabilities(encoder, rows, names)


def _model(
    session: Session, project: Project, pool: Pool, number: int, picks: list[Picked]
) -> Guessed:
    """Picks that the model of a round knew, and its (picks, C) probabilities."""
    row = arrays.find(
        session, pool_id=pool.id, kind="probabilities", name="pool", of=f"round-{number}"
    )
    if row is None:
        return [], np.zeros((0, len(project.config.project.classes)))
    probabilities = arrays.load(row, project.arrays)
    rows = queries.split_rows(session, pool.id, "pool")[: len(probabilities)]
    place = {int(r): i for i, r in enumerate(rows)}
    known = [pick for pick in picks if pick.row in place]
    return known, np.asarray(probabilities[[place[p.row] for p in known]], dtype=np.float64)
