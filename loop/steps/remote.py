"""What happens on the labeler's side, noted for ``status``: failures, and tasks that have gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from connectors.base import ConnectorError, Labeler, Mismatch
from db import queries
from db.models import Batch, Item, Pick, Round, Sent
from db.state import Records, log
from loop.errors import ConfigError
from loop.project import Project
from loop.steps.labels import waiting

LABEL_CONFIG = "label_config"
"""Key in a round's versions."""


@dataclass(frozen=True)
class Noticed:
    """Images sent that have no task any more, and images that have more than one."""

    gone: int
    twice: int


@contextmanager
def failures_noted(records: Records, step: str, number: int) -> Iterator[None]:
    """Writes an error of the labeler to the log on its way up."""
    try:
        yield
    except ConnectorError as error:
        with records.write(f"{step}-failed") as session:
            log(session, step, f"failed: {error}"[:500], round=number, level="error")
        raise


def notice(session: Session, connector: str, there: Mapping[str, Sequence[str]]) -> Noticed:
    """Records the task of each item, the one that stayed where copies were removed, or that it has
    gone (``remote_id`` becomes null); logs what is new.

    Args:
        there: what ``Labeler.inventory`` found.
    """
    sent = session.execute(
        select(Sent.id, Sent.remote_id, Item.key)
        .join(Batch, Batch.uuid == Sent.batch_uuid)
        .join(Pick, Pick.id == Sent.pick_id)
        .join(Item, Item.id == Pick.item_id)
        .where(Batch.connector == connector, Batch.state == "CONFIRMED")
    ).all()
    gone = [id_ for id_, _, key in sent if key not in there]
    new = [id_ for id_, remote, key in sent if remote is not None and key not in there]
    twice = sum(len(there.get(key, ())) > 1 for _, _, key in sent)
    changed = dict.fromkeys(new) | {
        id_: there[key][0] for id_, remote, key in sent if key in there and remote not in there[key]
    }
    if changed:
        session.execute(
            update(Sent), [{"id": id_, "remote_id": task} for id_, task in changed.items()]
        )
    if new:
        log(
            session,
            "pull",
            f"{len(new)} images sent are missing there (task or line deleted); "
            "answers pulled before are kept",
            level="warning",
        )
    if twice:
        log(
            session,
            "pull",
            f"{twice} images have two labelled tasks; all answers count",
            level="warning",
        )
    return Noticed(len(gone), twice)


def unanswered_and_gone(session: Session, project: Project, round_id: int) -> list[Sent]:
    """What a round sent, has gone, and still waits for an answer."""
    unanswered = set(waiting(session, project, session.get_one(Round, round_id)))
    gone = session.scalars(
        select(Sent)
        .join(Batch, Batch.uuid == Sent.batch_uuid)
        .where(Batch.round_id == round_id, Batch.state == "CONFIRMED", Sent.remote_id.is_(None))
    )
    return [one for one in gone if one.pick_id in unanswered]


def check_kind(session: Session, project: Project, found: Round) -> None:
    """Raises ConfigError if an open round has been sent to a labeler of another kind."""
    kind = project.config.labeler.kind
    connectors = session.scalars(
        select(Batch.connector).where(Batch.round_id == found.id, Batch.state != "PLANNED")
    )
    other = {name.partition(":")[0] for name in connectors} - {kind}
    if found.state in ("selected", "pushed") and other:
        before = min(other)
        raise ConfigError(
            f"{found.name} was pushed to {before}, and 'kind' under [labeler] is {kind!r}; set "
            f'kind = "{before}" again until the round is closed '
            "('coreloop pull --close' then ends it, given one answer at least)"
        )


def check_config(session: Session, people: Labeler, pool_id: int) -> None:
    """Raises Mismatch if answers could not be read any more as when the last round was pushed."""
    if not people.version:
        return
    pushed = [r for r in queries.rounds(session, pool_id) if LABEL_CONFIG in r.versions]
    if pushed and pushed[-1].versions[LABEL_CONFIG] != people.version:
        raise Mismatch(
            f"since {pushed[-1].name} was pushed the names in the label config have "
            "changed, so its answers cannot be read; give Choices, Image and its value their old "
            "names back (Label Studio: Settings, Labeling Interface)"
        )


def keep_config(session: Session, people: Labeler, round_id: int) -> None:
    """Stores which label config a round was pushed with."""
    found = session.get_one(Round, round_id)
    if people.version:
        found.versions = {**found.versions, LABEL_CONFIG: people.version}


def sent_count(session: Session, connector: str) -> int:
    """Tasks that should be there."""
    return int(
        session.scalar(
            select(func.count())
            .select_from(Sent)
            .join(Batch, Batch.uuid == Sent.batch_uuid)
            .where(Batch.connector == connector, Sent.remote_id.is_not(None))
        )
        or 0
    )


def gone_by_round(session: Session) -> list[tuple[int, int]]:
    """(round number, tasks that have gone) of every round that lost some."""
    found = session.execute(
        select(Round.number, func.count())
        .join(Batch, Batch.round_id == Round.id)
        .join(Sent, Sent.batch_uuid == Batch.uuid)
        .where(Batch.state == "CONFIRMED", Sent.remote_id.is_(None))
        .group_by(Round.number)
        .order_by(Round.number)
    )
    return [(int(number), int(count)) for number, count in found]
