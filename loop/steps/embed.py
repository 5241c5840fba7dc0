"""embed: images -> one array for the whole pool; what was embedded before is not embedded again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from connectors.folder import content_key
from db import arrays, queries
from db.errors import DbError
from db.faults import reached
from db.models import Array
from db.state import Records, log
from loop import encoders
from loop.encoders import shards
from loop.encoders.base import Encoder
from loop.encoders.joined import Joined
from loop.engine import LOCAL, Engine
from loop.project import Project
from loop.project.absence import NamedItem, gone_among, items_present, named, pass_over
from loop.project.digests import numbers_digest
from loop.project.embeddings import (
    encoders_of,
    join_stored,
    keep_embeddings,
    stored_embeddings,
)
from loop.project.names import name_head_of
from loop.wording import agreeing, counted


def embed(
    project: Project,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_begin: Callable[[], None] = lambda: None,
    where: Engine = LOCAL,
    on_gone: Callable[[str], None] = lambda text: None,
    spec: str = "",
) -> tuple[int, int]:
    """Embeds all images, test split included; (rows, dims). A killed run resumes at the shard.

    Rows of an earlier array are taken over. Those of images that are passed over and were never
    embedded are NaN; files that have gone meanwhile are passed over. A joined encoder whose parts
    have embedded the images reads none.

    ``on_begin`` is called if there is anything to do, ``on_gone`` with which files have gone.

    Args:
        spec: of the encoder; default: the one in use.

    Raises:
        DataError: an image that could be read at the scan cannot be read now, or is another one.
        NotReady: the disk has no room for the embeddings.
        ConfigError: unknown encoder or missing weights; given probabilities that lack a class.
    """
    config = project.config.model_copy(update={"encoder": spec or project.config.encoder})
    encoder = encoders.get(config.encoder)
    with project.writing() as records:
        if isinstance(encoder, Joined) and not _is_stored(records, encoder):
            join_stored(project, records, encoder)
        with records.read() as session:
            pool = queries.the_pool(session)
            row = stored_embeddings(session, encoder)
        draft = project.arrays / "drafts" / f"{pool.digest}-{encoder.digest}.npy"
        if row is not None:
            rows, dims = arrays.load(row, project.arrays).shape
            shards.forget(draft)
            return rows, dims
        on_begin()
        name_head_of(config)  # names that cannot be used are said before hours of work
        earlier = _earlier(project, records, encoder, pool.id)
        items, count = _unembedded(project, records, encoder, pool.id, earlier, on_gone)
        whole = len(items) == count
        if not whole:
            some = numbers_digest(np.array([item.row for item in items], dtype=np.int64))
            draft = draft.with_stem(f"{draft.stem}-{some[:8]}")
        _encode(project, encoder, items, draft, where, on_progress)
        joined = draft if whole else draft.with_stem(f"{draft.stem}-joined")
        if not whole:
            _join(earlier, [item.row for item in items], draft, (count, encoder.dim), joined)
        text = f"{counted(len(items), 'image')} with {config.encoder}"
        keep_embeddings(project, records, encoder, pool, joined, text)
        shards.forget(draft)
        draft.unlink(missing_ok=True)
        return count, encoder.dim


def embed_all(
    project: Project,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_begin: Callable[[str], None] = lambda encoder: None,
    where: Engine = LOCAL,
    on_gone: Callable[[str], None] = lambda text: None,
) -> dict[str, tuple[int, int]]:
    """``embed`` with the encoder in use and each candidate; spec -> (rows, dims).

    ``on_begin`` is called with each encoder that has anything to do.

    Raises:
        DataError, NotReady, ConfigError: see ``embed``; embeddings made until then stay.
    """
    made = {}
    wanted = encoders_of(project)
    for spec in wanted:  # one that cannot be is said before hours of work
        encoders.get(spec)
    for spec in wanted:
        begin = partial(on_begin, spec)
        made[spec] = embed(project, on_progress, begin, where, on_gone, spec)
    return made


def _is_stored(records: Records, encoder: Encoder) -> bool:
    with records.read() as session:
        return stored_embeddings(session, encoder) is not None


def _earlier(
    project: Project, records: Records, encoder: Encoder, pool_id: int
) -> NDArray[np.floating[Any]]:
    """(rows, D) of the pool when it was embedded last with this encoder; rows never change."""
    of_encoder = select(Array).where(
        Array.pool_id == pool_id, Array.kind == "embeddings", Array.name == encoder.digest
    )
    with records.read() as session:
        stored = sorted(session.scalars(of_encoder), key=lambda array: array.id)
    for array in stored[::-1]:
        with suppress(DbError):  # damaged, or gone: the images are embedded anew
            return arrays.load(array, project.arrays)  # type: ignore[return-value]
    return np.empty((0, encoder.dim), np.float32)


def _unembedded(
    project: Project,
    records: Records,
    encoder: Encoder,
    pool_id: int,
    earlier: NDArray[np.floating[Any]],
    on_gone: Callable[[str], None],
) -> tuple[list[NamedItem], int]:
    """The images that have no embedding, and how many there are in all, those passed over too."""
    with records.read() as session:
        count, items = queries.item_count(session, pool_id), items_present(session, pool_id)
    known = ~np.isnan(np.asarray(earlier[:, 0]))
    items = [item for item in items if item.row >= len(known) or not known[item.row]]
    gone = gone_among(project.source, items) if encoder.looks else []
    if gone:
        with records.write("embed-gone") as session:
            pass_over(session, [item.id for item in gone], "gone")
            images = f"{counted(len(gone), 'image')} {agreeing(len(gone), 'has')} gone"
            text = f"{images}, passed over from now on: {named(gone)}"
            log(session, "embed", text, level="warning")
        on_gone(text)
    ids = {item.id for item in gone}
    return [item for item in items if item.id not in ids], count


def _join(
    earlier: NDArray[np.floating[Any]],
    rows: list[int],
    draft: Path,
    shape: tuple[int, int],
    out: Path,
) -> None:
    """Writes all rows to ``out``: the draft's, which are of these array rows, the earlier ones,
    and NaN where there are neither."""
    added, at = np.load(draft, mmap_mode="r", allow_pickle=False), np.array(rows, dtype=np.int64)

    def block(start: int) -> NDArray[np.float32]:
        stop = min(start + shards.SHARD, shape[0])
        values = np.full((stop - start, shape[1]), np.nan, np.float32)
        taken = earlier[start:stop]
        values[: len(taken)] = taken
        first, last = np.searchsorted(at, [start, stop])
        values[at[first:last] - start] = added[first:last]
        return values

    shards.write_rows(out, shape, (block(start) for start in range(0, shape[0], shards.SHARD)))


def _encode(
    project: Project,
    encoder: Encoder,
    items: list[NamedItem],
    draft: Path,
    where: Engine,
    on_progress: Callable[[int, int], None],
) -> None:
    """Writes the (rows, dims) embeddings of these images to ``draft``, shard by shard."""
    done = 0

    def progress(count: int) -> None:
        nonlocal done
        done += count
        reached("after-shard")
        on_progress(done, len(items))

    draft.parent.mkdir(parents=True, exist_ok=True)
    shards.encode(
        encoder,
        project.source.read,
        [item.uri for item in items],
        [item.key for item in items],
        draft,
        content_key=content_key,
        device=project.config.training.device,
        engine=where,
        on_progress=progress,
    )
