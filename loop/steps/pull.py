"""pull: human answers -> annotation versions; nothing seen is ever changed or forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors.base import Annotation, Labeler, Progress, Unreachable
from db import models, queries
from db.models import Cursor, Item, Pick, Round, Sent
from db.state import Records, advance, log
from loop.config import Config
from loop.errors import NotReady
from loop.project import Project, ProjectBusy
from loop.project.labeler import connect_labeler
from loop.project.labels import outstanding
from loop.project.remote import (
    Noticed,
    check_config,
    check_kind,
    failures_noted,
    notice,
    sent_count,
)
from loop.project.rounds import next_command

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
    with project.writing() as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            round_ = queries.newest_round(session, pool.id)
            if round_ is None or (round_.number == 0 and round_.state in ("planned", "selected")):
                raise NotReady("nothing has been pushed yet; 'coreloop run' does that")
            check_kind(session, round_, project.config.labeler.kind)
            labeler = connect_labeler(session, project)
            cursor = session.get(Cursor, labeler.name)
            since = None if full or cursor is None else cursor.value
        with failures_noted(records, "pull", round_.number):
            with records.read() as session:
                check_config(session, labeler, pool.id)
            counts = _store(records, project.config, labeler.name, labeler.pull(since))
            with records.write("pull-cursor") as session:
                deleted = _tombstones(session, labeler)
                session.merge(Cursor(connector=labeler.name, value=labeler.cursor))
                text = f"{counts.new} new, {deleted} deleted, {counts.foreign} foreign"
                log(session, "pull", text, round=round_.number)
            progress = labeler.progress()
            noticed = Noticed()
            if (
                full
                or close
                or _ending_or_short(records, project.config, labeler, round_, progress)
            ):
                tasks = labeler.inventory()
                with records.write("pull-notice") as session:
                    noticed = notice(session, labeler.name, tasks)
        return _settle(records, project.config, round_.id, counts, noticed, progress, close=close)


def watched(
    project: Project,
    seconds: float,
    *,
    close: bool = False,
    full: bool = False,
    on_wait: Callable[[Exception], None] = lambda error: None,
) -> Iterator[Pulled]:
    """Pulls every so many seconds until the round is answered; a server that does not answer and
    another command that writes are waited for, and told to ``on_wait``."""
    while True:
        try:
            pulled = pull(project, close=close, full=full)
        except (Unreachable, ProjectBusy) as error:
            on_wait(error)
        else:
            yield pulled
            if pulled.complete:
                return
        time.sleep(max(1.0, seconds))


def _ending_or_short(
    records: Records, config: Config, labeler: Labeler, round_: Round, progress: Progress
) -> bool:
    """Whether tasks are to be compared one by one with what was sent: the round ends, or there are
    too few."""
    with records.read() as session:
        open_ = outstanding(session, round_.pool_id, config)[round_.number]
        ending = round_.state == "pushed" and open_.unanswered == 0
        return ending or progress.tasks < sent_count(session, labeler.name)


@dataclass(frozen=True)
class Counts:
    """Answers that one pull stored, and those that it passed over."""

    new: int = 0
    foreign: int = 0
    unknown_class: int = 0


def _store(
    records: Records, config: Config, connector: str, annotations: Iterable[Annotation]
) -> Counts:
    """Stores each annotation that says something new, chunk by chunk."""
    counts = Counts()
    stream = iter(annotations)
    while chunk := list(islice(stream, CHUNK)):
        with records.write("pull-chunk") as session:
            counts = _store_chunk(session, set(config.project.classes), connector, chunk, counts)
        if counts.unknown_class:
            text = f"{counts.unknown_class} answers name a class that is not in the config"
            with records.write("pull-warning") as session:
                log(session, "pull", text, level="warning")
    return counts


def _store_chunk(
    session: Session,
    classes: set[str],
    connector: str,
    chunk: list[Annotation],
    counts: Counts,
) -> Counts:
    new, foreign, unknown = counts.new, counts.foreign, counts.unknown_class
    item_ids = _item_ids(session, [note.key for note in chunk])
    stored = _stored(session, connector, [note.id for note in chunk])
    for note in chunk:
        if note.key not in item_ids:
            foreign += 1
            continue
        content = (note.label, note.cancelled, note.deleted, note.seconds)
        versions = stored.setdefault(note.id, {})
        if versions and list(versions.values())[-1] == content:
            continue
        version = _unused(note.version, versions)
        versions[version] = content
        unknown += note.label is not None and note.label not in classes
        session.add(_row(note, version, item_ids[note.key], connector))
        new += 1
    return Counts(new, foreign, unknown)


def _item_ids(session: Session, keys: list[str]) -> dict[str, int]:
    """Only items that were sent can have answers; anything else is somebody else's task."""
    rows = session.execute(
        select(Item.key, Item.id)
        .join(Pick, Pick.item_id == Item.id)
        .join(Sent, Sent.pick_id == Pick.id)
        .where(Item.key.in_(set(keys)))
    )
    return {str(key): int(item_id) for key, item_id in rows}


