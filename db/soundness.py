"""Do the records agree with themselves? What constraints cannot say, in queries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import (
    REPLACED,
    ROUND_STATES,
    Absence,
    Annotation,
    Array,
    Batch,
    Item,
    Pick,
    Pool,
    Round,
    Sent,
    TrainingRun,
)
from db.queries import promise_of

STREAMED = 10_000


def pool_digest(session: Session, pool_id: int) -> str:
    """32 hex digits that name the pool's keys and their order."""
    state = hashlib.blake2b(digest_size=16)
    item = Item.__table__.c  # the table itself: a million rows pass without becoming objects
    keys = select(item.key).where(item.pool_id == pool_id).order_by(item.row)
    streamed = session.connection().execute(keys, execution_options={"yield_per": STREAMED})
    for part in streamed.scalars().partitions():
        state.update("".join(part).encode())
    return state.hexdigest()


def contradictions(session: Session, pool: Pool) -> Iterator[str]:
    """Each thing that cannot be as the records say, in words; nothing if all is well."""
    count, last = session.execute(
        select(func.count(), func.max(Item.row)).where(Item.pool_id == pool.id)
    ).one()
    if count and last != count - 1:
        yield f"{count} images, but the last has row {last}"
    if pool.digest and pool.digest != pool_digest(session, pool.id):
        yield "the pool's digest is not that of its images"
    yield from _splits(session, pool.id)
    for round_ in session.scalars(select(Round).where(Round.pool_id == pool.id)):
        yield from _round(session, round_)
    yield from _arrays(session, pool, int(count))


def _splits(session: Session, pool_id: int) -> Iterator[str]:
    mixed = session.scalar(
        select(func.count())
        .select_from(Pick)
        .join(Item, Item.id == Pick.item_id)
        .where(Item.pool_id == pool_id, (Pick.arm == "test") != (Item.split == "test"))
    )
    if mixed:
        yield f"{mixed} picks are on the wrong side of the test split"
    unasked = session.scalar(
        select(func.count())
        .select_from(Annotation)
        .outerjoin(Pick, Pick.item_id == Annotation.item_id)
        .where(Pick.id.is_(None))
    )
    if unasked:
        yield f"{unasked} annotations of images that nobody picked"


def _round(session: Session, round_: Round) -> Iterator[str]:
    """What a round of this state must have."""
    state = ROUND_STATES.index(round_.state)

    def count(query: object) -> int:
        return int(session.scalar(query) or 0)  # type: ignore[call-overload]

    of_round = select(func.count()).select_from(Pick).where(Pick.round_id == round_.id)
    picks = count(of_round)
    replaced = REPLACED in round_.config
    sampled = count(  # the sample is drawn when its round begins
        select(func.count())
        .select_from(Pick)
        .where(Pick.round_id == round_.id, Pick.arm == "sample")
    )
    expected = round_.budget if state >= ROUND_STATES.index("selected") else 0
    expected += int(round_.config.get(REPLACED, 0))
    chosen = picks - sampled
    if chosen != expected:
        yield f"round {round_.number} is {round_.state!r} with {chosen} picks, not {expected}"
    sent = (
        select(func.count())
        .select_from(Sent)
        .join(Batch, Batch.uuid == Sent.batch_uuid)
        .where(Batch.round_id == round_.id, Batch.state == "CONFIRMED")
    )
    by_people = round_.number > 0 or count(sent) > 0  # a labelled test folder is never sent
    before = select(Annotation.item_id).where(Annotation.connector == "before")
    unsent = count(  # a pick whose image is passed over need not be sent
        of_round.outerjoin(Sent, Sent.pick_id == Pick.id).where(
            Sent.id.is_(None),
            Pick.item_id.not_in(before),
            Pick.item_id.not_in(select(Absence.item_id)),
        )
    )
    if state >= ROUND_STATES.index("pushed") and by_people and unsent and not replaced:
        yield f"round {round_.number} is {round_.state!r} with {count(sent)} of {picks} picks sent"
    runs = count(
        select(func.count())
        .select_from(TrainingRun)
        .where(TrainingRun.round_id == round_.id, TrainingRun.arm == "all")
    )
    trains = promise_of(session, round_.id) is None
    if state >= ROUND_STATES.index("trained") and trains and not runs:
        yield f"round {round_.number} is {round_.state!r} without a training run"


def _arrays(session: Session, pool: Pool, count: int) -> Iterator[str]:
    wrong = session.scalars(
        select(Array).where(
            Array.pool_id == pool.id, Array.kind == "embeddings", Array.of == pool.digest
        )
    )
    for row in wrong:
        if row.shape[0] != count:
            yield f"{row.shape[0]} embeddings for {count} images"
