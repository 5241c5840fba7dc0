"""The pool's embeddings: one array for all images, known by (pool digest, encoder)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from db import arrays, queries
from db.errors import DbError
from db.models import Array, Pool
from db.state import Records, log
from loop import encoders
from loop.errors import NotReady
from loop.project.project import Project

if TYPE_CHECKING:
    from loop.encoders.base import Encoder
    from loop.encoders.joined import Joined

BLOCK = 2048
"""Rows joined at once."""


def embeddings(session: Session, project: Project) -> NDArray[np.float32]:
    """(all items, D) float32, memory-mapped, in row order.

    Raises:
        NotReady: nothing has been embedded with the config's encoder.
    """
    encoder = encoders.get(project.config.encoder)
    row = stored_embeddings(session, encoder)
    if row is None:
        raise NotReady(
            f"the images are not embedded with {project.config.encoder!r}; run 'coreloop embed'"
        )
    return arrays.load(row, project.arrays)  # type: ignore[return-value]


def stored_embeddings(session: Session, encoder: Encoder) -> Array | None:
    """Those of the pool as it is, with this encoder; None where there are none."""
    pool = queries.the_pool(session)
    return arrays.find(
        session, pool_id=pool.id, kind="embeddings", name=encoder.digest, of=pool.digest
    )


def encoders_of(project: Project) -> list[str]:
    """Specs of all that the images are to be embedded with: as written, and the one in use last,
    which may join two of the others."""
    written = project.written
    among = [written.encoder, *written.encoder_candidates, project.config.encoder]
    return list(dict.fromkeys(among))


@dataclass(frozen=True)
class StoredColumns:
    """Where the embeddings of an encoder stand: these columns of an array.

    Attributes:
        as_come: not scaled to a length.
    """

    array: Array
    columns: slice
    as_come: bool


def columns_of(session: Session, project: Project) -> dict[str, StoredColumns]:
    """Digest -> where its embeddings of the pool as it is stand, of every encoder that is stored,
    and of the parts of those that the config names."""
    from loop.encoders.joined import Joined

    pool = queries.the_pool(session)
    of_pool = select(Array).where(
        Array.pool_id == pool.id, Array.kind == "embeddings", Array.of == pool.digest
    )
    stored = {row.name: row for row in session.scalars(of_pool.order_by(Array.id))}
    columns = {
        name: StoredColumns(row, slice(0, row.shape[1]), as_come=True)
        for name, row in stored.items()
    }
    for spec in encoders_of(project):
        encoder = encoders.get(spec)
        row = stored.get(encoder.digest)
        if row is None or not isinstance(encoder, Joined):
            continue
        start = 0
        for part, length in zip(encoder.parts, encoder.lengths, strict=True):
            of_part = StoredColumns(row, slice(start, start + part.dim), length is None)
            columns.setdefault(part.digest, of_part)
            start += part.dim
    return columns


def join_stored(project: Project, records: Records, encoder: Joined) -> bool:
    """Records the embeddings of a joined encoder where those of each part are stored; whether they
    are. No image is read.

    Raises:
        NotReady: the disk has no room for them.
    """
    from loop.encoders.shards import write_rows

    with records.read() as session:
        pool = queries.the_pool(session)
        stored = columns_of(session, project)
        count = queries.item_count(session, pool.id)
    of_parts = [stored.get(part.digest) for part in encoder.parts]
    parts = [each for each in of_parts if each is not None and (each.as_come or encoder.weights)]
    if len(parts) < len(encoder.parts):
        return False
    by_part: list[NDArray[np.float32]] = []
    with suppress(DbError):  # damaged, or gone: the images are embedded anew
        by_part = [arrays.load(part.array, project.arrays)[:, part.columns] for part in parts]  # type: ignore[misc]
    if len(by_part) < len(parts) or any(len(rows) != count for rows in by_part):
        return False

    def blocks() -> Iterator[NDArray[np.float32]]:
        for start in range(0, count, BLOCK):
            yield encoder.columns([rows[start : start + BLOCK] for rows in by_part])

    draft = project.arrays / "drafts" / f"{pool.digest}-joined.npy"
    draft.parent.mkdir(parents=True, exist_ok=True)
    write_rows(draft, (count, encoder.dim), blocks())
    text = f"joined {len(parts)} encoders, whose embeddings were there"
    keep_embeddings(project, records, encoder, pool, draft, text)
    draft.unlink(missing_ok=True)
    return True


def keep_embeddings(
    project: Project, records: Records, encoder: Encoder, pool: Pool, file: Path, text: str
) -> None:
    """Records a file of (all items, D) float32; ``text`` tells of it in the log."""
    path = arrays.adopt_file(file, project.arrays)
    with records.write("embed") as session:
        arrays.record(
            session,
            path,
            pool_id=pool.id,
            kind="embeddings",
            name=encoder.digest,
            of=pool.digest,
        )
        log(session, "embed", text)
