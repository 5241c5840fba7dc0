"""scan: images -> items, one per distinct content, and the test split, fixed before round 1."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from connectors.base import ConnectorError, Image, PassedOver, Source, SourceError, UnreadableFile
from connectors.folder import content_key
from db import models, queries
from db.models import Absence, Duplicate, Item, Pool
from db.soundness import pool_digest
from db.state import Records, log
from loop.class_spelling import spelling
from loop.errors import ConfigError, DataError
from loop.project import Project
from loop.project.absence import NamedItem, gone_among, items_present, named, pass_over, take_back
from loop.project.before import labels_before, read_before
from loop.project.holdout import fix_test_split
from loop.project.near_duplicates import find_duplicates
from loop.project.quality import measure_pictures, quality
from loop.project.refused import note_asked, refused
from loop.project.remarks import keep_passed_over, passed_over, two_labels
from loop.quality import Quality
from loop.steps.embed import embed
from loop.wording import agreeing, counted

CHUNK, PATIENCE = 250_000, 3.0
"""Rows and seconds per transaction, whichever ends first: a killed scan goes on behind the last.
Keys are hashes, so a transaction writes most pages of their index, however few its rows are."""


@dataclass(frozen=True)
class Scanned:
    """Counts after a scan, without absent images; ``unreadable`` are (uri, reason), ``passed_over``
    what is no image of the pool, ``two_labels`` (file, class, file with the same bytes, its class);
    ``gone`` the images whose files have gone since the last scan, ``back`` those that are there
    again; ``labelled_before`` those that people had labelled unasked; ``refused`` those of
    ``unreadable`` that were not asked for again."""

    images: int
    added: int
    test: int
    duplicates: int
    unreadable: list[tuple[str, str]]
    passed_over: tuple[PassedOver, ...] = ()
    two_labels: tuple[tuple[str, str, str, str], ...] = ()
    gone: tuple[str, ...] = ()
    back: tuple[str, ...] = ()
    labelled_before: int = 0
    refused: int = 0


def scan(
    project: Project,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int | None = None,
    *,
    again: bool = False,
) -> Scanned:
    """Adds images that are not recorded yet; the first scan also fixes the test split. Images whose
    files have gone are passed over from now on, those whose files are there again taken back.

    Args:
        on_progress: told how many images were looked at so far; how many there are (0) is unknown.
        workers: processes that decode and hash; default: one per core.
        again: ask for images too that a server refused less than a day ago.

    Raises:
        SourceError: the folder or file cannot be read, or not one image is where it was.
        DataError: there is no usable image.
    """
    with project.writing() as records:
        pool_id = _pool(project, records)
        with records.read() as session:
            before = queries.item_count(session, pool_id)
            known_uris = _uris(session, pool_id)
            away = _gone_before(session, pool_id)
            keys = set(session.scalars(select(Item.key).where(Item.pool_id == pool_id)))
            not_asked = refused(session, pool_id, again=again)
        source = project.source
        spelled = spelling(project.config.project.classes)
        scanned = source.scan(
            workers=_cores() if workers is None else workers, skip=known_uris | not_asked
        )
        unreadable: set[str] = set()
        seen: set[str] = set()
        looked_at = 0
        for chunk in _chunks(scanned):
            unreadable |= {file.uri for file in chunk if isinstance(file, UnreadableFile)}
            seen |= away.keys() & {file.key for file in chunk if isinstance(file, Image)}
            new = [_spelled(file, spelled) for file in chunk if not _is_back(file, away)]
            with records.write("scan-chunk") as session:
                _save(session, pool_id, new, keys)
            looked_at += len(chunk)
            on_progress(looked_at, 0)
        renamed = _renamed(records, source)
        gone = _newly_gone(records, source, pool_id, renamed)
        not_asked -= set(source.missing(not_asked) if not_asked else ())
        back = [away[key] for key in sorted(seen)]
        with records.write("scan") as session:
            _check_any(session, project, pool_id, source.passed_over)
            fix_test_split(session, project.config, pool_id)
            _forget_mended(session, pool_id, unreadable | not_asked)
            note_asked(session, pool_id, not_asked)
            _follow(session, renamed)
            pass_over(session, [item.id for item in gone], "gone")
            _digest(session, pool_id)
            take_back(session, project, [item.id for item in back])
            keep_passed_over(session, pool_id, source.passed_over)
            counts = _counts(session, pool_id, before)
            _log(session, counts, gone, back)
        return replace(
            counts,
            labelled_before=_read_before(records, project),
            refused=len(not_asked),
            gone=tuple(item.uri for item in gone),
            back=tuple(item.uri for item in back),
        )


def _check_any(
    session: Session, project: Project, pool_id: int, passed: Sequence[PassedOver]
) -> None:
    """Raises DataError where no image can be used."""
    if queries.item_count(session, pool_id) == 0:
        hint = _unreadable_hint(session, pool_id)
        if passed:
            most = passed[0]
            named = f"{counted(most.count, most.what)} passed over: {most.reason}"
            hint += f"; {named}, e.g. {most.example}"
        raise DataError(f"no usable image in {project.images_at}; {hint}")


def _log(session: Session, counts: Scanned, gone: list[NamedItem], back: list[NamedItem]) -> None:
    log(session, "scan", f"{counted(counts.added, 'new image')}, {counts.images} in all")
    if gone:
        images = f"{counted(len(gone), 'image')} {agreeing(len(gone), 'has')} gone"
        text = f"{images}, passed over from now on: {named(gone)}"
        log(session, "scan", text, level="warning")
    if back:
        log(session, "scan", f"{counted(len(back), 'image')} there again: {named(back)}")


def _read_before(records: Records, project: Project) -> int:
    """See ``read_before``; a Label Studio project beside the images need not be there yet."""
    try:
        return read_before(records, labels_before(project), project.config)
    except (ConnectorError, ConfigError):
        if project.config.pool.source == "label-studio":
            raise
        return 0


def look_closer(
    project: Project,
    on_begin: Callable[[str], None] = lambda text: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Quality:
    """What is odd about the pictures, and which are nearly the same, before money is spent on them.
    Embeds the pool if that was not done. Goes on where it was killed.

    Raises:
        NotReady, DataError, ConfigError: see ``embed``.
    """
    embed(project, on_progress, lambda: on_begin("embedding images"))
    with project.writing() as records:
        wanted = project.config.selection.near_duplicate_cosine
        find_duplicates(project, records, wanted, lambda: on_begin("comparing images"))
        unreadable = measure_pictures(
            project, records, lambda: on_begin("looking at pictures"), on_progress
        )
        with records.read() as session:
            looked_at = quality(session, project, unreadable)
    assert looked_at is not None
    return looked_at


def _gone_before(session: Session, pool_id: int) -> dict[str, NamedItem]:
    """Key -> image that had gone at an earlier scan."""
    items = session.execute(
        select(Item.id, Item.row, Item.key, Item.uri)
        .join(Absence, Absence.item_id == Item.id)
        .where(Item.pool_id == pool_id, Absence.why == "gone")
    )
    return {key: NamedItem(id_, row, key, uri) for id_, row, key, uri in items}


def _is_back(file: Image | UnreadableFile, away: dict[str, NamedItem]) -> bool:
    """Whether it is an image that had gone, under its own name."""
    return isinstance(file, Image) and file.key in away and away[file.key].uri == file.uri


def _spelled(file: Image | UnreadableFile, spelled: Callable[[str], str]) -> Image | UnreadableFile:
    """With its label as the classes spell it."""
    if isinstance(file, UnreadableFile) or file.label is None:
        return file
    label = spelled(file.label)
    return file if label == file.label else replace(file, label=label)


def _newly_gone(
    records: Records, source: Source, pool_id: int, renamed: list[int]
) -> list[NamedItem]:
    """Images whose file has gone and of which there is no other copy."""
    with records.read() as session:
        items = items_present(session, pool_id)
        copies = select(Duplicate.item_id).where(Duplicate.id.in_(renamed))
        followed = set(session.scalars(copies)) if renamed else set()
    return [item for item in gone_among(source, items) if item.id not in followed]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _chunks(scanned: Iterable[Image | UnreadableFile]) -> Iterator[list[Image | UnreadableFile]]:
    chunk, began = [], time.monotonic()
    for file in scanned:
        chunk.append(file)
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
    """Of files that need not be opened: those of images that had gone are looked at anew."""
    gone = select(Absence.item_id).where(Absence.why == "gone")
    items = session.scalars(select(Item.uri).where(Item.pool_id == pool_id, Item.id.not_in(gone)))
    return {*items, *session.scalars(select(Duplicate.uri))}


def _save(
    session: Session, pool_id: int, chunk: list[Image | UnreadableFile], keys: set[str]
) -> None:
    """Stores a chunk; ``keys`` holds the keys of all items, whose rows are 0, 1, 2, ..."""
    items: list[dict[str, Any]] = []
    copies: list[Image] = []
    for image in chunk:
        if not isinstance(image, Image):
            continue
        if image.key in keys:
            copies.append(image)
            continue
        items.append(
            {
                "pool_id": pool_id,
                "row": len(keys),
                "key": image.key,
                "uri": image.uri,
                "split": image.split,
                "known_label": image.label,
            }
        )
        keys.add(image.key)
    if items:
        session.execute(insert(Item.__table__), items)  # type: ignore[arg-type]
    _save_copies(session, pool_id, copies)
    _save_unreadable(session, pool_id, [file for file in chunk if isinstance(file, UnreadableFile)])


def _save_copies(session: Session, pool_id: int, copies: list[Image]) -> None:
    """Further files with the bytes of an item. An item that is among the test images too must never
    be picked, so it becomes one of them while the split is not fixed."""
    split_is_fixed = bool(copies) and queries.newest_round(session, pool_id) is not None
    for start in range(0, len(copies), queries.CHUNK):
        part = copies[start : start + queries.CHUNK]
        keys = {copy.key for copy in part}
        items = {
            item.key: item
            for item in session.scalars(
                select(Item).where(Item.pool_id == pool_id, Item.key.in_(keys))
            )
        }
        for copy in part:
            item = items[copy.key]
            if copy.split == "test" and item.split == "pool" and not split_is_fixed:
                item.split, item.known_label = "test", copy.label
        session.execute(
            insert(Duplicate),
            [
                {"item_id": items[copy.key].id, "uri": copy.uri, "known_label": copy.label}
                for copy in part
            ],
        )
    session.flush()


def _renamed(records: Records, source: Source) -> list[int]:
    """Ids of the copies whose item's own file has gone: renamed, deleted or another image now."""
    with records.read() as session:
        copies = session.execute(
            select(Duplicate.id, Duplicate.uri, Item.uri, Item.key)
            .join(Item, Item.id == Duplicate.item_id)
            .order_by(Duplicate.id)
        ).all()
    gone = set(source.missing({name for _, *uris, _ in copies for name in uris}) if copies else ())
    return [
        copy_id
        for copy_id, copy_uri, uri, key in copies
        if (uri in gone or _content(source, uri) != key)
        and copy_uri not in gone
        and _content(source, copy_uri) == key
    ]


