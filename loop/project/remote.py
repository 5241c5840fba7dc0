"""Tasks on the labeler's side, as our records have them: where each image landed, what has gone,
and whether answers can still be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from connectors.base import ConnectorError, Labeler, Mismatch
from db import queries
from db.answers import answers_of_other_classes, current_answers, odd_annotations
from db.models import Absence, Batch, Item, Pick, Pool, Round, Sent
from db.state import Records, log
from loop.config import Config
from loop.errors import ConfigError
from loop.project.labels import PEOPLE, waiting
from loop.wording import agreeing, counted

LABEL_CONFIG = "label_config"
"""Key in a round's versions."""
LOCATION = "labeler"
"""Key in a pool's source: what finds the other side again."""


@dataclass(frozen=True)
class Noticed:
    """Images sent that have no task any more, and images that have more than one."""

    gone: int = 0
    twice: int = 0


@contextmanager
def failures_noted(records: Records, step: str, number: int) -> Iterator[None]:
    """Writes an error of the labeler to the log on its way up."""
    try:
        yield
    except ConnectorError as error:
        with records.write(f"{step}-failed") as session:
            log(session, step, f"failed: {error}"[:500], round=number, level="error")
        raise


def notice(session: Session, connector: str, tasks: Mapping[str, Sequence[str]]) -> Noticed:
    """Records the task of each item, the one that stayed where copies were removed, or that it has
    gone (``remote_id`` becomes null); logs what is new.

    Args:
        tasks: item key -> remote ids, as ``Labeler.inventory`` lists them.
    """
    sent = session.execute(
        select(Sent.id, Sent.remote_id, Item.key)
        .join(Batch, Batch.uuid == Sent.batch_uuid)
        .join(Pick, Pick.id == Sent.pick_id)
        .join(Item, Item.id == Pick.item_id)
        .where(Batch.connector == connector, Batch.state == "CONFIRMED", _not_absent())
    ).all()
    gone = [sent_id for sent_id, _, key in sent if key not in tasks]
    newly_gone = [sent_id for sent_id, remote, key in sent if remote and key not in tasks]
    twice = sum(len(tasks.get(key, ())) > 1 for _, _, key in sent)
    moved = {
        sent_id: tasks[key][0]
        for sent_id, remote, key in sent
        if key in tasks and remote not in tasks[key]
    }
    changes: list[dict[str, Any]] = [{"id": sent_id, "remote_id": None} for sent_id in newly_gone]
    changes += [{"id": sent_id, "remote_id": remote} for sent_id, remote in moved.items()]
    if changes:
        session.execute(update(Sent), changes)
    if newly_gone:
        text = (
            f"{counted(len(newly_gone), 'image')} sent {agreeing(len(newly_gone), 'is')} missing "
            "there (task or line deleted); answers pulled before are kept"
        )
        log(session, "pull", text, level="warning")
    if twice:
        images = counted(twice, "image")
        text = f"{images} {agreeing(twice, 'has')} two labelled tasks; all answers count"
        log(session, "pull", text, level="warning")
    return Noticed(len(gone), twice)


def unanswered_and_gone(session: Session, round_id: int, config: Config) -> list[Sent]:
    """What a round sent, has gone, and still waits for an answer."""
    unanswered = set(waiting(session, session.get_one(Round, round_id), config))
    gone = session.scalars(
        select(Sent)
        .join(Batch, Batch.uuid == Sent.batch_uuid)
        .where(Batch.round_id == round_id, Batch.state == "CONFIRMED", Sent.remote_id.is_(None))
    )
    return [sent for sent in gone if sent.pick_id in unanswered]


def _not_absent() -> ColumnElement[bool]:
    """That a pick's image is not passed over: nobody misses its task."""
    return Pick.item_id.not_in(select(Absence.item_id))


def check_kind(session: Session, round_: Round, kind: str) -> None:
    """Raises ConfigError if an open round has been sent to a labeler of another kind."""
    connectors = session.scalars(
        select(Batch.connector).where(Batch.round_id == round_.id, Batch.state != "PLANNED")
    )
    others = {name.partition(":")[0] for name in connectors} - {kind}
    if round_.state in ("selected", "pushed") and others:
        before = min(others)
        raise ConfigError(
            f"{round_.name} was pushed to {before}, and 'kind' under [labeler] is {kind!r}; set "
            f'kind = "{before}" again until the round is closed '
            "('coreloop pull --close' then ends it, given one answer at least)"
        )


def check_config(session: Session, labeler: Labeler, pool_id: int) -> None:
    """Raises Mismatch if answers could not be read any more as when the last round was pushed."""
    if not labeler.version:
        return
    pushed = [
        round_ for round_ in queries.rounds(session, pool_id) if LABEL_CONFIG in round_.versions
    ]
    if pushed and pushed[-1].versions[LABEL_CONFIG] != labeler.version:
        raise Mismatch(
            f"since {pushed[-1].name} was pushed the names in the label config have "
            "changed, so its answers cannot be read; give Choices, Image and its value their old "
            "names back (Label Studio: Settings, Labeling Interface)"
        )


def store_config(session: Session, labeler: Labeler, round_id: int) -> None:
    """Stores which label config a round was pushed with."""
    if labeler.version:
        round_ = session.get_one(Round, round_id)
        round_.versions = {**round_.versions, LABEL_CONFIG: labeler.version}


def store_people(session: Session, round_id: int, config: Config) -> None:
    """Stores how many different people a push asked for."""
    round_ = session.get_one(Round, round_id)
    round_.versions = {**round_.versions, PEOPLE: config.labeler.overlap}


def store_location(session: Session, pool_id: int, labeler: Labeler) -> None:
    """Keeps what finds the other side again, whatever people change there."""
    pool = session.get_one(Pool, pool_id)
    if labeler.location and pool.source.get(LOCATION) != labeler.location:
        pool.source = {**pool.source, LOCATION: dict(labeler.location)}


def named_odd(session: Session, pool_id: int, *, settled: bool = False) -> list[str]:
    """Each annotation that could not be read as an answer: the image, why, and where it is.

    Args:
        settled: leave out those of images that have a label by another annotation.
    """
    odd = odd_annotations(session, pool_id)
    if odd and settled:
        answers = current_answers(session, pool_id)
        labelled = {answer.item_id for answer in answers if answer.label is not None}
        odd = [(note, uri) for note, uri in odd if note.item_id not in labelled]
    return [f"{uri}: {note.problem} ({note.url or note.external_id})" for note, uri in odd]


def named_unknown(session: Session, pool_id: int, config: Config) -> str:
    """How many answers name a class that the project does not have, one of them, and what to do;
    empty if none does. Classes of earlier rounds are spoken of elsewhere (``changed_classes``)."""
    classes = set(config.project.classes)
    for round_ in queries.rounds(session, pool_id):
        classes |= set(round_.config["project"]["classes"])
    others = answers_of_other_classes(session, pool_id, sorted(classes))
    if not others:
        return ""
    label, uri, url = others[0]
    return (
        f"{counted(len(others), 'answer')} with a class that this project does not have, counted "
        f"as no label: {label!r} of {uri} ({url or 'no address'}) for one; correct what was chosen "
        "there, or add the class at the end of 'classes' under [project]"
    )


def sent_count(session: Session, connector: str) -> int:
    """Tasks that should be there."""
    tasks = (
        select(func.count())
        .select_from(Sent)
        .join(Batch, Batch.uuid == Sent.batch_uuid)
        .where(Batch.connector == connector, Sent.remote_id.is_not(None))
    )
    return int(session.scalar(tasks) or 0)
