"""scan: images -> items, one per distinct content, and the test split, fixed before round 1."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from connectors.base import Image, SourceError, Unreadable
from connectors.folder import content_key
from db import models, queries
from db.models import Annotation, Duplicate, Item, Pick, Pool, Round
from db.soundness import pool_digest
from db.state import Records, log
from loop.errors import DataError
from loop.project import Project
from loop.seeds import generator
from loop.steps.opened import source, versions, writing

CHUNK, PATIENCE = 250_000, 3.0
"""Rows and seconds per transaction, whichever ends first: a killed scan goes on behind the last.
Keys are hashes, so a transaction writes most pages of their index, however few its rows are."""


@dataclass(frozen=True)
class Scanned:
    """Counts after a scan."""

    images: int
    added: int
    test: int
    duplicates: int
    unreadable: list[tuple[str, str]]


def scan(
    project: Project,
    on_progress: Callable[[int], None] = lambda n: None,
    workers: int | None = None,
) -> Scanned:
    """Adds images that are not recorded yet; the first scan also fixes the test split.

    Args:
        on_progress: told the number of newly looked at images.
        workers: processes that decode and hash; default: one per core.

    Raises:
        SourceError: the folder or file cannot be read.
        DataError: there is no usable image.
    """
    with writing(project) as records:
        pool_id = _pool(project, records)
        with records.read() as session:
            before = queries.item_count(session, pool_id)
            seen = _uris(session, pool_id)
            known = set(session.scalars(select(Item.key).where(Item.pool_id == pool_id)))
        if workers is None:
            workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        images = source(project)
        found = images.scan(workers=workers, skip=seen)
        bad: set[str] = set()
        for chunk in _chunks(found):
            bad |= {one.uri for one in chunk if isinstance(one, Unreadable)}
            with records.write("scan-chunk") as session:
                _save(session, pool_id, chunk, known)
            on_progress(len(chunk))
        with records.write("scan") as session:
            if queries.item_count(session, pool_id) == 0:
                raise DataError(
                    f"no usable image in {project.path(project.config.pool.path)}; "
                    f"{_unreadable_hint(session, pool_id)}"
                )
            _fix_test_split(session, project, pool_id)
            _forget_mended(session, pool_id, bad)
            _follow_copies(session, images.read)
            _digest(session, pool_id)
            result = _scanned(session, pool_id, before)
            log(session, "scan", f"{result.added} new images, {result.images} in all")
        return result


def _chunks(found: Iterable[Image | Unreadable]) -> Iterator[list[Image | Unreadable]]:
    chunk, began = [], time.monotonic()
    for one in found:
        chunk.append(one)
        if len(chunk) >= CHUNK or time.monotonic() - began > PATIENCE:
            yield chunk
            chunk, began = [], time.monotonic()
    if chunk:
        yield chunk


def _pool(project: Project, records: Records) -> int:
    with records.write("scan-pool") as session:
        pool = session.scalar(select(Pool))
        if pool is None:
            pool = Pool(name=project.config.project.name, source={"marker": uuid.uuid4().hex})
            session.add(pool)
        if not pool.digest:  # nothing was found in what an earlier config named
            pool.source = {**pool.source, **project.config.pool.model_dump()}
        session.flush()
        return pool.id


def _uris(session: Session, pool_id: int) -> set[str]:
    items = session.scalars(select(Item.uri).where(Item.pool_id == pool_id))
    return {*items, *session.scalars(select(Duplicate.uri))}


def _save(
    session: Session,
    pool_id: int,
    chunk: list[Image | Unreadable],
    known: set[str],
) -> None:
    """Stores a chunk; ``known`` holds the keys of all items, whose rows are 0, 1, 2, ..."""
    items: list[dict[str, Any]] = []
    copies: list[Image] = []
    for image in chunk:
        if not isinstance(image, Image):
            continue
        if image.key in known:
            copies.append(image)
            continue
        items.append(
            {
                "pool_id": pool_id,
                "row": len(known),
                "key": image.key,
                "uri": image.uri,
                "split": image.split,
                "known_label": image.label,
            }
        )
        known.add(image.key)
    if items:
        session.execute(insert(Item.__table__), items)  # type: ignore[arg-type]
    split_is_fixed = bool(copies) and queries.newest_round(session, pool_id) is not None
    for copy in copies:
        _save_copy(session, pool_id, copy, split_is_fixed)
    _save_unreadable(session, pool_id, [o for o in chunk if isinstance(o, Unreadable)])


def _save_copy(session: Session, pool_id: int, copy: Image, split_is_fixed: bool) -> None:
    """Another file with the bytes of an item."""
    item = session.scalars(select(Item).where(Item.pool_id == pool_id, Item.key == copy.key)).one()
    session.add(Duplicate(item_id=item.id, uri=copy.uri, known_label=copy.label))
    if copy.split == "test" and item.split == "pool" and not split_is_fixed:
        item.split = "test"  # an image of the test split must never be picked
        item.known_label = copy.label
    session.flush()


def _follow_copies(session: Session, read: Callable[[str], bytes]) -> None:
    """An item whose own file has gone, renamed or deleted, goes by another with the same bytes; in
    another class's folder it has that label."""
    for copy in session.scalars(select(Duplicate).order_by(Duplicate.id)).all():
        item = session.get_one(Item, copy.item_id)
        if _content(read, item.uri) is None and _content(read, copy.uri) == item.key:
            item.uri = copy.uri
            item.known_label = copy.known_label or item.known_label
            session.delete(copy)
    session.flush()


