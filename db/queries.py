"""Questions asked of the records more than once. Nothing here writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.errors import Missing
from db.models import Annotation, Batch, Duplicate, Item, Pick, Pool, Round, Run, Sent, Unreadable


def the_pool(session: Session) -> Pool:
    """The project's pool. Raises Missing before the first scan."""
    pool = session.scalar(select(Pool).order_by(Pool.id).limit(1))
    if pool is None:
        raise Missing("the images have not been scanned; run 'coreloop scan'")
    return pool


def newest_round(session: Session, pool_id: int) -> Round | None:
    """The round with the highest number, or None."""
    return session.scalar(
        select(Round).where(Round.pool_id == pool_id).order_by(Round.number.desc()).limit(1)
    )


def rounds(session: Session, pool_id: int) -> Sequence[Round]:
    """All rounds, oldest first."""
    return session.scalars(
        select(Round).where(Round.pool_id == pool_id).order_by(Round.number)
    ).all()


def item_count(session: Session, pool_id: int, split: str | None = None) -> int:
    """Images in the pool's records, of one split if named."""
    query = select(func.count()).select_from(Item).where(Item.pool_id == pool_id)
    if split is not None:
        query = query.where(Item.split == split)
    return int(session.scalar(query) or 0)


def split_rows(session: Session, pool_id: int, split: str) -> NDArray[np.int64]:
    """Array rows of a split, ascending."""
    found = session.execute(
        select(Item.row).where(Item.pool_id == pool_id, Item.split == split).order_by(Item.row)
    )
    return np.fromiter((row for (row,) in found), dtype=np.int64)


def picked_rows(session: Session, pool_id: int) -> NDArray[np.int64]:
    """Array rows picked for labelling in any round (the test split is not among them)."""
    found = session.execute(
        select(Item.row)
        .join(Pick, Pick.item_id == Item.id)
        .where(Item.pool_id == pool_id, Pick.arm != "test")
        .order_by(Item.row)
    )
    return np.fromiter((row for (row,) in found), dtype=np.int64)


@dataclass(frozen=True)
class Picked:
    """A pick with what is known of its item."""

    pick_id: int
    item_id: int
    round: int
    arm: str
    rank: int
    score: float
    row: int
    key: str
    uri: str


def picks(session: Session, pool_id: int, number: int | None = None) -> list[Picked]:
    """Picks in labelling order (round, then rank; control picks mixed in), of one round if named.

    Round 0 holds the test split.
    """
    query = (
        select(
            Pick.id, Pick.item_id, Round.number, Pick.arm, Pick.rank, Pick.score,
            Item.row, Item.key, Item.uri,
        )
        .join(Round, Round.id == Pick.round_id)
        .join(Item, Item.id == Pick.item_id)
        .where(Round.pool_id == pool_id)
        .order_by(Round.number, Pick.rank, Pick.arm)
    )  # fmt: skip
    if number is not None:
        query = query.where(Round.number == number)
    return [Picked(*row) for row in session.execute(query)]


def open_batches(session: Session, connector: str) -> Sequence[Batch]:
    """Batches whose outcome is not known, in labelling order (whatever the clock said)."""
    first = select(func.min(Sent.id)).where(Sent.batch_uuid == Batch.uuid).scalar_subquery()
    return session.scalars(
        select(Batch)
        .where(Batch.connector == connector, Batch.state.in_(("PLANNED", "SENT", "UNKNOWN")))
        .order_by(first)
    ).all()


def batch_items(session: Session, uuid: str) -> list[tuple[int, str, str]]:
    """(pick id, key, uri) of a batch in labelling order."""
    found = session.execute(
        select(Pick.id, Item.key, Item.uri)
        .join(Sent, Sent.pick_id == Pick.id)
        .join(Item, Item.id == Pick.item_id)
        .where(Sent.batch_uuid == uuid)
        .order_by(Sent.id)
    )
    return [tuple(row) for row in found]  # type: ignore[misc]


