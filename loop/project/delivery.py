"""One round's images on their way to the labeler, in batches whose state is committed before and
after each request: what is known of them here, and what is on the other side."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.orm import Session

from connectors.base import (
    BatchToLabel,
    ConnectorError,
    ItemToLabel,
    Labeler,
    Mismatch,
    Prediction,
    Predicts,
    Progress,
    Rejected,
    Unauthorized,
)
from db import models, queries
from db.answers import BEFORE, labelled_before
from db.models import Cursor, Pick, Round, Sent, now
from db.state import Records, log
from loop.config import Config
from loop.project.remote import notice, sent_count, unanswered_and_gone
from loop.wording import counted

BATCH = 1000
"""Label Studio imports a thousand tasks at 2,400 a second, one by one at 11."""


class Delivery:
    """The pushing of one round.

    Attributes:
        recovered: images that were on the other side already, though the answer to their push was
            lost.
        again: picks whose tasks had been deleted there before anyone answered.
        sent: images sent by this delivery.
    """

    def __init__(self, records: Records, labeler: Labeler, round_: Round, config: Config) -> None:
        self.records = records
        self.labeler = labeler
        self.round_id = round_.id
        self.number = round_.number
        self.reopened = round_.state == "pushed"
        self.config = config
        self.predictions: Mapping[str, Prediction] = {}
        self.sent = self.recovered = self.again = 0
        self._incomplete: dict[str, int] = {}

    def settle_doubtful_batches(self) -> None:
        """Finds out what became of batches whose answer was lost, before anything new is sent.

        A batch that misses images stays doubtful until it is sent once more: ``PLANNED`` means
        never sent.
        """
        with self.records.read() as session:
            doubtful = [
                (batch.uuid, batch.updated_at)
                for batch in queries.open_batches(session, self.labeler.name)
                if batch.state != "PLANNED"
            ]
        for batch, asked in doubtful:
            with self.records.read() as session:
                items = queries.batch_items(session, batch)
            remote_ids = self._find(batch, len(items), asked)
            missing = sum(key not in remote_ids for _, key, _ in items)
            with self.records.write("push-settle") as session:
                if not missing:
                    _set_batch_state(session, batch, "CONFIRMED")
                    _store_remote_ids(session, items, remote_ids)
                text = f"batch {batch[:8]}: {len(remote_ids)} of {len(items)} were there"
                log(session, "push", text, round=self.number)
            self.recovered += len(items) - missing
            if missing:
                self._incomplete[batch] = missing

    def _find(self, batch: str, count: int, asked: datetime) -> Mapping[str, str]:
        """What the other side has of a batch, once it can no longer be at work on it."""
        pause = 0.5
        while True:
            quiet = self.labeler.lag - abs((now() - asked).total_seconds())
            remote_ids = self.labeler.find(BatchToLabel(batch, self.number))
            if len(remote_ids) >= count or quiet <= 0:
                return remote_ids
            time.sleep(min(pause, quiet))
            pause *= 2

    def plan_batches(self) -> None:
        """Puts every unsent pick into a batch; one transaction, so that no pick is in two. Batches
        that were planned for another labeler and never sent become this one's.

        In a round that people label already, picks whose tasks have gone unanswered count as
        unsent.
        """
        tasks = self._inventory() if self.reopened else None
        connector = self.labeler.name
        with self.records.write("push-plan") as session:
            if tasks is not None:
                notice(session, connector, tasks)
                gone = unanswered_and_gone(session, self.round_id, self.config)
                self.again = len(gone)
                for row in gone:
                    session.delete(row)
            session.execute(
                update(models.Batch)
                .where(models.Batch.round_id == self.round_id, models.Batch.state == "PLANNED")
                .values(connector=connector)
            )
            session.flush()
            classes = self.config.project.classes
            picks = self._in_labelling_order(session, unsent(session, self.round_id, classes))
            for start in range(0, len(picks), BATCH):
                self._add_batch(session, picks[start : start + BATCH])
            if picks:
                log(session, "push", f"{counted(len(picks), 'pick')} planned", round=self.number)

    def _in_labelling_order(self, session: Session, picks: list[int]) -> list[int]:
        """Picks as selected, or those whose prediction is least sure first."""
        if self.config.labeler.order != "uncertain":
            return picks
        keys = session.execute(
            select(Pick.id, models.Item.key)
            .join(models.Item, models.Item.id == Pick.item_id)
            .where(Pick.round_id == self.round_id)
        )
        scores = {
            pick: self.predictions[key].score for pick, key in keys if key in self.predictions
        }
        unpredicted = 2.0  # above every probability: last
        return sorted(picks, key=lambda pick: scores.get(pick, unpredicted))

    def _add_batch(self, session: Session, picks: list[int]) -> None:
        batch = models.Batch(
            uuid=uuid.uuid4().hex,
            round_id=self.round_id,
            connector=self.labeler.name,
            size=len(picks),
        )
        session.add(batch)
        session.flush()
        session.add_all(Sent(batch_uuid=batch.uuid, pick_id=pick) for pick in picks)

    def send_batches(self, on_sent: Callable[[int], None]) -> None:
        """Sends what is incomplete on the other side, then what was never sent; ``on_sent`` hears
        how many images are there."""
        for batch, missing in self._incomplete.items():
            self._send(BatchToLabel(batch, self.number))
            self.sent += missing
        for batch in self._planned():
            self.sent += self._send(BatchToLabel(batch, self.number, fresh=True))
            on_sent(self.sent + self.recovered)

    def _planned(self) -> Iterable[str]:
        with self.records.read() as session:
            batches = queries.open_batches(session, self.labeler.name)
            return [batch.uuid for batch in batches if batch.state == "PLANNED"]

    def _send(self, batch: BatchToLabel) -> int:
        """One request; images of the batch. For a batch that was sent before copies are looked for
        after it: the earlier request may have been carried out after all."""
        with self.records.write("push-sent") as session:
            _set_batch_state(session, batch.uuid, "SENT")
            items = queries.batch_items(session, batch.uuid)
            places = self._places(session)
        if not items:  # all of them are passed over
            with self.records.write("push-nothing") as session:
                _set_batch_state(session, batch.uuid, "CONFIRMED")
            return 0
        try:
            remote_ids = self.labeler.push(
                batch,
                [
                    ItemToLabel(key, uri, self.predictions.get(key), places[pick_id])
                    for pick_id, key, uri in items
                ],
            )
            if not batch.fresh:
                remote_ids = self.labeler.find(batch)
        except ConnectorError as error:
            nothing = batch.fresh and isinstance(error, Rejected | Unauthorized | Mismatch)
            with self.records.write("push-refused" if nothing else "push-unknown") as session:
                state = "PLANNED" if nothing else "UNKNOWN"
                _set_batch_state(session, batch.uuid, state, str(error)[:500])
            raise
        with self.records.write("push-confirmed") as session:
            _set_batch_state(session, batch.uuid, "CONFIRMED")
            _store_remote_ids(session, items, remote_ids)
        return len(items)

    def _places(self, session: Session) -> dict[int, int]:
        """Pick id -> its place in labelling order among all that the round sends."""
        sent = select(Sent.pick_id).join(models.Batch, models.Batch.uuid == Sent.batch_uuid)
        ordered = session.scalars(
            sent.where(models.Batch.round_id == self.round_id).order_by(Sent.id)
        )
        return {pick_id: place for place, pick_id in enumerate(ordered)}

    def refresh_predictions(self) -> None:
        """Replaces the predictions shown in a round that people label already by today's."""
        if not (self.reopened and self.predictions and isinstance(self.labeler, Predicts)):
            return
        with self.records.read() as session:
            tasks = queries.remote_ids(session, self.labeler.name, self.round_id)
        self.labeler.predict(tasks, self.predictions)

    def remove_copies(self) -> Progress:
        """Removes copies that something between us and the server made; what the labeler counted
        before.

        The copy that stays may have been answered long ago, by the rounds after a backup that
        these records were restored from: the next pull looks at everything.
        """
        progress = self.labeler.progress()
        connector = self.labeler.name
        with self.records.read() as session:
            tasks = progress.tasks
            surplus = tasks is not None and tasks > sent_count(session, connector)
        if surplus:
            known = self._inventory()
            with self.records.write("push-copies") as session:
                notice(session, connector, known)
                session.execute(delete(Cursor).where(Cursor.connector == connector))
        return progress

    def _inventory(self) -> Mapping[str, Sequence[str]]:
        """Tasks on the other side, by item key."""
        with self.records.read() as session:
            known = queries.remote_ids(session, self.labeler.name)
        return self.labeler.inventory(known)