def _content(read: Callable[[str], bytes], uri: str) -> str | None:
    """Key of what a file holds; None if it has gone."""
    try:
        return content_key(read(uri))
    except SourceError:
        return None


def _forget_mended(session: Session, pool_id: int, bad: set[str]) -> None:
    """Files that were unreadable and are not any more, or have gone: all are looked at again."""
    for row in session.scalars(
        select(models.Unreadable).where(models.Unreadable.pool_id == pool_id)
    ):
        if row.uri not in bad:
            session.delete(row)
    session.flush()


def _save_unreadable(session: Session, pool_id: int, bad: list[Unreadable]) -> None:
    for one in bad:
        row = session.scalar(
            select(models.Unreadable).where(
                models.Unreadable.pool_id == pool_id, models.Unreadable.uri == one.uri
            )
        )
        if row is None:
            row = models.Unreadable(pool_id=pool_id, uri=one.uri)
            session.add(row)
        row.reason = one.reason
    session.flush()


def _fix_test_split(session: Session, project: Project, pool_id: int) -> None:
    """Round 0: the items to measure on. A labelled test folder is answered by its source."""
    if queries.newest_round(session, pool_id) is not None:
        return
    config = project.config
    given = session.execute(
        select(Item.id, Item.key, Item.known_label)
        .where(Item.pool_id == pool_id, Item.split == "test")
        .order_by(Item.row)
    ).all()
    total = queries.item_count(session, pool_id)
    chosen = [item_id for item_id, _, _ in given]
    if not given:
        size = min(config.pool.test, total // 5)
        if not size:
            raise DataError(
                f"{total} images are too few: a fifth of them is kept for testing, and that is "
                "none; 5 are needed"
            )
        rows = generator(config.project.seed, "test split").permutation(total)[:size].tolist()
        ids: dict[int, int] = {}
        for start in range(0, size, 500):
            mine = (Item.pool_id == pool_id) & Item.row.in_(rows[start : start + 500])
            ids.update(
                (row, i) for row, i in session.execute(select(Item.row, Item.id).where(mine))
            )
            session.execute(update(Item).where(mine).values(split="test"))
        chosen = [ids[row] for row in rows]
    labelled = bool(given) and all(label is not None for _, _, label in given)
    round0 = Round(
        pool_id=pool_id,
        number=0,
        seed=config.project.seed,
        budget=len(chosen),
        config=config.public(),
        versions=versions(),
        state="labeled" if labelled or not chosen else "selected",
    )
    session.add(round0)
    session.flush()
    if chosen:
        session.execute(
            insert(Pick),
            [
                {"round_id": round0.id, "item_id": i, "arm": "test", "rank": r, "score": 0.0}
                for r, i in enumerate(chosen)
            ],
        )
    if labelled:
        session.execute(
            insert(Annotation),
            [
                {
                    "item_id": item_id,
                    "connector": queries.SOURCE,
                    "external_id": key,
                    "version": "1",
                    "annotator": queries.SOURCE,
                    "label": label,
                }
                for item_id, key, label in given
            ],
        )


def _digest(session: Session, pool_id: int) -> None:
    digest = pool_digest(session, pool_id)
    session.execute(update(Pool).where(Pool.id == pool_id).values(digest=digest))


def _scanned(session: Session, pool_id: int, before: int) -> Scanned:
    counts = queries.counts(session, pool_id)
    bad = session.execute(
        select(models.Unreadable.uri, models.Unreadable.reason).order_by(models.Unreadable.uri)
    )
    return Scanned(
        counts["images"],
        counts["images"] - before,
        counts["test"],
        counts["duplicates"],
        [(uri, reason) for uri, reason in bad],
    )


def _unreadable_hint(session: Session, pool_id: int) -> str:
    bad = session.execute(select(models.Unreadable.uri, models.Unreadable.reason).limit(3)).all()
    if not bad:
        return "check 'path' under [pool] in coreloop.toml"
    return "unreadable: " + "; ".join(f"{uri} ({reason})" for uri, reason in bad)
