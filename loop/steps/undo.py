"""undo: the newest round taken back, as long as nobody has labelled anything of it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from connectors.base import BatchToLabel, Withdraws
from db import models, queries
from db.errors import StaleRound
from db.models import Annotation, Array, Pick, Promise, Round, Sent
from db.state import Records, log
from loop.errors import ConfigError, NotReady
from loop.project import Project
from loop.project.delivery import Delivery
from loop.project.labeler import connect_labeler
from loop.project.promise import PREDICTED, of_promise
from loop.project.remote import check_kind, failures_noted
from loop.project.rounds import FIRST_DRAW
from loop.wording import counted

OPEN = ("planned", "scored", "selected", "pushed")


@dataclass(frozen=True)
class Undone:
    """The round that was taken back: its picks, of which ``withdrawn`` were with the labeler."""

    round: int
    picks: int
    withdrawn: int


def undo(project: Project) -> Undone:
    """Takes back the newest round: its picks, what was drawn for the sample with them, and their
    tasks at the labeler, after these were looked at anew. Everything stands as before the round.

    Raises:
        NotReady: there is no round, or the newest is the test round or over.
        StaleRound: somebody has labelled or skipped an image of it.
        ConfigError: the labeler cannot take anything back.
        Unreachable, Unauthorized, Mismatch: see connectors.base.
    """
    with project.writing() as records:
        with records.read() as session:
            round_ = _round_to_undo(session)
            count = len(queries.round_rows(session, round_.id))
        with failures_noted(records, "undo", round_.number):
            withdrawn = _withdraw(project, records, round_)
        with records.write("undo") as session:
            _check_unanswered(session, round_)
            _remove(session, round_)
            log(session, "undo", f"{round_.name} was taken back: {counted(count, 'pick')}")
        return Undone(round_.number, count, withdrawn)


def _round_to_undo(session: Session) -> Round:
    """Raises NotReady, StaleRound: see ``undo``."""
    round_ = queries.newest_round(session, queries.the_pool(session).id)
    if round_ is None or round_.number == 0:
        raise NotReady(
            "there is no round to take back"
            if round_ is None
            else "the test round stays: its images were fixed at the first scan"
        )
    if round_.state not in OPEN:
        raise NotReady(
            f"{round_.name} is {round_.state!r}: people have labelled it, so it stays; answers can "
            "be corrected where they were given, and images taken out: coreloop exclude FILES"
        )
    _check_unanswered(session, round_)
    return round_


def _check_unanswered(session: Session, round_: Round) -> None:
    """Raises StaleRound: there is an annotation of one of the round's own picks."""
    answered = session.scalar(
        select(func.count(Annotation.item_id.distinct()))
        .join(Pick, Pick.item_id == Annotation.item_id)
        .where(Pick.round_id == round_.id)
    )
    if answered:
        raise StaleRound(_answered(round_, int(answered)))


def _answered(round_: Round, count: int) -> str:
    images = counted(count, "image")
    return (
        f"people have worked on {images} of {round_.name}, so it stays; nothing was removed. "
        "'coreloop pull --close' ends it with the answers there are"
    )


def _withdraw(project: Project, records: Records, round_: Round) -> int:
    """Takes the round's tasks back from the labeler, all or none; how many.

    Raises:
        StaleRound: somebody has worked on one of them.
    """
    with records.read() as session:
        sent = select(models.Batch).where(
            models.Batch.round_id == round_.id, models.Batch.state != "PLANNED"
        )
        batches = session.scalars(sent).all()
        if not batches:
            return 0
        check_kind(session, round_, project.config.labeler.kind)
        labeler = connect_labeler(session, project)
    if project.config.labeler.kind == "oracle":
        return 0  # it answers when it is asked, and nobody sees its tasks
    if not isinstance(labeler, Withdraws):
        raise ConfigError(
            f"the labeler {project.config.labeler.kind!r} takes nothing back; nothing was changed"
        )
    Delivery(records, labeler, round_, project.config).settle_doubtful_batches()
    tasks: dict[str, str] = {}
    for batch in batches:
        tasks.update(labeler.find(BatchToLabel(batch.uuid, round_.number)))
    touched = tasks.keys() - labeler.untouched(tasks)
    if not touched:
        touched = tasks.keys() - labeler.withdraw(tasks)  # somebody was faster
    if touched:
        raise StaleRound(_answered(round_, len(touched)))
    return len(tasks)


def _remove(session: Session, round_: Round) -> None:
    """Removes the round from the records, with all that hangs on it alone."""
    of_round = select(Pick.id).where(Pick.round_id == round_.id)
    session.execute(delete(Sent).where(Sent.pick_id.in_(of_round)))
    session.execute(delete(models.Batch).where(models.Batch.round_id == round_.id))
    first_draw = round_.config.get(FIRST_DRAW)
    if first_draw is not None:  # images that were picked before, and drawn with this round
        drawn = update(Pick).where(Pick.round_id != round_.id, Pick.draw >= first_draw)
        session.execute(drawn.values(draw=None, probability=None))
    session.execute(delete(Pick).where(Pick.round_id == round_.id))
    names = [f"round-{round_.number}"]
    promise = session.scalar(select(Promise).where(Promise.round_id == round_.id))
    if promise is not None:
        names.append(of_promise(promise.look))
        session.delete(promise)
    session.execute(update(Promise).where(Promise.rest_id == round_.id).values(rest_id=None))
    session.flush()
    kinds = ("scores", PREDICTED)
    session.execute(
        delete(Array).where(
            Array.pool_id == round_.pool_id, Array.kind.in_(kinds), Array.of.in_(names)
        )
    )
    session.execute(delete(Round).where(Round.id == round_.id))
