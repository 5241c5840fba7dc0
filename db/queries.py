"""Questions asked of the records more than once. Nothing here writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.orm import Session, aliased

from db.errors import Missing
from db.models import (
    Annotation,
    Batch,
    Duplicate,
    Item,
    Pick,
    Pool,
    Round,
    Sent,
    TrainingRun,
    Unreadable,
)

SOURCE = "source"
"""Connector and annotator of labels that came with the images."""
CHUNK = 1000
"""Values that one query names."""


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
    if split is None:  # rows are 0, 1, 2, ...: the last is found by index
        last = session.scalar(select(func.max(Item.row)).where(Item.pool_id == pool_id))
        return 0 if last is None else int(last) + 1
    query = select(func.count()).where(Item.pool_id == pool_id, Item.split == split)
    return int(session.scalar(query) or 0)


def split_rows(session: Session, pool_id: int, split: str) -> NDArray[np.int64]:
    """Array rows of a split, ascending."""
    rows = session.scalars(
        select(Item.row).where(Item.pool_id == pool_id, Item.split == split).order_by(Item.row)
    )
    return np.fromiter(rows, dtype=np.int64)


def item_ids(session: Session, pool_id: int, rows: Sequence[int]) -> dict[int, int]:
    """Array row -> item id of these rows."""
    ids: dict[int, int] = {}
    for start in range(0, len(rows), CHUNK):
        chunk = select(Item.row, Item.id).where(
            Item.pool_id == pool_id, Item.row.in_(rows[start : start + CHUNK])
        )
        ids.update((int(row), int(item_id)) for row, item_id in session.execute(chunk))
    return ids


def picked_rows(session: Session, pool_id: int, *, by_scorer: bool = False) -> NDArray[np.int64]:
    """Array rows picked for labelling in any round (the test split is not among them).

    Args:
        by_scorer: without those that the random sample alone picked.
    """
    others = ("test", "sample") if by_scorer else ("test",)
    rows = session.scalars(
        select(Item.row)
        .join(Pick, Pick.item_id == Item.id)
        .join(Round, Round.id == Pick.round_id)
        .where(Round.pool_id == pool_id, Pick.arm.not_in(others))
    )
    return np.sort(np.fromiter(rows, dtype=np.int64))


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
    draw: int | None


def picks(session: Session, pool_id: int, number: int | None = None) -> list[Picked]:
    """Picks in labelling order (round, then rank; control picks mixed in), of one round if named.

    Round 0 holds the test split.
    """
    query = (
        select(
            Pick.id,
            Pick.item_id,
            Round.number,
            Pick.arm,
            Pick.rank,
            Pick.score,
            Item.row,
            Item.key,
            Item.uri,
            Pick.draw,
        )
        .join(Round, Round.id == Pick.round_id)
        .join(Item, Item.id == Pick.item_id)
        .where(Round.pool_id == pool_id)
        .order_by(Round.number, Pick.rank, Pick.arm)
    )
    if number is not None:
        query = query.where(Round.number == number)
    return [Picked(*cast(tuple[Any, ...], row)) for row in session.execute(query)]


def pick_ids(session: Session, pool_id: int, rows: Sequence[int]) -> dict[int, int]:
    """Array row -> pick id of those of these rows that are picked."""
    ids: dict[int, int] = {}
    for start in range(0, len(rows), CHUNK):
        chunk = (
            select(Item.row, Pick.id)
            .join(Pick, Pick.item_id == Item.id)
            .where(Item.pool_id == pool_id, Item.row.in_(rows[start : start + CHUNK]))
        )
        ids.update((int(row), int(pick_id)) for row, pick_id in session.execute(chunk))
    return ids


def sample_rows(session: Session, pool_id: int) -> NDArray[np.int64]:
    """Array rows of the random sample, in the order drawn; none where test images measure."""
    rows = session.scalars(
        select(Item.row)
        .join(Pick, Pick.item_id == Item.id)
        .join(Round, Round.id == Pick.round_id)
        .where(Round.pool_id == pool_id, Pick.draw.is_not(None))
        .order_by(Pick.draw)
    )
    return np.fromiter(rows, dtype=np.int64)


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
    items = session.execute(
        select(Pick.id, Item.key, Item.uri)
        .join(Sent, Sent.pick_id == Pick.id)
        .join(Item, Item.id == Pick.item_id)
        .where(Sent.batch_uuid == uuid)
        .order_by(Sent.id)
    )
    return [(pick_id, key, uri) for pick_id, key, uri in items]


def remote_ids(session: Session, connector: str, round_id: int | None = None) -> dict[str, str]:
    """Item key -> remote id of what is at this labeler, of one round or of all."""
    tasks = (
        select(Item.key, Sent.remote_id)
        .join(Pick, Pick.item_id == Item.id)
        .join(Sent, Sent.pick_id == Pick.id)
        .join(Batch, Batch.uuid == Sent.batch_uuid)
        .where(Sent.remote_id.is_not(None), Batch.connector == connector)
    )
    if round_id is not None:
        tasks = tasks.where(Pick.round_id == round_id)
    return {str(key): str(task) for key, task in session.execute(tasks)}


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
    connector: str


def by_people(answers: Iterable[Answer]) -> list[Answer]:
    """Without labels that came with the images (of a test folder): they took nobody's time."""
    return [answer for answer in answers if answer.connector != SOURCE]


