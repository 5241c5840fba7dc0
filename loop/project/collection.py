"""Annotations on their way from the labeler into the records: every version seen is kept, and what
the labeler counts is compared with what is held here."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors.base import Labeler, Progress, RemoteAnnotation, Seen
from db import models, queries
from db.answers import held_annotations, newest_annotations
from db.models import Cursor, Item, Pick, Round, Sent
from db.state import Records, log
from loop.config import Config
from loop.project.labels import Outstanding, outstanding
from loop.project.remote import store_location
from loop.wording import counted

CHUNK = 1000


@dataclass(frozen=True)
class Content:
    """What a version of an annotation says."""

    label: str | None
    cancelled: bool
    deleted: bool
    seconds: float | None
    problem: str | None


class Collection:
    """The pulling of what is new at one labeler.

    Attributes:
        new: versions stored by this collection; ``odd``: of these, those that could not be read as
            an answer; ``foreign``: annotations on images that were never sent; ``unknown_class``:
            labels that are no class.
        progress: what the labeler counts, asked after the newest reading.
        agrees: whether that is what is held here.
        has_copies: whether an image has a task that the records do not know.
    """

    def __init__(self, records: Records, labeler: Labeler, round_: Round, config: Config) -> None:
        self.records = records
        self.labeler = labeler
        self.round = round_
        self.config = config
        self.new = self.odd = self.foreign = self.unknown_class = 0
        self.progress = Progress(0, 0)
        self.agrees = True
        self.has_copies = False

    def read(self, since: str | None) -> None:
        """Stores what changed since a cursor; None: what is new of all."""
        before = self.labeler.progress()
        self.foreign = self.unknown_class = 0
        stream = iter(self.labeler.pull(since))
        while chunk := list(islice(stream, CHUNK)):
            with self.records.write("pull-chunk") as session:
                self._store(session, chunk)
        self.progress = self.labeler.progress()
        with self.records.write("pull-cursor") as session:
            deleted = self._store_deletions(session)
            self._store_cursor(session, before, whole=since is None)
            store_location(session, self.round.pool_id, self.labeler)
            text = f"{self.new} new, {deleted} deleted, {self.foreign} foreign"
            log(session, "pull", text, round=self.round.number)
            for warning in self._warnings():
                log(session, "pull", warning, round=self.round.number, level="warning")
            self.has_copies = self._sees_copies(session)

    def outstanding(self, session: Session) -> Outstanding:
        """How much of the round is answered by what is stored."""
        return outstanding(session, self.round.pool_id, self.config)[self.round.number]

    def _store(self, session: Session, chunk: list[RemoteAnnotation]) -> None:
        """Stores each annotation that says something new."""
        item_ids = _item_ids(session, [note.key for note in chunk])
        stored = _stored(session, self.labeler.name, [note.id for note in chunk])
        classes = self.config.project.classes
        for note in chunk:
            if note.key not in item_ids:
                self.foreign += 1
                continue
            self.unknown_class += note.label is not None and note.label not in classes
            content = Content(note.label, note.cancelled, note.deleted, note.seconds, note.problem)
            versions = stored.setdefault(note.id, {})
            if versions and list(versions.values())[-1] == content:
                continue
            version = _unused(note.version, versions)
            versions[version] = content
            session.add(_row(note, version, item_ids[note.key], self.labeler.name))
            self.new += 1
            self.odd += note.problem is not None

    def _store_deletions(self, session: Session) -> int:
        """Adds a last version, ``deleted``, to annotations that have gone; returns how many."""
        keys = list(self.labeler.seen)
        count = 0
        for start in range(0, len(keys), CHUNK):
            part = keys[start : start + CHUNK]
            for note, key in newest_annotations(session, self.labeler.name, part):
                if not note.deleted and _has_gone(note, self.labeler.seen[key]):
                    session.add(_deletion(note))
                    count += 1
        return count

    def _store_cursor(self, session: Session, before: Progress, *, whole: bool) -> None:
        """Where the next reading may begin. The labeler's count less what is held here lies between
        what it was before and after the reading; it is the surplus noted when all were read last,
        unless something was missed."""
        cursor = session.get(Cursor, self.labeler.name) or Cursor(connector=self.labeler.name)
        misses = whole and self._misses_tasks(session)
        cursor.value = None if misses else self.labeler.cursor
        cursor.surplus = cursor.surplus or 0
        session.add(cursor)
        if before.answers is None or self.progress.answers is None:
            return
        session.flush()
        held = held_annotations(session, self.labeler.name)
        lower, upper = sorted((before.answers - held, self.progress.answers - held))
        if whole:
            cursor.surplus = min(max(cursor.surplus, lower), upper)
        self.agrees = lower <= cursor.surplus <= upper

    def _misses_tasks(self, session: Session) -> bool:
        """Whether an image that was sent is in none of the tasks read: deleted, or badly listed."""
        return not queries.remote_ids(session, self.labeler.name).keys() <= self.labeler.seen.keys()

    def _sees_copies(self, session: Session) -> bool:
        """Whether an image that was sent has another task than the one it landed in."""
        remote_ids = queries.remote_ids(session, self.labeler.name)
        return any(
            seen.tasks - {remote_ids[key]}
            for key, seen in self.labeler.seen.items()
            if key in remote_ids
        )

    def _warnings(self) -> list[str]:
        warnings = list(self.progress.notes)
        if self.unknown_class:
            warnings.append(
                f"{counted(self.unknown_class, 'answer')} of a class that is not in the config"
            )
        if self.odd:
            warnings.append(f"{counted(self.odd, 'annotation')} cannot be read as an answer")
        return warnings


def _has_gone(note: models.Annotation, seen: Seen) -> bool:
    """Whether an annotation known before is absent from the tasks looked at, to one of which it
    belonged: one from before the oldest of these was made belonged to a task that has gone, unless
    it names its task so that no clock has to be believed."""
    if note.external_id in seen.annotations:
        return False
    if note.task in seen.identities:
        return True
    if note.task is not None and note.task not in seen.tasks:
        return False
    return seen.since is None or note.at is None or note.at >= seen.since


def _deletion(note: models.Annotation) -> models.Annotation:
    return models.Annotation(
        item_id=note.item_id,
        connector=note.connector,
        external_id=note.external_id,
        version=f"deleted after {note.version}",
        annotator=note.annotator,
        label=None,
        deleted=True,
        task=note.task,
        url=note.url,
    )


def _item_ids(session: Session, keys: list[str]) -> dict[str, int]:
    """Only items that were sent can have answers; anything else is somebody else's task."""
    rows = session.execute(
        select(Item.key, Item.id)
        .join(Pick, Pick.item_id == Item.id)
        .join(Sent, Sent.pick_id == Pick.id)
        .where(Item.key.in_(set(keys)))
    )
    return {str(key): int(item_id) for key, item_id in rows}


def _stored(session: Session, connector: str, ids: list[str]) -> dict[str, dict[str, Content]]:
    """Annotation id -> version -> what it says, the newest last."""
    note = models.Annotation
    rows = session.execute(
        select(
            note.external_id,
            note.version,
            note.label,
            note.cancelled,
            note.deleted,
            note.seconds,
            note.problem,
        )
        .where(note.connector == connector, note.external_id.in_(set(ids)))
        .order_by(note.id)
    )
    stored: dict[str, dict[str, Content]] = {}
    for row in rows:
        content = Content(row.label, row.cancelled, row.deleted, row.seconds, row.problem)
        stored.setdefault(row.external_id, {})[row.version] = content
    return stored


def _unused(version: str, stored: Container[str]) -> str:
    """The version, or with a number if it was stored earlier: an old file may come back."""
    name, number = version, 0
    while name in stored:
        number += 1
        name = f"{version} again {number}"
    return name


def _row(note: RemoteAnnotation, version: str, item_id: int, connector: str) -> models.Annotation:
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
        task=note.task,
        url=note.url,
        problem=note.problem,
        at=note.at,
    )