@dataclass(frozen=True)
class Answer:
    """What one annotator says of one item now."""

    item_id: int
    row: int
    key: str
    annotator: str
    label: str | None
    seconds: float | None
    cancelled: bool
    at: datetime | None
    external_id: str


def standing(session: Session, pool_id: int) -> list[Answer]:
    """Every annotation that stands now, oldest first: its newest version, deleted ones left out."""
    newest = (
        select(func.max(Annotation.id))
        .group_by(Annotation.connector, Annotation.external_id)
        .scalar_subquery()
    )
    found = session.execute(
        select(Annotation, Item.row, Item.key)
        .join(Item, Item.id == Annotation.item_id)
        .where(Item.pool_id == pool_id, Annotation.id.in_(newest), ~Annotation.deleted)
        .order_by(Annotation.id)
    )
    return [
        Answer(note.item_id, row, key, note.annotator, note.label, note.seconds,
               note.cancelled, note.at, note.external_id)
        for note, row, key in found
    ]  # fmt: skip


def answers(session: Session, pool_id: int) -> list[Answer]:
    """What each person says now: of several annotations by one person on one item the newest,
    labels before skips."""
    current: dict[tuple[int, str], Answer] = {}
    for answer in standing(session, pool_id):
        before = current.get((answer.item_id, answer.annotator))
        if before is None or answer.label is not None or before.label is None:
            current[answer.item_id, answer.annotator] = answer
    return list(current.values())


def newest_annotations(
    session: Session, connector: str, keys: Sequence[str]
) -> list[tuple[Annotation, str]]:
    """(newest version, item key) of every annotation of these items."""
    newest = (
        select(func.max(Annotation.id))
        .where(Annotation.connector == connector)
        .group_by(Annotation.external_id)
        .scalar_subquery()
    )
    found = session.execute(
        select(Annotation, Item.key)
        .join(Item, Item.id == Annotation.item_id)
        .where(Annotation.id.in_(newest), Item.key.in_(keys))
    )
    return [(note, key) for note, key in found]


def runs(session: Session, pool_id: int) -> list[tuple[int, Run]]:
    """(round number, run), oldest first."""
    found = session.execute(
        select(Round.number, Run)
        .join(Round, Round.id == Run.round_id)
        .where(Round.pool_id == pool_id)
        .order_by(Round.number, Run.id)
    )
    return [(number, run) for number, run in found]


def counts(session: Session, pool_id: int) -> dict[str, Any]:
    """Row counts for ``status``; each is one indexed count."""

    def count(query: Any) -> int:
        return int(session.scalar(query) or 0)

    return {
        "images": item_count(session, pool_id),
        "pool": item_count(session, pool_id, "pool"),
        "test": item_count(session, pool_id, "test"),
        "duplicates": count(select(func.count()).select_from(Duplicate)),
        "unreadable": count(select(func.count()).select_from(Unreadable)),
        "picked": count(select(func.count()).select_from(Pick).where(Pick.arm != "test")),
        "annotations": count(select(func.count()).select_from(Annotation)),
    }


def known_labels(session: Session, pool_id: int) -> dict[str, str]:
    """Key -> class that a labelled source stated. Only the oracle and ``simulate`` ask this."""
    found = session.execute(
        select(Item.key, Item.known_label).where(
            Item.pool_id == pool_id, Item.known_label.is_not(None)
        )
    )
    return {key: str(label) for key, label in found}


def row_keys(session: Session, pool_id: int) -> dict[int, str]:
    """Array row -> item key."""
    found = session.execute(select(Item.row, Item.key).where(Item.pool_id == pool_id))
    return {int(row): str(key) for row, key in found}


def row_uris(session: Session, pool_id: int) -> dict[int, str]:
    """Array row -> uri."""
    found = session.execute(select(Item.row, Item.uri).where(Item.pool_id == pool_id))
    return {int(row): str(uri) for row, uri in found}