def _given() -> Any:
    """When an annotation was made: by the labeler's clock, else when it was first seen."""
    return func.coalesce(Annotation.at, Annotation.seen_at)


def _stands() -> Any:
    """That a newest version is an answer: neither deleted nor odd."""
    return and_(~Annotation.deleted, Annotation.problem.is_(None))


def _newest_versions() -> Any:
    """Ids of the newest version of every annotation, as a table to join with: SQLite would ask for
    each of many rows whether it is in a list."""
    return (
        select(func.max(Annotation.id).label("id"))
        .group_by(Annotation.connector, Annotation.external_id)
        .subquery()
    )


def standing(session: Session, pool_id: int) -> list[Answer]:
    """Every annotation that stands now, by the time it was made, oldest first: its newest version,
    deleted and odd ones left out. Costs what there are annotations, however many images.

    SQLite 3.40: SCAN annotation (its index of versions), SEARCH annotation, item (by id).
    """
    newest = _newest_versions()
    annotations = session.execute(
        select(
            Annotation.item_id,
            Item.row,
            Item.key,
            Annotation.annotator,
            Annotation.label,
            Annotation.seconds,
            Annotation.cancelled,
            Annotation.at,
            Annotation.external_id,
            Annotation.connector,
        )
        .join(newest, newest.c.id == Annotation.id)
        .join(Item, Item.id == Annotation.item_id)
        .where(_of_pool(pool_id), _stands())
        .order_by(_given(), Annotation.id)
    )
    return [Answer(*tuple(annotation)) for annotation in annotations]


def _of_pool(pool_id: int) -> Any:
    """That an item is of a pool, as an expression: by its index of pools, SQLite would begin at
    all items of the pool and not at the few that are joined."""
    return Item.pool_id + 0 == pool_id


def answers(session: Session, pool_id: int) -> list[Answer]:
    """What each person says now, oldest first: of several annotations by one person on one item the
    newest, labels before skips."""
    current: dict[tuple[int, str], Answer] = {}
    for answer in standing(session, pool_id):
        who = answer.item_id, answer.annotator
        before = current.get(who)
        if before is None or answer.label is not None or before.label is None:
            current.pop(who, None)
            current[who] = answer
    return list(current.values())


def tallies(
    session: Session, pool_id: int, classes: Sequence[str], overlap: int
) -> dict[int, tuple[int, int, int]]:
    """Round number -> (picks, picks that wait for answers, picks with skips only), counted by the
    database; the same as counting over ``answers``."""
    newest = _newest_versions()
    rank = func.row_number().over(
        partition_by=(Annotation.item_id, Annotation.annotator),
        order_by=(Annotation.label.is_(None), _given().desc(), Annotation.id.desc()),
    )
    seen = (
        select(Annotation.item_id, Annotation.label, Annotation.cancelled, rank.label("rank"))
        .join(newest, newest.c.id == Annotation.id)
        .where(_stands())
        .subquery()
    )

    def count(when: Any) -> Any:
        return func.sum(case((when, 1), else_=0))

    given = (
        select(
            seen.c.item_id,
            func.count().label("people"),
            count(seen.c.label.in_(classes)).label("labels"),
            count(or_(seen.c.cancelled, seen.c.label.is_(None))).label("skips"),
        )
        .where(seen.c.rank == 1)
        .group_by(seen.c.item_id)
        .subquery()
    )
    labels, skips = func.coalesce(given.c.labels, 0), func.coalesce(given.c.skips, 0)
    done = or_(labels >= overlap, and_(labels > 0, given.c.people >= overlap))
    skipped = and_(~done, labels == 0, skips >= overlap)
    tallies = session.execute(
        select(Round.number, func.count(), count(and_(~done, ~skipped)), count(skipped))
        .join(Pick, Pick.round_id == Round.id)
        .outerjoin(given, given.c.item_id == Pick.item_id)
        .where(Round.pool_id == pool_id)
        .group_by(Round.number)
    )
    return {number: (int(picks), int(wait), int(skip)) for number, picks, wait, skip in tallies}


