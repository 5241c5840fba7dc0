"""push: picks -> the labeler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors.base import Cleaned, SharesPool, Source
from db import queries
from db.answers import BEFORE
from db.models import Item, Pick, Round
from db.state import Records, advance, log
from loop.errors import ConfigError
from loop.project import Project
from loop.project.absence import pass_over_deleted
from loop.project.delivery import Delivery, unsent
from loop.project.labeler import connect_labeler
from loop.project.predictions import predictions
from loop.project.problem import read_scanned
from loop.project.push_plan import PushPlan, plan_push, round_to_push
from loop.project.remote import (
    check_config,
    check_kind,
    failures_noted,
    store_config,
    store_location,
    store_people,
)
from loop.project.replacement import NOTHING, Replacement, replace_gone
from loop.wording import counted

__all__ = ["PushPlan", "Pushed", "clean", "plan_push", "push"]


@dataclass(frozen=True)
class Pushed:
    """What a push did. ``recovered`` items were found on the other side without sending; ``again``
    are picks whose tasks had been deleted there before anyone answered; ``notes`` is what people
    should know of the other side; ``replaced`` picks had gone."""

    sent: int
    recovered: int
    total: int
    url: str | None
    again: int = 0
    notes: tuple[str, ...] = ()
    replaced: Replacement = NOTHING


def push(
    project: Project,
    *,
    reopen: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pushed:
    """Sends the picks of the current round that are not there yet, in labelling order.

    In a round that people label already this looks for tasks that have been deleted on the other
    side and sends those without an answer again; the predictions shown are replaced by today's.
    Picks whose files have gone, or that were passed over, are replaced by the next best.

    Args:
        reopen: whether finished tasks may be opened again where ``overlap`` has grown.

    Raises:
        WouldReopen: they would be, and may not.
        NotReady: the round has no picks, or is past this step.
        ConfigError: the round has been sent to a labeler of another kind.
        DataError: an image is another one than when it was scanned.
        Rejected, Unknown, Unreachable, Unauthorized, Mismatch: see connectors.base.
    """
    with project.writing() as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            round_ = round_to_push(session, pool)
            check_kind(session, round_, project.config.labeler.kind)
            labeler = connect_labeler(session, project, reopen=reopen)
        if isinstance(labeler, SharesPool) and round_.state == "pushed":
            pass_over_deleted(records, project.source, round_)
        replaced = replace_gone(project, records, round_)
        with records.read() as session:
            missing = _items(session, unsent(session, round_.id, project.config.project.classes))
            picks = queries.picks(session, pool.id, round_.number)
            total = sum(pick.arm != BEFORE for pick in picks)
        _check_images(project.source, missing)
        delivery = Delivery(records, labeler, round_, project.config)
        with failures_noted(records, "push", round_.number):
            labeler.prepare(project.config.project.classes)
            with records.write("push-location") as session:
                store_location(session, pool.id, labeler)
                check_config(session, labeler, pool.id)
            delivery.settle_doubtful_batches()
            delivery.predictions = predictions(project, round_.number)
            delivery.plan_batches()
            delivery.send_batches(lambda sent: on_progress(sent, total))
            delivery.refresh_predictions()
            progress = delivery.remove_copies()
        _finish(project, records, delivery, progress.notes)
        return Pushed(
            sent=delivery.sent,
            recovered=delivery.recovered,
            total=total,
            url=progress.url,
            again=delivery.again,
            notes=progress.notes,
            replaced=replaced,
        )


def _finish(project: Project, records: Records, delivery: Delivery, notes: tuple[str, ...]) -> None:
    """Moves the round on, and notes what it was sent with."""
    with records.write("push") as session:
        round_ = session.get_one(Round, delivery.round_id)
        if round_.state == "selected":
            advance(session, round_.id, before="selected", after="pushed")
            store_config(session, delivery.labeler, round_.id)
        store_people(session, round_.id, project.config)
        store_location(session, round_.pool_id, delivery.labeler)
        text = f"{delivery.sent} sent, {delivery.recovered} found"
        log(session, "push", text, round=round_.number)
        for note in notes:
            log(session, "push", note, round=round_.number, level="warning")


def clean(project: Project) -> Cleaned:
    """Takes away what rounds that are over left in the Label Studio project that is the pool: the
    marks on their tasks, and their tabs. Answers stay.

    Raises:
        ConfigError: the pool is none.
        Unknown, Unreachable, Unauthorized, Mismatch: see connectors.base; the same command goes on.
    """
    with project.writing() as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            labeler = connect_labeler(session, project)
            over = [
                round_.number
                for round_ in queries.rounds(session, pool.id)
                if round_.state in ("labeled", "trained", "compared")
            ]
        if not isinstance(labeler, SharesPool):
            raise ConfigError(
                "only where the pool is a Label Studio project (label-studio://17) do rounds leave "
                "marks and tabs to take away"
            )
        cleaned = labeler.clean(over)
        with records.write("push-clean") as session:
            store_location(session, pool.id, labeler)
            text = f"{counted(cleaned.marks, 'mark')} and {counted(cleaned.tabs, 'tab')} taken away"
            log(session, "push", text)
        return cleaned


def _items(session: Session, picks: list[int]) -> list[tuple[str, str]]:
    """(key, uri) of picks, in row order of each 500."""
    items: list[tuple[str, str]] = []
    for start in range(0, len(picks), 500):
        rows = session.execute(
            select(Item.key, Item.uri)
            .join(Pick, Pick.item_id == Item.id)
            .where(Pick.id.in_(picks[start : start + 500]))
            .order_by(Item.row)
        )
        items += [(key, uri) for key, uri in rows]
    return items


def _check_images(source: Source, items: list[tuple[str, str]]) -> None:
    """Raises Replaced if people would see another image than the one that was embedded."""
    for key, uri in items:
        read_scanned(source, uri, key)
