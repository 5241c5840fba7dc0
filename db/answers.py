"""What people answered, of all versions seen of each annotation. Nothing here writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.orm import Session, aliased

from db.models import Absence, Annotation, Item, Pick, Pool, Round
from db.queries import the_pool

PEOPLE = "people"
"""Key in a pool's source: annotator as the labeler numbers them -> name."""
SOURCE = "source"
"""Connector and annotator of labels that came with the images."""
BEFORE = "before"
"""Connector of labels that people gave before they were asked, and arm of the picks that hold
them."""


@dataclass(frozen=True)
class Answer:
    """What one annotator says of one item now; ``annotator`` by name where it is known."""

    item_id: int
    row: int
    key: str
    annotator: str
    label: str | None
    seconds: float | None
    cancelled: bool
    at: datetime | None
    external_id: str
    connector: str


def by_people(answers: Iterable[Answer]) -> list[Answer]:
    """Without labels that came with the images (of a test folder)."""
    return [answer for answer in answers if answer.connector != SOURCE]


def asked_for(answers: Iterable[Answer]) -> list[Answer]:
    """Those that rounds asked people for: only these took time that is counted."""
    return [answer for answer in answers if answer.connector not in (SOURCE, BEFORE)]


def _given() -> Any:
    """When an annotation was made: by the labeler's clock, else when it was first seen."""
    return func.coalesce(Annotation.at, Annotation.seen_at)


def _stands() -> Any:
    """That a newest version is an answer: neither deleted nor odd."""
    return and_(~Annotation.deleted, Annotation.problem.is_(None))


def _newest_versions() -> Any:
    """Ids of the newest version of every annotation, as a table to join with: SQLite would ask for
    each of many rows whether it is in a list."""
    return (
        select(func.max(Annotation.id).label("id"))
        .group_by(Annotation.connector, Annotation.external_id)
        .subquery()
    )


def standing_answers(session: Session, pool_id: int) -> list[Answer]:
    """Every annotation that stands now, by the time it was made, oldest first: its newest version,
    deleted and odd ones left out. Costs what there are annotations, however many images.

    SQLite 3.40: SCAN annotation (its index of versions), SEARCH annotation, item (by id).
    """
    newest = _newest_versions()
    annotations = session.execute(
        select(
            Annotation.item_id,
            Item.row,
            Item.key,
            Annotation.annotator,
            Annotation.label,
            Annotation.seconds,
            Annotation.cancelled,
            Annotation.at,
            Annotation.external_id,
            Annotation.connector,
        )
        .join(newest, newest.c.id == Annotation.id)
        .join(Item, Item.id == Annotation.item_id)
        .where(_of_pool(pool_id), _stands())
        .order_by(_given(), Annotation.id)
    )
    names = session.get_one(Pool, pool_id).source.get(PEOPLE, {})
    answers = [Answer(*tuple(annotation)) for annotation in annotations]
    if not names:
        return answers
    return [
        replace(answer, annotator=names.get(answer.annotator, answer.annotator))
        for answer in answers
    ]


def annotators(session: Session, connector: str) -> set[str]:
    """Everybody with an annotation of a connector, as the labeler numbers them."""
    query = select(Annotation.annotator).where(Annotation.connector == connector).distinct()
    return set(session.scalars(query))


def _of_pool(pool_id: int) -> Any:
    """That an item is of a pool, as an expression: by its index of pools, SQLite would begin at
    all items of the pool and not at the few that are joined."""
    return Item.pool_id + 0 == pool_id


def current_answers(session: Session, pool_id: int) -> list[Answer]:
    """What each person says now, oldest first: of several annotations by one person on one item the
    newest, labels before skips."""
    current: dict[tuple[int, str], Answer] = {}
    for answer in standing_answers(session, pool_id):
        who = answer.item_id, answer.annotator
        before = current.get(who)
        if before is None or answer.label is not None or before.label is None:
            current.pop(who, None)
            current[who] = answer
    return list(current.values())


