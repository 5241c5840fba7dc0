"""push: picks -> the labeler, in batches whose state is committed before and after each request."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from connectors.base import (
    Batch,
    ConnectorError,
    Item,
    Labeler,
    Mismatch,
    Prediction,
    Predicts,
    Rejected,
    Unauthorized,
)
from connectors.folder import content_key
from db import models, queries
from db.models import Cursor, Pick, Sent, now
from db.state import Records, advance, log
from loop.errors import DataError
from loop.project import Project
from loop.steps.opened import current_round, labeler, source, writing
from loop.steps.predictions import predictions
from loop.steps.remote import (
    check_config,
    check_kind,
    failures_noted,
    keep_config,
    notice,
    sent_count,
    unanswered_and_gone,
)

BATCH = 1000
"""Label Studio imports a thousand tasks at 2,400 a second, one by one at 11."""


@dataclass(frozen=True)
class Pushed:
    """What a push did. ``recovered`` items were found on the other side without sending; ``again``
    are picks whose tasks had been deleted there before anyone answered."""

    sent: int
    recovered: int
    total: int
    url: str | None
    again: int = 0


def push(
    project: Project,
    *,
    dry_run: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pushed:
    """Sends the picks of the current round that are not there yet, in labelling order.

    In a round that people label already this looks for tasks that have been deleted on the other
    side and sends those without an answer again; the guesses shown are replaced by today's.

    Raises:
        NotReady: the round has no picks, or is past this step.
        ConfigError: the round has been sent to a labeler of another kind.
        Rejected, Unknown, Unreachable, Unauthorized, Mismatch: see connectors.base.
    """
    with writing(project) as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            newest = queries.newest_round(session, pool.id)
            open_ = newest is not None and newest.state == "pushed"
            found = current_round(session, pool, after="pushed" if open_ else "selected")
            number, round_id, total = found.number, found.id, found.budget
            check_kind(session, project, found)
            people = labeler(project, session)
            unsent = _unsent(session, round_id)
            _check_images(session, project, unsent)
        if dry_run:
            return Pushed(0, 0, len(unsent), None)
        with failures_noted(records, "push", number):
            people.prepare(project.config.project.classes)
            with records.read() as session:
                check_config(session, people, pool.id)
            recovered, unfinished = _settle(records, people, number)
            there = people.inventory() if open_ else None
            guesses = predictions(records, project, number)
            again = _plan(records, project, people.name, round_id, there, guesses)
            sent = 0
            for batch, missing in unfinished.items():
                _send(records, people, Batch(batch, number), guesses)
                sent += missing
            while (uuid_ := _next_planned(records, people.name)) is not None:
                sent += _send(records, people, Batch(uuid_, number, fresh=True), guesses)
                on_progress(sent + recovered, total)
            if open_ and guesses and isinstance(people, Predicts):
                with records.read() as session:
                    tasks = queries.remote_ids(session, people.name, round_id)
                people.predict(tasks, guesses)
            url = _remove_copies(records, people)
        with records.write("push") as session:
            if not open_:
                advance(session, round_id, before="selected", after="pushed")
                keep_config(session, people, round_id)
            log(session, "push", f"{sent} sent, {recovered} found", round=number)
        return Pushed(sent, recovered, total, url, again)


def _remove_copies(records: Records, people: Labeler) -> str | None:
    """Removes copies that something between us and the server made; the link for people.

    The copy that stays may have been answered long ago, by the rounds after a backup that these
    records were restored from: the next pull looks at everything.
    """
    progress = people.progress()
    with records.read() as session:
        surplus = progress.tasks > sent_count(session, people.name)
    if surplus:
        there = people.inventory()
        with records.write("push-copies") as session:
            notice(session, people.name, there)
            session.execute(delete(Cursor).where(Cursor.connector == people.name))
    return progress.url


def _unsent(session: Session, round_id: int) -> list[int]:
    return list(
        session.scalars(
            select(Pick.id)
            .outerjoin(Sent, Sent.pick_id == Pick.id)
            .where(Pick.round_id == round_id, Sent.id.is_(None))
            .order_by(Pick.rank, Pick.arm)
        )
    )


def _check_images(session: Session, project: Project, picks: list[int]) -> None:
    """Raises DataError if people would see another image than the one that was embedded."""
    read = source(project).read
    for start in range(0, len(picks), 500):
        for key, uri in session.execute(
            select(models.Item.key, models.Item.uri)
            .join(Pick, Pick.item_id == models.Item.id)
            .where(Pick.id.in_(picks[start : start + 500]))
            .order_by(models.Item.row)
        ):
            if content_key(read(uri)) != key:
                raise DataError(
                    f"{uri} is another image than when it was scanned; put the old file back, "
                    "give the new one a name of its own, and repeat this"
                )


def _uncertain_first(
    session: Session, round_id: int, picks: list[int], guesses: Mapping[str, Prediction]
) -> list[int]:
    """Picks by the score of their guess; those without a guess last, in their order."""
    found = session.execute(
        select(Pick.id, models.Item.key)
        .join(models.Item, models.Item.id == Pick.item_id)
        .where(Pick.round_id == round_id)
    )
    score = {pick: guesses[key].score for pick, key in found if key in guesses}
    return sorted(picks, key=lambda pick: score.get(pick, 2.0))


def _plan(
    records: Records,
    project: Project,
    connector: str,
    round_id: int,
    there: Mapping[str, Sequence[str]] | None,
    guesses: Mapping[str, Prediction],
) -> int:
    """Puts every unsent pick into a batch; one transaction, so that no pick is in two. Batches
    that were planned for another labeler and never sent become this one's.

    Given what is ``there``, picks whose tasks have gone unanswered count as unsent; returns how
    many these are.
    """
    with records.write("push-plan") as session:
        gone = []
        if there is not None:
            notice(session, connector, there)
            gone = unanswered_and_gone(session, project, round_id)
        for sent in gone:
            session.delete(sent)
        session.execute(
            update(models.Batch)
            .where(models.Batch.round_id == round_id, models.Batch.state == "PLANNED")
            .values(connector=connector)
        )
        session.flush()
        unsent = _unsent(session, round_id)
        if project.config.labeler.order == "uncertain":
            unsent = _uncertain_first(session, round_id, unsent, guesses)
        for start in range(0, len(unsent), BATCH):
            part = unsent[start : start + BATCH]
            batch = models.Batch(
                uuid=uuid.uuid4().hex, round_id=round_id, connector=connector, size=len(part)
            )
            session.add(batch)
            session.flush()
            session.add_all(Sent(batch_uuid=batch.uuid, pick_id=pick) for pick in part)
        if unsent:
            number = session.get_one(models.Round, round_id).number
            log(session, "push", f"{len(unsent)} picks planned", round=number)
        return len(gone)


def _next_planned(records: Records, connector: str) -> str | None:
    with records.read() as session:
        planned = [b for b in queries.open_batches(session, connector) if b.state == "PLANNED"]
        return planned[0].uuid if planned else None


def _settle(records: Records, people: Labeler, number: int) -> tuple[int, dict[str, int]]:
    """Finds out what became of batches whose answer was lost, before anything new is sent.

    Returns the number of items that were there, and of batches that have to be sent once more how
    many items they miss. These stay doubtful until then: ``PLANNED`` means never sent.
    """
    recovered, unfinished = 0, {}
    with records.read() as session:
        doubtful = [
            (b.uuid, b.updated_at)
            for b in queries.open_batches(session, people.name)
            if b.state != "PLANNED"
        ]
    for batch, asked in doubtful:
        with records.read() as session:
            items = queries.batch_items(session, batch)
        there = _find(people, Batch(batch, number), len(items), asked)
        missing = sum(key not in there for _, key, _ in items)
        with records.write("push-settle") as session:
            if not missing:
                _mark(session, batch, "CONFIRMED", "")
                _land(session, items, there)
            log(
                session,
                "push",
                f"batch {batch[:8]}: {len(there)} of {len(items)} were there",
                round=number,
            )
        recovered += len(items) - missing
        if missing:
            unfinished[batch] = missing
    return recovered, unfinished


def _find(people: Labeler, batch: Batch, count: int, asked: datetime) -> Mapping[str, str]:
    """What is there of a batch, once the other side can no longer be at work on it."""
    pause = 0.5
    while True:
        quiet = people.lag - abs((now() - asked).total_seconds())
        there = people.find(batch)
        if len(there) >= count or quiet <= 0:
            return there
        time.sleep(min(pause, quiet))
        pause *= 2


def _send(records: Records, people: Labeler, batch: Batch, guesses: dict[str, Prediction]) -> int:
    """One request. For a batch that was sent before copies are looked for after it: the earlier
    request may have been carried out after all."""
    with records.write("push-sent") as session:
        _mark(session, batch.uuid, "SENT", "")
        items = queries.batch_items(session, batch.uuid)
    try:
        there = people.push(batch, [Item(key, uri, guesses.get(key)) for _, key, uri in items])
        there = there if batch.fresh else people.find(batch)
    except ConnectorError as error:
        nothing = batch.fresh and isinstance(error, Rejected | Unauthorized | Mismatch)
        with records.write("push-refused" if nothing else "push-unknown") as session:
            _mark(session, batch.uuid, "PLANNED" if nothing else "UNKNOWN", str(error)[:500])
        raise
    with records.write("push-confirmed") as session:
        _mark(session, batch.uuid, "CONFIRMED", "")
        _land(session, items, there)
    return len(items)


def _mark(session: Session, batch: str, state: str, message: str) -> None:
    session.execute(
        update(models.Batch)
        .where(models.Batch.uuid == batch)
        .values(state=state, message=message, updated_at=now())
    )


def _land(session: Session, items: list[tuple[int, str, str]], there: Mapping[str, str]) -> None:
    for pick_id, key, _ in items:
        if key in there:
            session.execute(
                update(Sent).where(Sent.pick_id == pick_id).values(remote_id=there[key])
            )
