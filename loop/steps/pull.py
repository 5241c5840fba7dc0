"""pull: human answers -> annotation versions; nothing seen is ever changed or forgotten."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count, islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors.base import Annotation, Labeler, Progress
from db import models, queries
from db.models import Cursor, Item, Pick, Round, Sent
from db.state import Records, advance, log
from loop.errors import NotReady
from loop.project import Project
from loop.steps.labels import outstanding
from loop.steps.opened import labeler, next_command, writing
from loop.steps.remote import (
    Noticed,
    check_config,
    check_kind,
    failures_noted,
    notice,
    sent_count,
)

CHUNK = 1000


@dataclass(frozen=True)
class Pulled:
    """Counts of one pull, and of the round after it.

    ``gone`` images were sent and have no task any more, ``twice`` have two labelled ones; both are
    looked for when a round ends, or with ``full``. ``next`` is what to type.
    """

    new: int
    foreign: int
    unknown_class: int
    gone: int
    twice: int
    answered: int
    picked: int
    skipped: int
    complete: bool
    url: str | None
    round: int
    next: str


def pull(project: Project, *, close: bool = False, full: bool = False) -> Pulled:
    """Fetches what changed; the round becomes ``labeled`` when every pick is answered.

    Args:
        close: end the round with the answers there are; the rest counts as skipped.
        full: look at everything, not only at what changed since the last pull.

    Raises:
        NotReady: nothing has been pushed yet, or ``close`` with no answer at all.
        ConfigError: the open round has been sent to a labeler of another kind.
        Unreachable, Unauthorized, Mismatch: see connectors.base.
    """
    with writing(project) as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            found = queries.newest_round(session, pool.id)
            if found is None or (found.number == 0 and found.state in ("planned", "selected")):
                raise NotReady("nothing has been pushed yet; 'coreloop run' does that")
            check_kind(session, project, found)
            people = labeler(project, session)
            cursor = session.get(Cursor, people.name)
            since = None if full or cursor is None else cursor.value
        with failures_noted(records, "pull", found.number):
            with records.read() as session:
                check_config(session, people, pool.id)
            new, foreign, unknown = _store(records, project, people.name, people.pull(since))
            with records.write("pull-cursor") as session:
                gone = _tombstones(session, people)
                session.merge(Cursor(connector=people.name, value=people.cursor))
                log(
                    session,
                    "pull",
                    f"{new} new, {gone} deleted, {foreign} foreign",
                    round=found.number,
                )
            progress = people.progress()
            noticed = _look(records, project, people, found, progress, always=full or close)
        counts = (new, foreign, unknown, noticed.gone, noticed.twice)
        return _settle(records, project, found.id, counts, progress, close)


def _look(
    records: Records,
    project: Project,
    people: Labeler,
    found: Round,
    progress: Progress,
    *,
    always: bool,
) -> Noticed:
    """Compares tasks one by one with what was sent, when the round ends or tasks are too few."""
    with records.read() as session:
        left = outstanding(session, project, found)
        ending = found.state == "pushed" and left.unanswered == 0
        short = progress.tasks < sent_count(session, people.name)
    if not (always or ending or short):
        return Noticed(0, 0)
    there = people.inventory()
    with records.write("pull-notice") as session:
        return notice(session, people.name, there)


def _store(
    records: Records, project: Project, connector: str, notes: Iterable[Annotation]
) -> tuple[int, int, int]:
    new = foreign = unknown = 0
    classes = set(project.config.project.classes)
    stream = iter(notes)
    while chunk := list(islice(stream, CHUNK)):
        with records.write("pull-chunk") as session:
            ids = _item_ids(session, [note.key for note in chunk])
            stored = _stored(session, connector, [note.id for note in chunk])
            for note in chunk:
                if note.key not in ids:
                    foreign += 1
                    continue
                said = (note.label, note.cancelled, note.deleted, note.seconds)
                before = stored.setdefault(note.id, {})
                if before and list(before.values())[-1] == said:
                    continue
                version = _unused(note.version, before)
                before[version] = said
                unknown += note.label is not None and note.label not in classes
                session.add(_row(note, version, ids[note.key], connector))
                new += 1
        if unknown:
            with records.write("pull-warning") as session:
                log(
                    session,
                    "pull",
                    f"{unknown} answers name a class that is not in the config",
                    level="warning",
                )
    return new, foreign, unknown


def _item_ids(session: Session, keys: list[str]) -> dict[str, int]:
    """Only items that were sent can have answers; anything else is somebody else's task."""
    found = session.execute(
        select(Item.key, Item.id)
        .join(Pick, Pick.item_id == Item.id)
        .join(Sent, Sent.pick_id == Pick.id)
        .where(Item.key.in_(set(keys)))
    )
    return {str(key): int(item_id) for key, item_id in found}


