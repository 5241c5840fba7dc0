"""repick: other images in place of picks that can bring no label."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from connectors.base import SourceError, Withdraws
from db import queries
from db.models import Absence, Item, Pick, Round, Sent
from db.state import Records, log
from loop.errors import NotReady
from loop.images import Replaced
from loop.project import Project
from loop.project.absence import NamedItem, gone_among, items_present, named, pass_over
from loop.project.labeler import connect_labeler
from loop.project.labels import waiting
from loop.project.problem import read_scanned
from loop.project.remote import check_kind
from loop.project.replacement import check_open, drop_unsent, refill, skipped


@dataclass(frozen=True)
class Repicked:
    """What became of the open round's picks.

    Attributes:
        skipped: files that people skipped; nobody is asked again.
        unreadable: files that cannot be read, or are other images now.
        absent: files of picks that have gone or were excluded.
        withdrawn: tasks of these taken back from the labeler.
        added: files picked in their place.
        next: what to type.
    """

    round: int
    skipped: tuple[str, ...]
    unreadable: tuple[str, ...]
    absent: tuple[str, ...]
    withdrawn: int
    added: tuple[str, ...]
    next: str


def repick(project: Project) -> Repicked:
    """Picks the next best, by the open round's own scores, in place of picks that people skipped,
    that were excluded, or whose files cannot be read; the round keeps its budget.

    Raises:
        NotReady: no round has picks that wait, or it is one of a promise.
        Unreachable, Unauthorized, Mismatch: see connectors.base.
    """
    with project.writing() as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            round_ = check_open(queries.newest_round(session, pool.id))
            if queries.promise_of(session, round_.id) is not None or not round_.budget:
                raise NotReady(
                    f"{round_.name} has no picks that were chosen: what is drawn at random is not "
                    "replaced; images that have gone or were excluded are passed over"
                )
        unreadable = _unreadable(project, records, round_)
        with records.write("repick-unreadable") as session:
            pass_over(session, [item.id for item in unreadable], "gone")
        with records.read() as session:
            absent = _absent(session, round_)
        withdrawn = _withdraw(project, records, round_)
        with records.write("repick") as session:
            drop_unsent(session, round_)
            passed = skipped(session, project, round_)
            added = refill(session, project, round_)
            text = f"{len(added)} picked in place of {len(passed) + len(absent)}"
            log(
                session, "repick", f"{text}: {named(added)}" if added else text, round=round_.number
            )
        unread = tuple(item.uri for item in unreadable)
        return Repicked(
            round=round_.number,
            skipped=tuple(passed),
            unreadable=unread,
            absent=tuple(uri for uri in absent if uri not in unread),
            withdrawn=withdrawn,
            added=tuple(added),
            next="coreloop push" if added else "coreloop run",
        )


def _unreadable(project: Project, records: Records, round_: Round) -> list[NamedItem]:
    """Picks that wait for an answer and whose files are not what they were."""
    with records.read() as session:
        ids = set(waiting(session, round_, project.config))
        of_picks = set(session.scalars(select(Pick.item_id).where(Pick.id.in_(ids))))
        items = [i for i in items_present(session, round_.pool_id) if i.id in of_picks]
    gone_among(project.source, items)  # a disk that is not there makes no image unreadable
    unreadable = []
    for item in items:
        try:
            read_scanned(project.source, item.uri, item.key)
        except (SourceError, Replaced):
            unreadable.append(item)
    return unreadable


def _absent(session: Session, round_: Round) -> list[str]:
    """Files of the round's picks that are passed over."""
    return list(
        session.scalars(
            select(Item.uri)
            .join(Pick, Pick.item_id == Item.id)
            .join(Absence, Absence.item_id == Item.id)
            .where(Pick.round_id == round_.id)
            .order_by(Pick.rank)
        )
    )


def _withdraw(project: Project, records: Records, round_: Round) -> int:
    """Takes tasks of images that are passed over back from the labeler, where nobody has worked on
    them; how many."""
    with records.read() as session:
        check_kind(session, round_, project.config.labeler.kind)
        labeler = connect_labeler(session, project)
        tasks = queries.remote_ids(session, labeler.name, round_.id)
        absent = set(session.scalars(select(Item.key).join(Absence, Absence.item_id == Item.id)))
    tasks = {key: task for key, task in tasks.items() if key in absent}
    if not tasks or not isinstance(labeler, Withdraws):
        return 0
    withdrawn = labeler.withdraw(tasks)
    with records.write("repick-withdrawn") as session:
        items = select(Item.id).where(Item.key.in_(withdrawn))
        picks = select(Pick.id).where(Pick.round_id == round_.id, Pick.item_id.in_(items))
        session.execute(update(Sent).where(Sent.pick_id.in_(picks)).values(remote_id=None))
    return len(withdrawn)