def odd_annotations(session: Session, pool_id: int) -> list[tuple[Annotation, str]]:
    """(newest version, uri) of every annotation that could not be read as an answer."""
    newest = _newest_versions()
    odd = session.execute(
        select(Annotation, Item.uri)
        .join(newest, newest.c.id == Annotation.id)
        .join(Item, Item.id == Annotation.item_id)
        .where(Annotation.problem.is_not(None), ~Annotation.deleted, _of_pool(pool_id))
        .order_by(Annotation.id)
    )
    return [(annotation, uri) for annotation, uri in odd]


def held_annotations(session: Session, connector: str) -> int:
    """Annotations of a connector that have not been deleted there, odd ones too."""
    newest = _newest_versions()
    held = (
        select(func.count())
        .select_from(Annotation)
        .join(newest, newest.c.id == Annotation.id)
        .where(Annotation.connector == connector, ~Annotation.deleted)
    )
    return int(session.scalar(held) or 0)


def sent_batches(session: Session) -> list[str]:
    """Uuids of batches that were sent, or may have been, oldest first."""
    first = select(func.min(Sent.id)).where(Sent.batch_uuid == Batch.uuid).scalar_subquery()
    return list(session.scalars(select(Batch.uuid).where(Batch.state != "PLANNED").order_by(first)))


def newest_annotations(
    session: Session, connector: str, keys: Sequence[str]
) -> list[tuple[Annotation, str]]:
    """(newest version, item key) of every annotation of these items.

    SQLite 3.40: SEARCH item (its index of keys), annotation (its index of items), and for each
    annotation the index of its versions.
    """
    pool_id = the_pool(session).id
    newer = aliased(Annotation)
    newest = (
        select(func.max(newer.id))
        .where(newer.connector == Annotation.connector, newer.external_id == Annotation.external_id)
        .scalar_subquery()
    )
    annotations = session.execute(
        select(Annotation, Item.key)
        .join(Item, Item.id == Annotation.item_id)
        .where(
            Item.pool_id == pool_id,
            Item.key.in_(keys),
            Annotation.connector == connector,
            Annotation.id == newest,
        )
    )
    return [(annotation, key) for annotation, key in annotations]


def runs(session: Session, pool_id: int, arm: str | None = None) -> list[tuple[int, TrainingRun]]:
    """(round number, run), oldest first, of one arm if named."""
    query = (
        select(Round.number, TrainingRun)
        .join(Round, Round.id == TrainingRun.round_id)
        .where(Round.pool_id == pool_id)
        .order_by(Round.number, TrainingRun.id)
    )
    if arm is not None:
        query = query.where(TrainingRun.arm == arm)
    return [(number, run) for number, run in session.execute(query)]


def counts(session: Session, pool_id: int) -> dict[str, Any]:
    """Row counts for ``status``."""

    def count(query: Any) -> int:
        return int(session.scalar(query) or 0)

    images, test = item_count(session, pool_id), item_count(session, pool_id, "test")
    return {
        "images": images,
        "pool": images - test,
        "test": test,
        "duplicates": count(select(func.count()).select_from(Duplicate)),
        "unreadable": count(select(func.count()).select_from(Unreadable)),
        "sample": count(select(func.count()).select_from(Pick).where(Pick.draw.is_not(None))),
        "picked": count(select(func.count()).select_from(Pick).where(Pick.arm != "test")),
        "annotations": count(select(func.count()).select_from(Annotation)),
    }


def known_labels(session: Session, pool_id: int) -> dict[str, str]:
    """Key -> class that a labelled source stated. Only the oracle and ``simulate`` ask this."""
    labels = session.execute(
        select(Item.key, Item.known_label).where(
            Item.pool_id == pool_id, Item.known_label.is_not(None)
        )
    )
    return {key: str(label) for key, label in labels}


def row_keys(session: Session, pool_id: int) -> dict[int, str]:
    """Array row -> item key."""
    keys = session.execute(select(Item.row, Item.key).where(Item.pool_id == pool_id))
    return {int(row): str(key) for row, key in keys}


def row_uris(session: Session, pool_id: int, rows: Sequence[int] | None = None) -> dict[int, str]:
    """Array row -> uri, of all rows or of these."""
    return {row: uri for row, _, uri in row_names(session, pool_id, rows)}


def row_names(
    session: Session, pool_id: int, rows: Sequence[int] | None = None
) -> list[tuple[int, str, str]]:
    """(array row, item key, uri) of all rows or of these."""
    query = select(Item.row, Item.key, Item.uri).where(Item.pool_id == pool_id)
    if rows is None:
        chunks = [query]
    else:
        chunks = [
            query.where(Item.row.in_(rows[start : start + CHUNK]))
            for start in range(0, len(rows), CHUNK)
        ]
    return [
        (int(row), str(key), str(uri))
        for chunk in chunks
        for row, key, uri in session.execute(chunk)
    ]
