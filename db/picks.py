"""Picks are added in one way, whatever chose them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert
from sqlalchemy.orm import Session

from db import queries
from db.models import Pick, Round


def add_picks(
    session: Session,
    round_: Round,
    rows: NDArray[np.int64],
    arm: str,
    scores: NDArray[np.floating] | None = None,
    draws: NDArray[np.int64] | None = None,
    probability: float | NDArray[np.float64] | None = None,
    first_rank: int = 0,
) -> None:
    """Picks of these (k,) array rows, in labelling order.

    Args:
        scores: (k,) of each; None: 0.
        draws: (k,) places in the random sample; None: none is of it.
        probability: with which each was drawn, (k,) or the same for all; None: they were not drawn.
        first_rank: place of the first in labelling order.
    """
    if not len(rows):
        return
    item_ids = queries.item_ids(session, round_.pool_id, rows.tolist())
    by_rank = np.zeros(len(rows)) if scores is None else scores
    places = [None] * len(rows) if draws is None else draws.tolist()
    probabilities: list[float | None]
    if isinstance(probability, np.ndarray):
        probabilities = probability.tolist()
    else:
        probabilities = [probability] * len(rows)
    session.execute(
        insert(Pick),
        [
            {
                "round_id": round_.id,
                "item_id": item_ids[row],
                "arm": arm,
                "rank": rank,
                "score": score,
                "draw": draw,
                "probability": drawn_with,
            }
            for rank, (row, score, draw, drawn_with) in enumerate(
                zip(rows.tolist(), by_rank.tolist(), places, probabilities, strict=True), first_rank
            )
        ],
    )
