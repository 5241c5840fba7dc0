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
from loop.errors import ConfigError
from loop.project import Project

CLASSES = "classes"
"""Key in a trained round's versions: the class names, in the order of the model's outputs."""


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
    """(array row, annotator, class name) of every label that names a class, oldest first.

    Raises:
        ConfigError: see ``changed_classes``.
    """
    if changed := changed_classes(session, project, pool_id):
        raise ConfigError(changed)
    classes = set(project.config.project.classes)
    found = queries.answers(session, pool_id)
    return [(a.row, a.annotator, a.label) for a in found if a.label in classes]


def changed_classes(session: Session, project: Project, pool_id: int) -> str:
    """What to do about classes that were renamed, taken out or put in another order after people or
    models used them; empty if none was. Classes may be added at the end."""
    now = project.config.project.classes
    rounds = queries.rounds(session, pool_id)
    gone = {name for r in rounds for name in r.config["project"]["classes"]} - set(now)
    answers = queries.answers(session, pool_id) if gone else []
    used = Counter(answer.label for answer in answers if answer.label in gone)
    if used:
        name, count = used.most_common(1)[0]
        return (
            f"{count} answers say {name!r}, which is no more among the 'classes' under "
            "[project]; put it back under its old name"
        )
    for before in (r.versions[CLASSES] for r in rounds if CLASSES in r.versions):
        if now[: len(before)] != before:
            return (
                f"a model was trained with the classes {', '.join(before)}; put them back under "
                "[project] in that order (new ones may follow)"
            )
    return ""


def as_array(labels: dict[int, int], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels of the given array rows, -1 where there is none."""
    return np.array([labels.get(int(row), -1) for row in rows], dtype=np.int64)


def _by_item(session: Session, pool_id: int) -> dict[int, list[Answer]]:
    by_item: dict[int, list[Answer]] = defaultdict(list)
    for answer in queries.answers(session, pool_id):
        by_item[answer.item_id].append(answer)
    return by_item
