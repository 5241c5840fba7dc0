"""Questions asked of the records more than once. Nothing here writes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, exists, func, or_, select
from sqlalchemy.orm import Session

from db.errors import Missing
from db.models import (
    Absence,
    Annotation,
    Array,
    Batch,
    Duplicate,
    Event,
    Item,
    Pick,
    Pool,
    Promise,
    Round,
    Sent,
    TrainingRun,
    Unreadable,
)

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


def promises(session: Session, pool_id: int) -> Sequence[Promise]:
    """All promises, oldest first."""
    return session.scalars(
        select(Promise)
        .join(Round, Round.id == Promise.round_id)
        .where(Round.pool_id == pool_id)
        .order_by(Promise.look)
    ).all()


def promise_of(session: Session, round_id: int) -> Promise | None:
    """The promise that a round belongs to, by its calibration sample or by what is left."""
    of_round = or_(Promise.round_id == round_id, Promise.rest_id == round_id)
    return session.scalar(select(Promise).where(of_round))


def picking_rounds(session: Session, pool_id: int) -> int:
    """Rounds whose picks a scorer chose, the open one too."""
    of_promise = exists().where(or_(Promise.round_id == Round.id, Promise.rest_id == Round.id))
    query = select(func.count()).where(
        Round.pool_id == pool_id, Round.number > 0, Round.budget > 0, ~of_promise
    )
    return int(session.scalar(query) or 0)


def item_count(session: Session, pool_id: int, split: str | None = None) -> int:
    """Images in the pool's records, of one split if named."""
    if split is None:  # rows are 0, 1, 2, ...: the last is found by index
        last = session.scalar(select(func.max(Item.row)).where(Item.pool_id == pool_id))
        return 0 if last is None else int(last) + 1
    query = select(func.count()).where(Item.pool_id == pool_id, Item.split == split)
    return int(session.scalar(query) or 0)


def image_count(session: Session, pool_id: int, split: str | None = None) -> int:
    """Images that are not passed over, of one split if named."""
    of_pool = select(func.count()).select_from(Absence).join(Item, Item.id == Absence.item_id)
    absent = of_pool.where(Item.pool_id == pool_id)
    if split is not None:
        absent = absent.where(Item.split == split)
    return item_count(session, pool_id, split) - int(session.scalar(absent) or 0)


def present() -> ColumnElement[bool]:
    """That an item is not passed over."""
    return Item.id.not_in(select(Absence.item_id))


def absences(session: Session, pool_id: int) -> dict[int, str]:
    """Array row -> why it is passed over, ``gone`` or ``excluded``."""
    rows = session.execute(
        select(Item.row, Absence.why)
        .join(Item, Item.id == Absence.item_id)
        .where(Item.pool_id == pool_id)
    )
    return {int(row): str(why) for row, why in rows}


def split_rows(
    session: Session, pool_id: int, split: str, *, absent: bool = False
) -> NDArray[np.int64]:
    """Array rows of a split, ascending; with ``absent`` also those passed over."""
    query = select(Item.row).where(Item.pool_id == pool_id, Item.split == split)
    if not absent:
        query = query.where(present())
    return np.fromiter(session.scalars(query.order_by(Item.row)), dtype=np.int64)


