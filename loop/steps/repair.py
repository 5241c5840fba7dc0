"""doctor --deep: every digest, constraint and count; and what can be computed again."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from db import arrays, queries
from db.copies import unsound
from db.errors import DbError, Missing
from db.models import Array, Pool, Round
from db.soundness import contradictions, pool_digest
from db.state import Records, log
from loop import encoders
from loop.errors import LoopError
from loop.project import Project
from loop.steps.embed import embed
from loop.steps.opened import reading, writing
from loop.steps.score import score
from loop.steps.train import probabilities_again


@dataclass(frozen=True)
class Damage:
    """An array that is not what its row says."""

    kind: str
    name: str
    of: str
    digest: str


def verify(project: Project) -> tuple[list[str], list[Damage]]:
    """(contradictions in the records, arrays that are damaged or gone); changes nothing."""
    with reading(project) as records, records.read() as session:
        wrong = _unsound(records, session)
        try:
            pool = queries.the_pool(session)
        except Missing:
            return wrong, []
        wrong += contradictions(session, pool)
        rows = session.scalars(select(Array).where(Array.pool_id == pool.id)).all()
        return wrong, [
            Damage(row.kind, row.name, row.of, row.digest)
            for row in rows
            if not _whole(row, project)
        ]


def _unsound(records: Records, session: Session) -> list[str]:
    if records.engine.dialect.name != "sqlite":
        return []  # a server checks its own pages
    return unsound(session.connection().connection.driver_connection)  # type: ignore[arg-type]


def _whole(row: Array, project: Project) -> bool:
    try:
        arrays.load(row, project.arrays)
    except DbError:
        return False
    return arrays.file_digest(project.arrays / f"{row.digest}.npy") == row.digest


def repair(project: Project, damaged: list[Damage]) -> list[str]:
    """Computes damaged arrays and the pool's digest again; what was done, in words.

    The annotations, picks and states of rounds are never touched, save that a round whose scores
    are gone is scored again before anything is picked.
    """
    done = []
    with writing(project) as records, records.write("repair") as session:
        pool = queries.the_pool(session)
        digest = pool_digest(session, pool.id)
        if pool.digest and pool.digest != digest:
            session.execute(update(Pool).where(Pool.id == pool.id).values(digest=digest))
            done.append("the pool's digest was stated anew")
        for one in damaged:
            (project.arrays / f"{one.digest}.npy").unlink(missing_ok=True)
            session.execute(
                delete(Array).where(
                    Array.pool_id == pool.id,
                    Array.kind == one.kind,
                    Array.name == one.name,
                    Array.of == one.of,
                )
            )
        unscored = [one.of for one in damaged if one.kind == "scores"]
        newest = queries.newest_round(session, pool.id)
        rescore = newest and newest.state == "scored" and f"round-{newest.number}" in unscored
        if newest and rescore:
            session.execute(update(Round).where(Round.id == newest.id).values(state="planned"))
        for text in done + [f"removed {one.kind} {one.name} of {one.of}" for one in damaged]:
            log(session, "doctor", text, level="warning")
    mine = encoders.get(project.config.encoder).digest
    if any(one.kind == "embeddings" and one.name == mine for one in damaged):
        embed(project)
    if rescore:
        score(project)
    return done + [f"{one.kind} {one.name} of {one.of}: {_again(project, one)}" for one in damaged]


def _again(project: Project, one: Damage) -> str:
    """What became of a damaged array."""
    if one.kind == "probabilities":
        try:
            probabilities_again(project, one.of)
        except LoopError as error:
            return f"removed ({error})"
    with reading(project) as records, records.read() as session:
        pool = queries.the_pool(session)
        row = arrays.find(session, pool_id=pool.id, kind=one.kind, name=one.name, of=one.of)
    if row is None:
        return "removed; nothing needs it any more"
    return "computed again" + ("" if row.digest == one.digest else ", not bit for bit as before")
