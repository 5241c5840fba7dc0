"""What is wrong with the records and the arrays beside them; changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import arrays, queries
from db.copies import unsound
from db.errors import DbError, Missing
from db.models import Array
from db.soundness import contradictions
from loop.project.model import MODEL
from loop.project.project import Project


@dataclass(frozen=True)
class Damage:
    """An array that is not what its row says; ``file`` is its name in the folder of arrays,
    ``rows`` how many it had."""

    kind: str
    name: str
    of: str
    digest: str
    file: str
    rows: int

    def __str__(self) -> str:
        return f"{self.kind} {self.name} of {self.of}"


def verify(project: Project) -> tuple[list[str], list[Damage]]:
    """(contradictions in the records, arrays that are damaged or gone); changes nothing."""
    with project.records.read() as session:
        wrong = _unsound(session)
        try:
            pool = queries.the_pool(session)
        except Missing:
            return wrong, []
        wrong += contradictions(session, pool)
        rows = session.scalars(select(Array).where(Array.pool_id == pool.id)).all()
        return wrong, [
            Damage(row.kind, row.name, row.of, row.digest, row.file, (row.shape or [0])[0])
            for row in rows
            if not _whole(row, project)
        ]


def _unsound(session: Session) -> list[str]:
    if session.get_bind().dialect.name != "sqlite":
        return []  # a server checks its own pages
    return unsound(session.connection().connection.driver_connection)  # type: ignore[arg-type]


def _whole(row: Array, project: Project) -> bool:
    try:
        path = arrays.existing(row, project.arrays)
        if row.kind != MODEL:
            arrays.load(row, project.arrays)
    except DbError:
        return False
    return arrays.file_digest(path) == row.digest
