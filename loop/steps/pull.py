"""pull: human answers -> annotation versions; nothing seen is ever changed or forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from connectors.base import ConnectorError, Labeler, NamesPeople, SharesPool, Unreachable
from db import queries
from db.answers import BEFORE, PEOPLE, annotators
from db.models import Cursor, Round
from db.state import Records, advance, log
from loop.errors import ConfigError, NotReady
from loop.project import Project, ProjectBusy
from loop.project.absence import pass_over_deleted
from loop.project.collection import Collection
from loop.project.corrections import outdated_rounds
from loop.project.labeler import connect_labeler
from loop.project.remote import (
    Noticed,
    check_config,
    check_kind,
    failures_noted,
    named_odd,
    named_unknown,
    notice,
    sent_count,
)
from loop.project.rounds import next_command
from loop.wording import counted


@dataclass(frozen=True)
class Pulled:
    """Counts of one pull, and of the round after it.

    ``gone`` images were sent and have no task any more, ``twice`` have two labelled ones; both are
    looked for when a round ends, or with ``full``. ``odd`` names the annotations that could not be
    read as an answer, and where they are; ``unknown`` answers that name no class. ``notes`` is what
    people should know of the other side, ``outdated`` the rounds that were trained on other labels
    than people give now, ``next`` what to type.
    """

    new: int
    foreign: int
    unknown_class: int
    odd: list[str]
    unknown: str
    notes: tuple[str, ...]
    gone: int
    twice: int
    answered: int
    picked: int
    skipped: int
    complete: bool
    url: str | None
    round: int
    next: str
    outdated: tuple[int, ...] = ()


def pull(project: Project, *, close: bool = False, full: bool = False) -> Pulled:
    """Fetches what changed; the round becomes ``labeled`` when every pick is answered.

    Args:
        close: end the round with the answers there are; the rest stays unanswered.
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
        collection = Collection(records, labeler, round_, project.config)
        with failures_noted(records, "pull", round_.number):
            if isinstance(labeler, SharesPool):
                pass_over_deleted(records, project.source, round_)
            with records.read() as session:
                check_config(session, labeler, pool.id)
            collection.read(since)
            ending = close or _ending(records, collection)
            if since is not None and (ending or not collection.agrees):
                collection.read(None)
            noticed = _compare_tasks(records, collection, always=full or ending)
        _name_people(records, labeler)
        pulled = _settle(records, collection, noticed, close=close)
        with records.read() as session:
            return replace(pulled, outdated=_outdated(session, project))


def _outdated(session: Session, project: Project) -> tuple[int, ...]:
    """See ``outdated_rounds``; none where classes were changed, which training speaks of."""
    try:
        return outdated_rounds(session, project)
    except ConfigError:
        return ()


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


def _ending(records: Records, collection: Collection) -> bool:
    """Whether every pick of an open round is answered."""
    with records.read() as session:
        unanswered = collection.outstanding(session).unanswered
    return collection.round.state == "pushed" and unanswered == 0


def _compare_tasks(records: Records, collection: Collection, *, always: bool) -> Noticed:
    """Compares tasks one by one with what was sent: always, or where the labeler has too few, or
    more than one of an image."""
    labeler = collection.labeler
    with records.read() as session:
        remote_ids = queries.remote_ids(session, labeler.name)
        there = collection.progress.tasks
        short = there is not None and there < sent_count(session, labeler.name)
    if not (always or short or collection.has_copies):
        return Noticed()
    tasks = labeler.inventory(remote_ids)
    with records.write("pull-notice") as session:
        return notice(session, labeler.name, tasks)


def _name_people(records: Records, labeler: Labeler) -> None:
    """Asks for the names of annotators that are new; where they are not told, the numbers stay."""
    if not isinstance(labeler, NamesPeople):
        return
    with records.read() as session:
        known = queries.the_pool(session).source.get(PEOPLE, {})
        asked = annotators(session, labeler.name)
        unasked = annotators(session, BEFORE) if isinstance(labeler, SharesPool) else set()
        new = (asked | unasked) - set(known)
    if not new:
        return
    try:
        names = labeler.people()
    except ConnectorError:
        return
    with records.write("pull-people") as session:
        pool = queries.the_pool(session)
        named = known | {who: names.get(who, who) for who in sorted(new)}
        pool.source = {**pool.source, PEOPLE: named}


def _settle(records: Records, collection: Collection, noticed: Noticed, *, close: bool) -> Pulled:
    """Moves the round on if it is answered, or if the person says so."""
    with records.write("pull") as session:
        round_ = session.get_one(Round, collection.round.id)
        open_ = collection.outstanding(session)
        complete = round_.state != "pushed" or open_.unanswered == 0
        if round_.state == "pushed" and (complete or close):
            if open_.answered == 0:
                raise NotReady(
                    f"{round_.name} has no label at all "
                    f"({open_.skipped} skipped, {open_.unanswered} waiting); it stays open"
                )
            advance(session, round_.id, before="pushed", after="labeled")
            session.refresh(round_)
            text = f"round closed with {counted(open_.answered, 'label')}"
            log(session, "pull", text, round=round_.number)
            complete = True
        return Pulled(
            new=collection.new,
            foreign=collection.foreign,
            unknown_class=collection.unknown_class,
            odd=named_odd(session, round_.pool_id),
            unknown=named_unknown(session, round_.pool_id, collection.config),
            notes=collection.progress.notes,
            gone=noticed.gone,
            twice=noticed.twice,
            answered=open_.answered,
            picked=open_.picked,
            skipped=open_.skipped,
            complete=complete,
            url=collection.progress.url,
            round=round_.number,
            next=next_command(round_),
        )