def _content(source: Source, uri: str) -> str | None:
    """Key of what a file holds; None if it has gone."""
    try:
        return content_key(source.read(uri))
    except SourceError:
        return None


def _follow(session: Session, renamed: list[int]) -> None:
    """An item whose own file has gone goes by the first other with the same bytes; in another
    class's folder it has that label."""
    followed: set[int] = set()
    for copy_id in renamed:
        copy = session.get_one(Duplicate, copy_id)
        if copy.item_id in followed:
            continue
        followed.add(copy.item_id)
        item = session.get_one(Item, copy.item_id)
        item.uri = copy.uri
        item.known_label = copy.known_label or item.known_label
        session.delete(copy)
    session.flush()


def _forget_mended(session: Session, pool_id: int, unreadable: set[str]) -> None:
    """Files that were unreadable and are not any more, or have gone: all are looked at again."""
    table = models.Unreadable
    rows = session.execute(select(table.id, table.uri).where(table.pool_id == pool_id))
    mended = [{"row_id": row_id} for row_id, uri in rows if uri not in unreadable]
    if mended:
        connection = session.connection()
        connection.execute(delete(table).where(table.id == bindparam("row_id")), mended)


def _save_unreadable(session: Session, pool_id: int, files: list[UnreadableFile]) -> None:
    """Stores why each file cannot be used; what was said of it before is replaced."""
    if not files:
        return
    table = models.Unreadable
    reasons = {file.uri: file.reason for file in files}
    stated = [{"of_pool": pool_id, "at": uri} for uri in reasons]
    same = (table.pool_id == bindparam("of_pool")) & (table.uri == bindparam("at"))
    session.connection().execute(delete(table).where(same), stated)
    session.execute(
        insert(table),
        [{"pool_id": pool_id, "uri": uri, "reason": reason} for uri, reason in reasons.items()],
    )


def _digest(session: Session, pool_id: int) -> None:
    digest = pool_digest(session, pool_id)
    session.execute(update(Pool).where(Pool.id == pool_id).values(digest=digest))


def _counts(session: Session, pool_id: int, before: int) -> Scanned:
    counts = queries.counts(session, pool_id)
    unreadable = session.execute(
        select(models.Unreadable.uri, models.Unreadable.reason).order_by(models.Unreadable.uri)
    )
    return Scanned(
        images=counts["images"],
        added=queries.item_count(session, pool_id) - before,
        test=counts["test"],
        duplicates=counts["duplicates"],
        unreadable=[(uri, reason) for uri, reason in unreadable],
        passed_over=passed_over(session.get_one(Pool, pool_id)),
        two_labels=two_labels(session, pool_id),
    )


def _unreadable_hint(session: Session, pool_id: int) -> str:
    rows = session.execute(select(models.Unreadable.uri, models.Unreadable.reason).limit(3)).all()
    if not rows:
        return "check 'path' under [pool] in coreloop.toml"
    return "unreadable: " + "; ".join(f"{uri} ({reason})" for uri, reason in rows)
