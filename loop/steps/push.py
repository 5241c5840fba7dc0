"""push: picks -> the labeler, in batches whose state is committed before and after each request."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from connectors.base import Batch, ConnectorError, Item, Labeler, Prediction, Rejected
from db import models, queries
from db.models import Pick, Sent, now
from db.state import Records, advance, log
from loop.project import Project
from loop.steps.opened import current_round, labeler, writing
from loop.steps.predictions import predictions

BATCH = 1000
"""Label Studio imports a thousand tasks at 2,400 a second, one by one at 11."""


@dataclass(frozen=True)
class Pushed:
    """What a push did. ``recovered`` items were found on the other side without sending."""

    sent: int
    recovered: int
    total: int
    url: str | None


def push(
    project: Project,
    *,
    dry_run: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pushed:
    """Sends the picks of the current round that are not there yet, in labelling order.

    Raises:
        NotReady: the round has no picks, or is past this step.
        Rejected, Unknown, Unreachable, Unauthorized, Mismatch: see connectors.base.
    """
    with writing(project) as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            found = current_round(session, pool, after="selected")
            number, round_id, total = found.number, found.id, found.budget
            people = labeler(project, session)
            unsent = _unsent(session, round_id)
        if dry_run:
            return Pushed(0, 0, len(unsent), None)
        people.prepare(project.config.project.classes)
        recovered = _settle(records, people, number)
        _plan(records, people.name, round_id, number)
        guesses = predictions(records, project, number)
        sent = 0
        while (batch := _next_planned(records, people.name)) is not None:
            sent += _send(records, people, batch, number, guesses)
            on_progress(sent + recovered, total)
        with records.write("push") as session:
            advance(session, round_id, before="selected", after="pushed")
            log(session, "push", f"{sent} sent, {recovered} found", round=number)
        return Pushed(sent, recovered, total, people.progress().url)


def _unsent(session: Session, round_id: int) -> list[int]:
    return list(
        session.scalars(
            select(Pick.id)
            .outerjoin(Sent, Sent.pick_id == Pick.id)
            .where(Pick.round_id == round_id, Sent.id.is_(None))
            .order_by(Pick.rank, Pick.arm)
        )
    )


def _plan(records: Records, connector: str, round_id: int, number: int) -> None:
    """Puts every unsent pick into a batch; one transaction, so that no pick is in two."""
    with records.write("push-plan") as session:
        unsent = _unsent(session, round_id)
        for start in range(0, len(unsent), BATCH):
            part = unsent[start : start + BATCH]
            batch = models.Batch(
                uuid=uuid.uuid4().hex, round_id=round_id, connector=connector, size=len(part)
            )
            session.add(batch)
            session.flush()
            session.add_all(Sent(batch_uuid=batch.uuid, pick_id=pick) for pick in part)
        if unsent:
            log(session, "push", f"{len(unsent)} picks planned", round=number)


def _next_planned(records: Records, connector: str) -> str | None:
    with records.read() as session:
        planned = [b for b in queries.open_batches(session, connector) if b.state == "PLANNED"]
        return planned[0].uuid if planned else None


def _settle(records: Records, people: Labeler, number: int) -> int:
    """Finds out what became of batches whose answer was lost, before anything new is sent."""
    recovered = 0
    with records.read() as session:
        doubtful = [
            b.uuid for b in queries.open_batches(session, people.name) if b.state != "PLANNED"
        ]
    for batch in doubtful:
        there = people.find(Batch(batch, number))
        with records.read() as session:
            items = queries.batch_items(session, batch)
        missing = [key for _, key, _ in items if key not in there]
        with records.write("push-settle") as session:
            state = "PLANNED" if missing else "CONFIRMED"
            _mark(session, batch, state, f"{len(there)} of {len(items)} were there")
            _land(session, items, there)
            log(session, "push", f"batch {batch[:8]}: {len(there)} of {len(items)} were there",
                round=number)  # fmt: skip
        recovered += len(items) - len(missing)
    return recovered


def _send(
    records: Records, people: Labeler, batch: str, number: int, guesses: dict[str, Prediction]
) -> int:
    with records.write("push-sent") as session:
        _mark(session, batch, "SENT", "")
        items = queries.batch_items(session, batch)
    try:
        there = people.push(
            Batch(batch, number), [Item(key, uri, guesses.get(key)) for _, key, uri in items]
        )
    except Rejected as error:
        with records.write("push-refused") as session:
            _mark(session, batch, "PLANNED", str(error)[:500])
            log(session, "push", f"batch {batch[:8]} refused: {error}"[:500], round=number,
                level="error")  # fmt: skip
        raise
    except ConnectorError as error:
        with records.write("push-unknown") as session:
            _mark(session, batch, "UNKNOWN", str(error)[:500])
            log(session, "push", f"batch {batch[:8]} unknown: {error}"[:500], round=number,
                level="warning")  # fmt: skip
        raise
    with records.write("push-confirmed") as session:
        _mark(session, batch, "CONFIRMED", "")
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
