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
from loop.annotators import Vote, consensus
from loop.project import Project


@dataclass(frozen=True)
class Outstanding:
    """How much of a round is answered. A pick with skips only counts as skipped."""

    picked: int
    unanswered: int
    skipped: int


def outstanding(session: Session, project: Project, found: Round) -> Outstanding:
    """Counts over the picks of one round; ``overlap`` different people must have answered."""
    standing = _standing(session, project, found)
    states = Counter(standing.values())
    return Outstanding(len(standing), states["waiting"], states["skipped"])


def waiting(session: Session, project: Project, found: Round) -> list[int]:
    """Pick ids of a round that still wait for people, in labelling order."""
    standing = _standing(session, project, found)
    return [pick for pick, state in standing.items() if state == "waiting"]


def _standing(session: Session, project: Project, found: Round) -> dict[int, str]:
    """Pick id -> answered, skipped or waiting."""
    by_item = _by_item(session, found.pool_id)
    # a labelled test folder and the oracle answer once, whatever the overlap
    overlap = project.config.labeler.overlap if project.config.labeler.kind != "oracle" else 1
    standing = {}
    for pick in queries.picks(session, found.pool_id, found.number):
        given = by_item.get(pick.item_id, [])
        labels = [a for a in given if a.label in project.config.project.classes]
        if len(labels) >= overlap or (labels and len(given) >= overlap):
            standing[pick.pick_id] = "answered"
        elif not labels and len([a for a in given if a.cancelled or a.label is None]) >= overlap:
            standing[pick.pick_id] = "skipped"
        else:
            standing[pick.pick_id] = "waiting"
    return standing


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
    votes = cast_votes(session, project, pool_id)
    said = consensus(votes, project.config.labeler.consensus)
    return {int(row): index[label] for row, label in said.items()}


def cast_votes(session: Session, project: Project, pool_id: int) -> list[Vote]:
    """(array row, annotator, class name) of every label that names a class, oldest first."""
    classes = set(project.config.project.classes)
    found = queries.answers(session, pool_id)
    return [(a.row, a.annotator, a.label) for a in found if a.label in classes]


def as_array(labels: dict[int, int], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels of the given array rows, -1 where there is none."""
    return np.array([labels.get(int(row), -1) for row in rows], dtype=np.int64)


def _by_item(session: Session, pool_id: int) -> dict[int, list[Answer]]:
    by_item: dict[int, list[Answer]] = defaultdict(list)
    for answer in queries.answers(session, pool_id):
        by_item[answer.item_id].append(answer)
    return by_item
