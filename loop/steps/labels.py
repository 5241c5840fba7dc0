"""From human answers to the one label per image that training uses."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db import queries
from db.models import Round
from db.queries import Answer
from loop.project import Project


@dataclass(frozen=True)
class Outstanding:
    """How much of a round is answered. A pick with skips only counts as skipped."""

    picked: int
    unanswered: int
    skipped: int


def outstanding(session: Session, project: Project, found: Round) -> Outstanding:
    """Counts over the picks of one round; ``overlap`` different people must have answered."""
    picks = queries.picks(session, found.pool_id, found.number)
    by_item = _by_item(session, found.pool_id)
    # a labelled test folder and the oracle answer once, whatever the overlap
    overlap = project.config.labeler.overlap if project.config.labeler.kind != "oracle" else 1
    unanswered = skipped = 0
    for pick in picks:
        given = by_item.get(pick.item_id, [])
        labels = [a for a in given if a.label in project.config.project.classes]
        if len(labels) >= overlap or (labels and len(given) >= overlap):
            continue
        if not labels and len([a for a in given if a.cancelled or a.label is None]) >= overlap:
            skipped += 1
        else:
            unanswered += 1
    return Outstanding(len(picks), unanswered, skipped)


def outstanding_by_round(
    session: Session, project: Project, pool_id: int
) -> dict[int, Outstanding]:
    """Round number -> the same counts, made by the database without loading an answer."""
    labeler = project.config.labeler
    overlap = labeler.overlap if labeler.kind != "oracle" else 1
    found = queries.tallies(session, pool_id, project.config.project.classes, overlap)
    return {number: Outstanding(*counts) for number, counts in found.items()}


def collected(session: Session, project: Project, pool_id: int) -> dict[int, int]:
    """Array row -> class index of every image with a label now (pool and test split)."""
    index = {name: i for i, name in enumerate(project.config.project.classes)}
    labels: dict[int, int] = {}
    for given in _by_item(session, pool_id).values():
        votes = Counter(index[a.label] for a in given if a.label in index)
        if votes:
            top = max(votes.values())
            tied = {label for label, count in votes.items() if count == top}
            newest = next(a for a in reversed(given) if a.label in index and index[a.label] in tied)
            labels[given[0].row] = index[newest.label or ""]
    return labels


def as_array(labels: dict[int, int], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels of the given array rows, -1 where there is none."""
    return np.array([labels.get(int(row), -1) for row in rows], dtype=np.int64)


def _by_item(session: Session, pool_id: int) -> dict[int, list[Answer]]:
    by_item: dict[int, list[Answer]] = defaultdict(list)
    for answer in queries.answers(session, pool_id):
        by_item[answer.item_id].append(answer)
    return by_item