def _tombstones(session: Session, people: Labeler) -> int:
    """Adds a last version, ``deleted``, to annotations that have gone; returns how many."""
    keys = list(people.present)
    count = 0
    for start in range(0, len(keys), CHUNK):
        part = keys[start : start + CHUNK]
        since = _task_since(session, part)
        for note, key in queries.newest_annotations(session, people.name, part):
            absent = note.external_id not in people.present[key]
            if absent and not note.deleted and key in since and note.seen_at >= since[key]:
                session.add(
                    models.Annotation(
                        item_id=note.item_id,
                        connector=note.connector,
                        external_id=note.external_id,
                        version=f"deleted after {note.version}",
                        annotator=note.annotator,
                        label=None,
                        deleted=True,
                    )
                )
                count += 1
    return count


def _task_since(session: Session, keys: list[str]) -> dict[str, datetime]:
    """Item key -> when its present task was planned. An answer from before belongs to a task that
    was deleted; that it is absent now does not mean that somebody took it back."""
    found = session.execute(
        select(Item.key, models.Batch.created_at)
        .join(Pick, Pick.item_id == Item.id)
        .join(Sent, Sent.pick_id == Pick.id)
        .join(models.Batch, models.Batch.uuid == Sent.batch_uuid)
        .where(Item.key.in_(keys))
    )
    return {str(key): at for key, at in found}


Said = tuple[str | None, bool, bool, float | None]


def _stored(session: Session, connector: str, ids: list[str]) -> dict[str, dict[str, Said]]:
    """Annotation id -> version -> what it says, the newest last."""
    note = models.Annotation
    found = session.execute(
        select(
            note.external_id, note.version, note.label, note.cancelled, note.deleted, note.seconds
        )
        .where(note.connector == connector, note.external_id.in_(set(ids)))
        .order_by(note.id)
    )
    stored: dict[str, dict[str, Said]] = {}
    for row in found:
        stored.setdefault(row[0], {})[row[1]] = (row[2], row[3], row[4], row[5])
    return stored


def _unused(version: str, before: Iterable[str]) -> str:
    """The version, or with a number if it was stored earlier: an old file may come back."""
    known = set(before)
    return next(
        name
        for name in chain([version], (f"{version} again {n}" for n in count(1)))
        if name not in known
    )


def _row(note: Annotation, version: str, item_id: int, connector: str) -> models.Annotation:
    return models.Annotation(
        item_id=item_id,
        connector=connector,
        external_id=note.id,
        version=version,
        annotator=note.annotator,
        label=note.label,
        seconds=note.seconds,
        cancelled=note.cancelled,
        deleted=note.deleted,
        at=note.at,
    )


def _settle(
    records: Records,
    project: Project,
    round_id: int,
    counts: tuple[int, int, int, int, int],
    progress: Progress,
    close: bool,
) -> Pulled:
    """Moves the round on if it is answered, or if the person says so."""
    with records.write("pull") as session:
        found = session.get_one(models.Round, round_id)
        left = outstanding(session, project, found)
        answered = left.picked - left.unanswered - left.skipped
        complete = found.state != "pushed" or left.unanswered == 0
        if found.state == "pushed" and (complete or close):
            if answered == 0:
                raise NotReady(
                    f"{found.name} has no label at all "
                    f"({left.skipped} skipped, {left.unanswered} waiting); it stays open"
                )
            advance(session, round_id, before="pushed", after="labeled")
            session.refresh(found)
            log(session, "pull", f"round closed with {answered} labels", round=found.number)
            complete = True
        return Pulled(
            *counts,
            answered,
            left.picked,
            left.skipped,
            complete,
            progress.url,
            found.number,
            next_command(found),
        )