def pool_places(session: Session, pool_id: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """(k,) where array rows stand among all of the pool's split, test images not counted, and those
    passed over counted: a place never changes."""
    test_rows = split_rows(session, pool_id, "test", absent=True)
    return np.asarray(rows - np.searchsorted(test_rows, rows), dtype=np.int64)


def item_ids(session: Session, pool_id: int, rows: Sequence[int]) -> dict[int, int]:
    """Array row -> item id of these rows."""
    ids: dict[int, int] = {}
    for start in range(0, len(rows), CHUNK):
        chunk = select(Item.row, Item.id).where(
            Item.pool_id == pool_id, Item.row.in_(rows[start : start + CHUNK])
        )
        ids.update((int(row), int(item_id)) for row, item_id in session.execute(chunk))
    return ids


def picked_rows(
    session: Session, pool_id: int, *, by_scorer: bool = False, before: int | None = None
) -> NDArray[np.int64]:
    """Array rows picked for labelling in any round, or labelled before anybody asked, without those
    passed over (the test split is not among them).

    Args:
        by_scorer: without those that the random sample alone picked.
        before: in rounds before the one of this number.
    """
    others = ("test", "sample") if by_scorer else ("test",)
    query = (
        select(Item.row)
        .join(Pick, Pick.item_id == Item.id)
        .join(Round, Round.id == Pick.round_id)
        .where(Round.pool_id == pool_id, Pick.arm.not_in(others), present())
    )
    if by_scorer:  # the sample's label of an image is not shown, whoever gave it
        query = query.where(or_(Pick.arm != "before", Pick.draw.is_(None)))
    if before is not None:
        query = query.where(Round.number < before)
    return np.sort(np.fromiter(session.scalars(query), dtype=np.int64))


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

    @property
    def at_random(self) -> bool:
        """Whether it is of the random sample and was as likely to be drawn as any other image; see
        ``sample_draws``."""
        by_doubt = self.arm == "sample" and self.score > 0
        return self.draw is not None and not by_doubt


def picks(
    session: Session, pool_id: int, number: int | None = None, *, absent: bool = False
) -> list[Picked]:
    """Picks in labelling order (round, then rank; control picks mixed in), of one round if named.

    Round 0 holds the test split. With ``absent`` also those of images that are passed over.
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
    if not absent:
        query = query.where(present())
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
    """Array rows of the random sample, in the order drawn; none where test images measure.

    Images that are passed over have left the pool and the sample: as none of them was likelier in
    the one than in the other, the sample stays a random one of those that are left.
    """
    rows = session.scalars(
        select(Item.row)
        .join(Pick, Pick.item_id == Item.id)
        .join(Round, Round.id == Pick.round_id)
        .where(Round.pool_id == pool_id, Pick.draw.is_not(None), present())
        .order_by(Pick.draw)
    )
    return np.fromiter(rows, dtype=np.int64)


def sample_draws(session: Session, pool_id: int) -> list[tuple[int, float, int]]:
    """(array row, probability, batch) of each image of the random sample, in the order drawn.

    A draw by doubt says with its score how much likelier than others an image was; its batch is the
    number of its round. What was drawn at random has none, batch 0.
    """
    drawn = session.execute(
        select(Item.row, Pick.probability, Pick.arm, Pick.score, Round.number)
        .join(Pick, Pick.item_id == Item.id)
        .join(Round, Round.id == Pick.round_id)
        .where(Round.pool_id == pool_id, Pick.draw.is_not(None), present())
        .order_by(Pick.draw)
    )
    return [
        (row, float(probability or 0), number if arm == "sample" and score > 0 else 0)
        for row, probability, arm, score, number in drawn
    ]


def round_rows(session: Session, round_id: int) -> NDArray[np.int64]:
    """Array rows of a round's picks, in labelling order."""
    rows = session.scalars(
        select(Item.row)
        .join(Pick, Pick.item_id == Item.id)
        .where(Pick.round_id == round_id)
        .order_by(Pick.rank, Pick.arm)
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


def next_draw(session: Session) -> int:
    """The first place in the random sample that no image has had."""
    last = session.scalar(select(func.max(Pick.draw)))
    return 0 if last is None else int(last) + 1


def batch_items(session: Session, uuid: str) -> list[tuple[int, str, str]]:
    """(pick id, key, uri) of a batch in labelling order, without images passed over."""
    items = session.execute(
        select(Pick.id, Item.key, Item.uri)
        .join(Sent, Sent.pick_id == Pick.id)
        .join(Item, Item.id == Pick.item_id)
        .where(Sent.batch_uuid == uuid, present())
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


def sent_picks(session: Session) -> set[int]:
    """Ids of the picks that were sent to a labeler, or may have been."""
    batch = select(Sent.pick_id).join(Batch, Batch.uuid == Sent.batch_uuid)
    return set(session.scalars(batch.where(Batch.state != "PLANNED")))


def sent_batches(session: Session) -> list[str]:
    """Uuids of batches that were sent, or may have been, oldest first."""
    first = select(func.min(Sent.id)).where(Sent.batch_uuid == Batch.uuid).scalar_subquery()
    return list(session.scalars(select(Batch.uuid).where(Batch.state != "PLANNED").order_by(first)))


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


def changes(session: Session) -> tuple[Any, ...]:
    """Equal where nothing was stored in between; a few look-ups at the ends of indices."""
    newest = [
        select(func.max(table.id)) for table in (Annotation, Event, Item, Pick, TrainingRun, Array)
    ]
    moments = [
        select(func.max(moment))
        for moment in (Round.updated_at, Batch.updated_at, TrainingRun.created_at, Array.created_at)
    ]
    counts = [
        select(func.count()).select_from(table) for table in (Pick, Sent, Unreadable, Absence)
    ]
    digests = select(func.min(Pool.digest))
    return tuple(session.scalar(query) for query in (*newest, *moments, *counts, digests))


def round_batches(session: Session, round_id: int) -> list[str]:
    """Uuids of the batches of a round that were sent, in labelling order."""
    first = select(func.min(Sent.id)).where(Sent.batch_uuid == Batch.uuid).scalar_subquery()
    sent = select(Batch.uuid).where(Batch.round_id == round_id, Batch.state != "PLANNED")
    return list(session.scalars(sent.order_by(first)))


def unreadable_files(session: Session, pool_id: int) -> list[tuple[str, str]]:
    """(uri, reason) of files that are no usable image, by uri."""
    files = select(Unreadable.uri, Unreadable.reason).where(Unreadable.pool_id == pool_id)
    return [(uri, reason) for uri, reason in session.execute(files.order_by(Unreadable.uri))]


def counts(session: Session, pool_id: int) -> dict[str, Any]:
    """Row counts for ``status``."""

    def count(query: Any) -> int:
        return int(session.scalar(query) or 0)

    images, test = image_count(session, pool_id), image_count(session, pool_id, "test")
    absent = list(absences(session, pool_id).values())
    picks = select(func.count()).select_from(Pick)
    picks = picks.where(Pick.item_id.not_in(select(Absence.item_id)))
    return {
        "images": images,
        "pool": images - test,
        "test": test,
        "gone": absent.count("gone"),
        "excluded": absent.count("excluded"),
        "duplicates": count(select(func.count()).select_from(Duplicate)),
        "unreadable": count(select(func.count()).select_from(Unreadable)),
        "sample": count(picks.where(Pick.draw.is_not(None))),
        "picked": count(picks.where(Pick.arm.not_in(("test", "before")))),
        "labelled before": count(picks.where(Pick.arm == "before")),
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


def key_uris(session: Session, pool_id: int, keys: Collection[str]) -> dict[str, str]:
    """Item key -> uri, of those of these keys that are known."""
    wanted = sorted(keys)
    uris: dict[str, str] = {}
    for start in range(0, len(wanted), CHUNK):
        chunk = Item.key.in_(wanted[start : start + CHUNK])
        named = select(Item.key, Item.uri).where(Item.pool_id == pool_id, chunk)
        uris |= {str(key): str(uri) for key, uri in session.execute(named)}
    return uris


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
