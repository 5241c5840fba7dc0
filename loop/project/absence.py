"""Images that are passed over: noted when their files have gone, taken back with them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from connectors.base import Source, SourceError
from db import arrays, queries
from db.errors import DbError
from db.models import Absence, Array, Item, Pick, Round, Sent
from db.state import Records, log
from loop.project.project import Project
from loop.wording import agreeing, counted


class NamedItem(NamedTuple):
    """An image by its id in the records."""

    id: int
    row: int
    key: str
    uri: str


def items_present(session: Session, pool_id: int) -> list[NamedItem]:
    """All images that are not passed over, in row order."""
    items = session.execute(
        select(Item.id, Item.row, Item.key, Item.uri)
        .where(Item.pool_id == pool_id, queries.present())
        .order_by(Item.row)
    )
    return [NamedItem(id_, row, key, uri) for id_, row, key, uri in items]


def gone_among(source: Source, items: Sequence[NamedItem]) -> list[NamedItem]:
    """Those whose file is not there any more.

    Raises:
        SourceError: the folder is not there, or none of several images is, as where a disk is not
            mounted: then nothing is passed over.
    """
    missing = set(source.missing(item.uri for item in items))
    if len(items) > 1 and len({item.uri for item in items} - missing) == 0:
        raise SourceError(
            f"none of {len(items)} images is where it was, {items[0].uri} for one; is the disk "
            "there? Nothing was changed; 'path' under [pool] in coreloop.toml says where they are"
        )
    return [item for item in items if item.uri in missing]


def pass_over_deleted(records: Records, source: Source, round_: Round) -> list[str]:
    """Passes over the picks of a round whose tasks were deleted where the images themselves are
    tasks; their uris."""
    with records.read() as session:
        picked = select(Pick.item_id).where(Pick.round_id == round_.id)
        items = session.execute(
            select(Item.id, Item.row, Item.key, Item.uri)
            .where(Item.id.in_(picked), queries.present())
            .order_by(Item.row)
        )
        picks = [NamedItem(id_, row, key, uri) for id_, row, key, uri in items]
    gone = gone_among(source, picks)
    if gone:
        with records.write("deleted-tasks") as session:
            ids = [item.id for item in gone]
            pass_over(session, ids, "gone")
            sent = select(Pick.id).where(Pick.item_id.in_(ids))
            session.execute(update(Sent).where(Sent.pick_id.in_(sent)).values(remote_id=None))
            tasks = f"{counted(len(gone), 'task')} {agreeing(len(gone), 'was')} deleted"
            text = f"{tasks}, passed over from now on: {named(gone)}"
            log(session, "pull", text, round=round_.number, level="warning")
    return [item.uri for item in gone]


def pass_over(session: Session, item_ids: Iterable[int], why: str) -> None:
    """Notes that images are passed over; what was noted of them before is replaced."""
    ids = list(item_ids)
    if not ids:
        return
    for start in range(0, len(ids), queries.CHUNK):
        part = ids[start : start + queries.CHUNK]
        session.execute(delete(Absence).where(Absence.item_id.in_(part)))
    at = datetime.now(UTC)
    session.execute(insert(Absence), [{"item_id": id_, "why": why, "at": at} for id_ in ids])


def take_back(session: Session, project: Project, item_ids: Collection[int]) -> None:
    """Ends the absence of images. Where they were never embedded, the embeddings are let go, so
    that the next ``embed`` adds theirs."""
    ids = list(item_ids)
    for start in range(0, len(ids), queries.CHUNK):
        part = ids[start : start + queries.CHUNK]
        session.execute(delete(Absence).where(Absence.item_id.in_(part)))
    pool = queries.the_pool(session)
    rows = np.array(_rows_of(session, ids), dtype=np.int64)
    embedded = select(Array).where(
        Array.pool_id == pool.id, Array.kind == "embeddings", Array.of == pool.digest
    )
    for array in session.scalars(embedded).all():
        try:
            values = arrays.load(array, project.arrays)
        except DbError:  # 'coreloop doctor' says so
            continue
        if len(rows) and np.isnan(values[rows[rows < len(values)]]).any():
            session.delete(array)
    session.flush()


def _rows_of(session: Session, ids: Sequence[int]) -> list[int]:
    rows: list[int] = []
    for start in range(0, len(ids), queries.CHUNK):
        part = ids[start : start + queries.CHUNK]
        rows += session.scalars(select(Item.row).where(Item.id.in_(part)))
    return rows


def named(items: Sequence[NamedItem | str], most: int = 5) -> str:
    """The first of them by name, and how many more there are."""
    uris = [item if isinstance(item, str) else item.uri for item in items]
    more = f" and {len(uris) - most} more" if len(uris) > most else ""
    return ", ".join(uris[:most]) + more
