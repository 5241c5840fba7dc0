"""Annotations on their way from the labeler into the records: every version seen is kept, and what
the labeler counts is compared with what is held here."""

from __future__ import annotations

from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors.base import Labeler, Progress, RemoteAnnotation, Seen, SharesPool
from db import models, queries
from db.answers import BEFORE, held_annotations, newest_annotations
from db.models import Cursor, Item, Pick, Round, Sent
from db.state import Records, log
from loop.config import Config
from loop.project.annotation_versions import deletion, store_versions
from loop.project.before import keep_before, unasked
from loop.project.labels import Outstanding, outstanding
from loop.project.remote import store_location
from loop.wording import counted

CHUNK = 1000


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
        self.connectors: tuple[str, ...] = (labeler.name,)
        if isinstance(labeler, SharesPool):
            self.connectors = (labeler.name, BEFORE)

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
            if BEFORE in self.connectors:
                keep_before(session, self.config)
            self._store_cursor(session, before, whole=since is None)
            store_location(session, self.round.pool_id, self.labeler)
            if self.new or deleted or self.foreign:
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
        keys = [note.key for note in chunk]
        targets = {key: (item_id, self.labeler.name) for key, item_id in _item_ids(session, keys)}
        if BEFORE in self.connectors:
            targets |= unasked(session, keys)
        stored = store_versions(session, targets, chunk)
        classes = self.config.project.classes
        self.foreign += sum(note.key not in targets for note in chunk)
        self.unknown_class += sum(
            note.label is not None and note.label not in classes
            for note in chunk
            if note.key in targets
        )
        self.new += len(stored)
        self.odd += sum(note.problem is not None for note in stored)

    def _store_deletions(self, session: Session) -> int:
        """Adds a last version, ``deleted``, to annotations that have gone; returns how many."""
        keys = list(self.labeler.seen)
        count = 0
        for start in range(0, len(keys), CHUNK):
            part = keys[start : start + CHUNK]
            for note, key in newest_annotations(session, self.connectors, part):
                if not note.deleted and _has_gone(note, self.labeler.seen[key]):
                    session.add(deletion(note))
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
        held = held_annotations(session, self.connectors)
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


def _item_ids(session: Session, keys: list[str]) -> list[tuple[str, int]]:
    """(key, item id): only items that were sent can have answers; anything else is somebody else's
    task."""
    rows = session.execute(
        select(Item.key, Item.id)
        .join(Pick, Pick.item_id == Item.id)
        .join(Sent, Sent.pick_id == Pick.id)
        .where(Item.key.in_(set(keys)))
    )
    return [(str(key), int(item_id)) for key, item_id in rows]