def answer_tallies(
    session: Session, pool_id: int, classes: Sequence[str], overlap: int
) -> dict[int, tuple[int, int, int]]:
    """Round number -> (picks, picks that wait for answers, picks with skips only), counted by the
    database, without images passed over; the same as counting over ``current_answers``."""
    newest = _newest_versions()
    rank = func.row_number().over(
        partition_by=(Annotation.item_id, Annotation.annotator),
        order_by=(Annotation.label.is_(None), _given().desc(), Annotation.id.desc()),
    )
    seen = (
        select(
            Annotation.item_id,
            Annotation.label,
            Annotation.cancelled,
            Annotation.connector,
            rank.label("rank"),
        )
        .join(newest, newest.c.id == Annotation.id)
        .where(_stands())
        .subquery()
    )

    def count(when: Any) -> Any:
        return func.sum(case((when, 1), else_=0))

    given = (
        select(
            seen.c.item_id,
            func.count().label("people"),
            count(seen.c.label.in_(classes)).label("labels"),
            count(and_(seen.c.label.in_(classes), seen.c.connector == BEFORE)).label("before"),
            count(or_(seen.c.cancelled, seen.c.label.is_(None))).label("skips"),
        )
        .where(seen.c.rank == 1)
        .group_by(seen.c.item_id)
        .subquery()
    )
    labels, skips = func.coalesce(given.c.labels, 0), func.coalesce(given.c.skips, 0)
    done = or_(
        labels >= overlap,
        and_(labels > 0, given.c.people >= overlap),
        func.coalesce(given.c.before, 0) > 0,  # nobody is asked again
    )
    skipped = and_(~done, labels == 0, skips >= overlap)
    tallies = session.execute(
        select(Round.number, func.count(), count(and_(~done, ~skipped)), count(skipped))
        .join(Pick, Pick.round_id == Round.id)
        .outerjoin(given, given.c.item_id == Pick.item_id)
        .where(Round.pool_id == pool_id, Pick.item_id.not_in(select(Absence.item_id)))
        .group_by(Round.number)
    )
    return {number: (int(picks), int(wait), int(skip)) for number, picks, wait, skip in tallies}


def answers_of_other_classes(
    session: Session, pool_id: int, classes: Sequence[str]
) -> list[tuple[str, str, str | None]]:
    """(label, uri, where people see it) of every answer that names none of these classes."""
    newest = _newest_versions()
    others = session.execute(
        select(Annotation.label, Item.uri, Annotation.url)
        .join(newest, newest.c.id == Annotation.id)
        .join(Item, Item.id == Annotation.item_id)
        .where(Annotation.label.not_in(classes), _stands(), _of_pool(pool_id))
        .order_by(Annotation.id)
    )
    return [(str(label), uri, url) for label, uri, url in others]


def labelled_before(classes: Sequence[str]) -> Any:
    """Ids of the items with a label that people gave before they were asked, as a subquery."""
    newest = _newest_versions()
    return (
        select(Annotation.item_id)
        .join(newest, newest.c.id == Annotation.id)
        .where(Annotation.connector == BEFORE, Annotation.label.in_(classes), _stands())
    )


def odd_annotations(session: Session, pool_id: int) -> list[tuple[Annotation, str]]:
    """(newest version, uri) of every annotation that could not be read as an answer."""
    newest = _newest_versions()
    odd = session.execute(
        select(Annotation, Item.uri)
        .join(newest, newest.c.id == Annotation.id)
        .join(Item, Item.id == Annotation.item_id)
        .where(Annotation.problem.is_not(None), ~Annotation.deleted, _of_pool(pool_id))
        .order_by(Annotation.id)
    )
    return [(annotation, uri) for annotation, uri in odd]


def held_annotations(session: Session, connectors: Sequence[str]) -> int:
    """Annotations of these connectors that have not been deleted there, odd ones too."""
    newest = _newest_versions()
    held = (
        select(func.count())
        .select_from(Annotation)
        .join(newest, newest.c.id == Annotation.id)
        .where(Annotation.connector.in_(connectors), ~Annotation.deleted)
    )
    return int(session.scalar(held) or 0)


def newest_annotations(
    session: Session, connectors: Sequence[str], keys: Sequence[str]
) -> list[tuple[Annotation, str]]:
    """(newest version, item key) of every annotation of these items by these connectors.

    SQLite 3.40: SEARCH item (its index of keys), annotation (its index of items), and for each
    annotation the index of its versions.
    """
    pool_id = the_pool(session).id
    newer = aliased(Annotation)
    newest = (
        select(func.max(newer.id))
        .where(newer.connector == Annotation.connector, newer.external_id == Annotation.external_id)
        .scalar_subquery()
    )
    annotations = session.execute(
        select(Annotation, Item.key)
        .join(Item, Item.id == Annotation.item_id)
        .where(
            Item.pool_id == pool_id,
            Item.key.in_(keys),
            Annotation.connector.in_(connectors),
            Annotation.id == newest,
        )
    )
    return [(annotation, key) for annotation, key in annotations]