def unsent(session: Session, round_id: int, classes: Sequence[str]) -> list[int]:
    """Pick ids of a round that are in no batch, in labelling order, without images passed over and
    those that people had labelled before they were picked."""
    return list(
        session.scalars(
            select(Pick.id)
            .join(models.Item, models.Item.id == Pick.item_id)
            .outerjoin(Sent, Sent.pick_id == Pick.id)
            .where(Pick.round_id == round_id, Pick.item_id.not_in(labelled_before(classes)))
            .where(Pick.arm != BEFORE, Sent.id.is_(None), queries.present())
            .order_by(Pick.rank, Pick.arm)
        )
    )


def _set_batch_state(session: Session, batch: str, state: str, message: str = "") -> None:
    session.execute(
        update(models.Batch)
        .where(models.Batch.uuid == batch)
        .values(state=state, message=message, updated_at=now())
    )


def _store_remote_ids(
    session: Session, items: list[tuple[int, str, str]], remote_ids: Mapping[str, str]
) -> None:
    """Where each image of a batch landed; ``items`` are (pick id, key, uri)."""
    landed = [
        {"pick": pick_id, "remote": remote_ids[key]}
        for pick_id, key, _ in items
        if key in remote_ids
    ]
    if landed:
        session.connection().execute(
            update(Sent)
            .where(Sent.pick_id == bindparam("pick"))
            .values(remote_id=bindparam("remote")),
            landed,
        )
