"""The pool's pictures looked at closely, once: what is odd about them, and which are alike."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from connectors.base import SourceError
from db import arrays, queries
from db.models import Pool
from db.state import Records, log
from loop.errors import DataError
from loop.images import decode, size_of
from loop.project.near_duplicates import FoundDuplicates, kept_duplicates
from loop.project.problem import read_scanned
from loop.project.project import Project
from loop.quality import MEASURES, SIDE, Oddity, Quality, odd_images
from loop.quality import measures as measures_of
from loop.wording import counted

KIND, VERSION = "quality", "1"
"""Of the array that keeps the measures, by array row, and its name."""
KEY = "quality"
"""Of ``Pool.source``: the pool's digest when its pictures were measured."""
CHUNK = 256
"""Pictures between two signs of progress; what a killed command measures again at most."""


def measure_pictures(
    project: Project,
    records: Records,
    on_begin: Callable[[], None] = lambda: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[tuple[str, str]]:
    """Measures the pictures that are not yet; goes on where it was killed. Returns (file, why) of
    those that cannot be looked at.

    Raises:
        Full: the disk has no room.
    """
    with records.read() as session:
        pool = queries.the_pool(session)
        count = queries.item_count(session, pool.id)
        rows = queries.split_rows(session, pool.id, "pool")
        names = sorted(queries.row_names(session, pool.id, rows.tolist()))
        known = _kept(session, project, pool)
    draft = project.arrays / "drafts" / f"{pool.digest}-{KIND}.npy"
    draft.parent.mkdir(parents=True, exist_ok=True)
    shape = (count, len(MEASURES))
    mode = "r+" if draft.exists() else "w+"
    measured = np.lib.format.open_memmap(draft, mode, dtype=np.float32, shape=shape)
    if mode == "w+":
        measured[:] = np.nan
        measured[: len(known)] = known
    missing = [name for name in names if np.isnan(measured[name[0]]).any()]
    if missing:
        on_begin()
    unreadable = _measure(project, missing, measured, on_progress)
    measured.flush()
    path = arrays.write_file(np.asarray(measured), project.arrays)
    with records.write("quality") as session:
        pool = queries.the_pool(session)
        arrays.record(session, path, pool_id=pool.id, kind=KIND, name=VERSION, of=pool.digest)
        pool.source = {**pool.source, KEY: pool.digest}
        log(session, "scan", f"{counted(len(names), 'picture')} looked at closely")
    draft.unlink(missing_ok=True)
    return unreadable


def _kept(session: Session, project: Project, pool: Pool) -> NDArray[np.float32]:
    """(n, len(MEASURES)) measured last; none where nobody asked."""
    of = pool.source.get(KEY, "")
    row = arrays.find(session, pool_id=pool.id, kind=KIND, name=VERSION, of=of)
    if row is None:
        return np.empty((0, len(MEASURES)), np.float32)
    return arrays.load(row, project.arrays)  # type: ignore[return-value]


def _measure(
    project: Project,
    missing: list[tuple[int, str, str]],
    measured: NDArray[np.float32],
    on_progress: Callable[[int, int], None],
) -> list[tuple[str, str]]:
    """Fills the rows of the (row, key, uri) that are missing; (uri, why) of what cannot be read."""
    unreadable = []

    def look(name: tuple[int, str, str]) -> NDArray[np.float32] | str:
        _, key, uri = name
        try:
            data = read_scanned(project.source, uri, key)
            return measures_of(decode(data, uri, enough=2 * SIDE), size_of(data, uri))
        except (SourceError, DataError) as error:
            return str(error)

    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            for (row, _, uri), answer in zip(chunk, threads.map(look, chunk), strict=True):
                if isinstance(answer, str):
                    unreadable.append((uri, answer))
                else:
                    measured[row] = answer
            on_progress(start + len(chunk), len(missing))
    return unreadable


def quality(
    session: Session, project: Project, unreadable: list[tuple[str, str]] | None = None
) -> Quality | None:
    """What was found when the pictures were looked at last, without images passed over; None where
    nobody asked."""
    pool = queries.the_pool(session)
    measured = _kept(session, project, pool)
    duplicates = kept_duplicates(session, project)
    if not len(measured) or duplicates is None:
        return None
    rows = queries.split_rows(session, pool.id, "pool")
    uris = queries.row_uris(session, pool.id, rows.tolist())
    here = rows[rows < len(measured)]
    oddities = [
        Oddity(odd.issue, [uris[row] for row in here[odd.rows].tolist()])
        for odd in odd_images(np.asarray(measured[here]))
    ]
    return Quality(
        oddities, _groups(duplicates, uris), duplicates.cosine, len(rows), unreadable or []
    )


def _groups(duplicates: FoundDuplicates, uris: dict[int, str]) -> list[list[str]]:
    """Files of each group, without images passed over."""
    groups = [[uris[row] for row in group.tolist() if row in uris] for group in duplicates.groups]
    return sorted((group for group in groups if len(group) > 1), key=lambda group: -len(group))
