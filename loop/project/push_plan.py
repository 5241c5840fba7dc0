"""What a push would do, image by image, and what it would change on the other side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors.base import (
    Foretells,
    Labeler,
    Prediction,
    RemoteChange,
    SharesPool,
    SourceError,
)
from db import queries
from db.answers import labelled_before
from db.models import Batch, Item, Pick, Pool, Round, Sent
from loop.errors import DataError
from loop.project.labeler import connect_labeler
from loop.project.labels import waiting
from loop.project.predictions import predictions
from loop.project.problem import read_scanned
from loop.project.project import Project
from loop.project.remote import check_config, check_kind
from loop.project.rounds import current_round

SEND, AGAIN, SETTLE, STAYS = "send", "send again", "look for", "stays"
REPLACE = "replace"


@dataclass(frozen=True)
class PlannedImage:
    """One pick and what would become of it.

    Attributes:
        action: ``send``; ``send again``: its task has gone unanswered; ``look for``: an earlier
            push was cut off, it is sent if it is not there; ``stays``: it is there; ``replace``:
            its file has gone, or it was excluded, and the next best is picked in its place.
        prediction: shown to people beforehand; None: none.
        problem: why it cannot be sent; None: it can.
    """

    key: str
    uri: str
    action: str
    prediction: Prediction | None
    problem: str | None


@dataclass(frozen=True)
class PushPlan:
    """What a push would do now; nothing was changed by asking.

    Attributes:
        images: the round's picks in labelling order.
        changes: on the other side, in its words; one with equal ends stays as it is.
    """

    round: int
    labeler: str
    images: list[PlannedImage]
    changes: list[RemoteChange]

    @property
    def counts(self) -> dict[str, int]:
        """Action -> images."""
        return dict(Counter(image.action for image in self.images))

    @property
    def problems(self) -> list[str]:
        """What would end the push before anything is sent."""
        return [image.problem for image in self.images if image.problem]


def plan_push(project: Project) -> PushPlan:
    """Reads the records and asks the labeler; changes nothing in either.

    Raises:
        NotReady: the round has no picks, or is past this step.
        ConfigError: the round has been sent to a labeler of another kind.
        Unreachable, Unauthorized, Mismatch: as the push would.
    """
    config = project.config
    with project.records.read() as session:
        pool = queries.the_pool(session)
        round_ = round_to_push(session, pool)
        check_kind(session, round_, config.labeler.kind)
        labeler = connect_labeler(session, project)
        picks = _picks(session, round_, config.project.classes)
        unanswered = set(waiting(session, round_, config))
    guesses = predictions(project, round_.number)
    listed = _listed(labeler, picks) if round_.state == "pushed" else ()
    passed_over = _passed_over(project, picks)
    images = []
    for pick_id, key, uri, batch_state in picks:
        gone = batch_state == "CONFIRMED" and round_.state == "pushed" and key not in listed
        action = _action(batch_state, gone=gone and pick_id in unanswered)
        if action == SEND and key in passed_over:
            action = REPLACE
        problem = None if action in (STAYS, REPLACE) else _problem(project, uri, key)
        images.append(PlannedImage(key, uri, action, guesses.get(key), problem))
    if config.labeler.order == "uncertain":
        images.sort(key=lambda image: image.prediction.score if image.prediction else 2.0)
    if isinstance(labeler, SharesPool):  # which shows no guesses
        images = [replace(image, prediction=None) for image in images]
    changes = _changes(labeler, config.project.classes, images)
    if not _is_made(changes):
        with project.records.read() as session:
            check_config(session, labeler, pool.id)
    return PushPlan(round_.number, config.labeler.kind, images, changes)


def _passed_over(project: Project, picks: Sequence[tuple[int, str, str, str | None]]) -> set[str]:
    """Keys of picks whose files have gone, or that were passed over since."""
    missing = set(project.source.missing(uri for _, _, uri, _ in picks))
    with project.records.read() as session:
        absent = set(session.scalars(select(Item.key).where(~queries.present())))
    return {key for _, key, uri, _ in picks if uri in missing or key in absent}


def round_to_push(session: Session, pool: Pool) -> Round:
    """The current round, selected or already with people. Raises NotReady."""
    newest = queries.newest_round(session, pool.id)
    reopened = newest is not None and newest.state == "pushed"
    return current_round(session, pool, after="pushed" if reopened else "selected")


def _picks(
    session: Session, round_: Round, classes: Sequence[str]
) -> list[tuple[int, str, str, str | None]]:
    """(pick id, key, uri, state of its batch) in labelling order, without images that people had
    labelled before."""
    picks = session.execute(
        select(Pick.id, Item.key, Item.uri, Batch.state)
        .join(Item, Item.id == Pick.item_id)
        .outerjoin(Sent, Sent.pick_id == Pick.id)
        .outerjoin(Batch, Batch.uuid == Sent.batch_uuid)
        .where(Pick.round_id == round_.id, Pick.item_id.not_in(labelled_before(classes)))
        .order_by(Pick.rank, Pick.arm)
    )
    return [(pick_id, key, uri, state) for pick_id, key, uri, state in picks]


def _listed(labeler: Labeler, picks: Sequence[tuple[int, str, str, str | None]]) -> Container[str]:
    """Keys of the images there; all picks where the labeler cannot tell without changing things."""
    if isinstance(labeler, Foretells):
        return labeler.listed()
    return {key for _, key, _, _ in picks}


def _action(batch_state: str | None, *, gone: bool) -> str:
    if batch_state in (None, "PLANNED"):
        return SEND
    if batch_state in ("SENT", "UNKNOWN"):
        return SETTLE
    return AGAIN if gone else STAYS


def _problem(project: Project, uri: str, key: str) -> str | None:
    """Why an image cannot be sent."""
    try:
        read_scanned(project.source, uri, key)
    except (SourceError, DataError) as error:
        return str(error)
    return None


def _changes(
    labeler: Labeler, classes: Sequence[str], images: Sequence[PlannedImage]
) -> list[RemoteChange]:
    if not isinstance(labeler, Foretells):
        return []
    new = [image for image in images if image.action in (SEND, AGAIN)]
    guesses = [image.prediction for image in images if image.prediction]
    return list(labeler.foretell(classes, len(new), guesses))


def _is_made(changes: Sequence[RemoteChange]) -> bool:
    """Whether the push would make the other side anew."""
    return bool(changes) and changes[0].before is None
