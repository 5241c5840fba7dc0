"""Picks of the open round that can bring no label, and the next best in their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from db import models, queries
from db.answers import current_answers
from db.models import REPLACED, Item, Pick, Round, Sent
from db.picks import add_picks
from db.queries import Picked
from db.state import Records, log
from loop.errors import NotReady
from loop.project.absence import NamedItem, gone_among, named, pass_over
from loop.project.choice import choice_of
from loop.project.labels import pick_states
from loop.project.project import Project
from loop.project.sample import mix_sample
from loop.wording import counted

ARMS = ("coreset", "control")
"""Arms whose picks are replaced; what was drawn to measure is not chosen, so it only leaves."""


@dataclass(frozen=True)
class Replacement:
    """What became of picks.

    Attributes:
        dropped: files whose images leave the round.
        added: files of the images picked in their place; fewer where too few are left.
    """

    dropped: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    def __str__(self) -> str:
        """``2 picks replaced: a.png, b.png by c.png, d.png``."""
        taken = named(self.added) if self.added else "none, as the round needs none"
        count = counted(len(self.dropped), "pick")
        return f"{count} taken out ({named(self.dropped)}); picked in their place: {taken}"


NOTHING = Replacement()


def check_open(round_: Round | None) -> Round:
    """Raises NotReady: the newest round has no picks, or is over."""
    if round_ is None or round_.state not in ("selected", "pushed"):
        state = f"{round_.name} is {round_.state!r}" if round_ else "there is no round"
        raise NotReady(f"no round has picks that wait for answers: {state}; see 'coreloop status'")
    return round_


def replace_gone(project: Project, records: Records, round_: Round) -> Replacement:
    """Takes picks out that were not sent and whose files have gone, or that were passed over since,
    and picks the next best. The picks of a promise stay, unsent: a random sample is not chosen.

    Raises:
        SourceError: not one of several files is there.
    """
    dropped: list[str] = []
    added: list[str] = []
    while True:
        with records.read() as session:
            gone = gone_among(project.source, _unsent_items(session, round_.id))
            promised = queries.promise_of(session, round_.id) is not None
            absent = [] if promised else _unsent_absent(session, round_.id)
        if not gone and not absent:
            return Replacement(tuple(dropped), tuple(added))
        with records.write("replace-gone") as session:
            pass_over(session, [item.id for item in gone], "gone")
            if promised:
                continue
            dropped += drop_unsent(session, round_)
            added += refill(session, project, round_)
            made = Replacement(tuple(dropped), tuple(added))
            log(session, "push", str(made), round=round_.number, level="warning")


def _unsent_items(session: Session, round_id: int) -> list[NamedItem]:
    """Picks of a round that are not passed over and never left this machine."""
    items = session.execute(
        select(Item.id, Item.row, Item.key, Item.uri)
        .where(Item.id.in_(_unsent(round_id, Pick.item_id)), queries.present())
        .order_by(Item.row)
    )
    return [NamedItem(id_, row, key, uri) for id_, row, key, uri in items]


def _unsent_absent(session: Session, round_id: int) -> list[tuple[int, str, str]]:
    """(pick id, uri, arm) of unsent picks whose images are passed over."""
    picks = session.execute(
        select(Pick.id, Item.uri, Pick.arm)
        .join(Item, Item.id == Pick.item_id)
        .where(Pick.id.in_(_unsent(round_id, Pick.id)), ~queries.present())
        .order_by(Pick.rank)
    )
    return [(pick_id, uri, arm) for pick_id, uri, arm in picks]


def _unsent(round_id: int, column: InstrumentedAttribute[int]) -> Select[int]:
    """This column of the picks that are in no batch, or in one that was never sent."""
    unsent = Sent.id.is_(None) | (models.Batch.state == "PLANNED")
    return (
        select(column)
        .outerjoin(Sent, Sent.pick_id == Pick.id)
        .outerjoin(models.Batch, models.Batch.uuid == Sent.batch_uuid)
        .where(Pick.round_id == round_id, unsent)
    )


def drop_unsent(session: Session, round_: Round) -> list[str]:
    """Removes unsent picks whose images are passed over; their files. Sent ones stay in the
    records, as people may have answered them."""
    absent = _unsent_absent(session, round_.id)
    for start in range(0, len(absent), queries.CHUNK):
        ids = [pick_id for pick_id, _, _ in absent[start : start + queries.CHUNK]]
        session.execute(delete(Sent).where(Sent.pick_id.in_(ids)))
        session.execute(delete(Pick).where(Pick.id.in_(ids)))
    planned = select(models.Batch.uuid).where(
        models.Batch.round_id == round_.id, models.Batch.state == "PLANNED"
    )
    for uuid in session.scalars(planned).all():
        size = session.scalar(select(func.count()).where(Sent.batch_uuid == uuid))
        batch = models.Batch.uuid == uuid
        if size:
            session.execute(update(models.Batch).where(batch).values(size=size))
        else:
            session.execute(delete(models.Batch).where(batch))
    _count(session, round_, -len([arm for _, _, arm in absent if arm != "sample"]))
    return [uri for _, uri, _ in absent]


def _count(session: Session, round_: Round, change: int) -> None:
    """Notes how many picks the round has beyond its budget, see ``REPLACED``; those drawn for the
    sample are no part of that."""
    stored = session.get_one(Round, round_.id)
    if change:
        replaced = int(stored.config.get(REPLACED, 0)) + change
        stored.config = {**stored.config, REPLACED: replaced}


def refill(session: Session, project: Project, round_: Round) -> list[str]:
    """Picks as many as the round's budget lacks, of each arm: the next best by the round's own
    scores, and of the control at random. Skipped picks and those passed over count as lacking.
    Returns the files of the new picks; as many as there are left."""
    if not round_.budget or queries.promise_of(session, round_.id) is not None:
        return []
    choice = choice_of(session, project, round_)
    share = choice.control_share
    active = _active(session, project, round_)
    lacking = {
        "control": max(0, share - active["control"]),
        "coreset": max(0, round_.budget - share - active["coreset"]),
    }
    left = int(choice.available.sum())
    last = session.scalar(select(func.max(Pick.rank)).where(Pick.round_id == round_.id))
    first_rank = 0 if last is None else int(last) + 1
    at_random = choice.at_random(min(lacking["control"], left), f"replace {first_rank}")
    best = choice.best(min(lacking["coreset"], left - len(at_random)), without=at_random)
    for arm, chosen in (("coreset", best), ("control", at_random)):
        rows, scores = choice.rows[chosen], choice.scores[chosen]
        add_picks(session, round_, rows, arm, scores, first_rank=first_rank)
        first_rank += len(rows)
    session.flush()
    sent = session.scalar(
        select(func.count()).select_from(Sent).join(Pick).where(Pick.round_id == round_.id)
    )
    if not sent:
        mix_sample(session, round_)
    _count(session, round_, len(best) + len(at_random))
    new = np.concatenate([choice.rows[best], choice.rows[at_random]])
    uris = queries.row_uris(session, round_.pool_id, new.tolist())
    return [uris[row] for row in new.tolist()]


def _active(session: Session, project: Project, round_: Round) -> dict[str, int]:
    """Picks of each arm that have a label or wait for one."""
    active = dict.fromkeys(ARMS, 0)
    for pick, state in _with_states(session, project, round_):
        if pick.arm in active and state != "skipped":
            active[pick.arm] += 1
    return active


def skipped(session: Session, project: Project, round_: Round) -> list[str]:
    """Files of the round's picks that people skipped."""
    picks = _with_states(session, project, round_)
    return [pick.uri for pick, state in picks if state == "skipped" and pick.arm in ARMS]


def _with_states(session: Session, project: Project, round_: Round) -> Sequence[tuple[Picked, str]]:
    picks = queries.picks(session, round_.pool_id, round_.number)
    answers = current_answers(session, round_.pool_id)
    states = pick_states([round_], picks, answers, project.config)
    return list(zip(picks, states, strict=True))