def _tombstones(session: Session, labeler: Labeler) -> int:
    """Adds a last version, ``deleted``, to annotations that have gone; returns how many."""
    keys = list(labeler.present)
    count = 0
    for start in range(0, len(keys), CHUNK):
        part = keys[start : start + CHUNK]
        planned = _task_planned(session, part)
        for note, key in queries.newest_annotations(session, labeler.name, part):
            absent = note.external_id not in labeler.present[key]
            if absent and not note.deleted and key in planned and note.seen_at >= planned[key]:
                session.add(_tombstone(note))
                count += 1
    return count


def _tombstone(note: models.Annotation) -> models.Annotation:
    return models.Annotation(
        item_id=note.item_id,
        connector=note.connector,
        external_id=note.external_id,
        version=f"deleted after {note.version}",
        annotator=note.annotator,
        label=None,
        deleted=True,
    )


def _task_planned(session: Session, keys: list[str]) -> dict[str, datetime]:
    """Item key -> when its present task was planned. An answer from before belongs to a task that
    was deleted; that it is absent now does not mean that somebody took it back."""
    rows = session.execute(
        select(Item.key, models.Batch.created_at)
        .join(Pick, Pick.item_id == Item.id)
        .join(Sent, Sent.pick_id == Pick.id)
        .join(models.Batch, models.Batch.uuid == Sent.batch_uuid)
        .where(Item.key.in_(keys))
    )
    return {str(key): at for key, at in rows}


Content = tuple[str | None, bool, bool, float | None]
"""What a version says: label, cancelled, deleted, seconds."""


def _stored(session: Session, connector: str, ids: list[str]) -> dict[str, dict[str, Content]]:
    """Annotation id -> version -> what it says, the newest last."""
    note = models.Annotation
    rows = session.execute(
        select(
            note.external_id, note.version, note.label, note.cancelled, note.deleted, note.seconds
        )
        .where(note.connector == connector, note.external_id.in_(set(ids)))
        .order_by(note.id)
    )
    stored: dict[str, dict[str, Content]] = {}
    for external_id, version, label, cancelled, deleted, seconds in rows:
        stored.setdefault(external_id, {})[version] = (label, cancelled, deleted, seconds)
    return stored


def _unused(version: str, stored: Container[str]) -> str:
    """The version, or with a number if it was stored earlier: an old file may come back."""
    name, number = version, 0
    while name in stored:
        number += 1
        name = f"{version} again {number}"
    return name


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
    config: Config,
    round_id: int,
    counts: Counts,
    noticed: Noticed,
    progress: Progress,
    *,
    close: bool,
) -> Pulled:
    """Moves the round on if it is answered, or if the person says so."""
    with records.write("pull") as session:
        round_ = session.get_one(Round, round_id)
        open_ = outstanding(session, round_.pool_id, config)[round_.number]
        complete = round_.state != "pushed" or open_.unanswered == 0
        if round_.state == "pushed" and (complete or close):
            if open_.answered == 0:
                raise NotReady(
                    f"{round_.name} has no label at all "
                    f"({open_.skipped} skipped, {open_.unanswered} waiting); it stays open"
                )
            advance(session, round_id, before="pushed", after="labeled")
            session.refresh(round_)
            text = f"round closed with {open_.answered} labels"
            log(session, "pull", text, round=round_.number)
            complete = True
        return Pulled(
            new=counts.new,
            foreign=counts.foreign,
            unknown_class=counts.unknown_class,
            gone=noticed.gone,
            twice=noticed.twice,
            answered=open_.answered,
            picked=open_.picked,
            skipped=open_.skipped,
            complete=complete,
            url=progress.url,
            round=round_.number,
            next=next_command(round_),
        )
