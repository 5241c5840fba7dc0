"""embed: images -> one array for the whole pool, made once per (pool, encoder)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from sqlalchemy import select

from connectors.folder import content_key
from db import arrays, queries
from db.faults import reached
from db.models import Item
from db.state import log
from loop import encoders
from loop.encoders import shards
from loop.encoders.base import Encoder
from loop.engine import LOCAL, Engine
from loop.project import Project
from loop.wording import counted


def embed(
    project: Project,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_begin: Callable[[], None] = lambda: None,
    where: Engine = LOCAL,
) -> tuple[int, int]:
    """Embeds all images, test split included; (rows, dims). A killed run resumes at the shard.

    ``on_begin`` is called if there is anything to do.

    Raises:
        DataError: an image that could be read at the scan cannot be read now, or is another one.
        NotReady: the disk has no room for the embeddings.
        ConfigError: unknown encoder or missing weights.
    """
    encoder = encoders.get(project.config.encoder)
    with project.writing() as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            row = arrays.find(
                session, pool_id=pool.id, kind="embeddings", name=encoder.digest, of=pool.digest
            )
        draft = project.arrays / "drafts" / f"{pool.digest}-{encoder.digest}.npy"
        if row is not None:
            rows, dims = arrays.load(row, project.arrays).shape
            shards.forget(draft)
            return rows, dims
        on_begin()
        _encode(project, encoder, pool.id, draft, where, on_progress)
        path = arrays.adopt_file(draft, project.arrays)
        rows, dims = np.load(path, mmap_mode="r", allow_pickle=False).shape
        with records.write("embed") as session:
            arrays.record(
                session,
                path,
                pool_id=pool.id,
                kind="embeddings",
                name=encoder.digest,
                of=pool.digest,
            )
            log(session, "embed", f"{counted(rows, 'image')} with {project.config.encoder}")
        shards.forget(draft)
        return rows, dims


def _encode(
    project: Project,
    encoder: Encoder,
    pool_id: int,
    draft: Path,
    where: Engine,
    on_progress: Callable[[int, int], None],
) -> None:
    """Writes the (rows, dims) embeddings of the pool's images to ``draft``, shard by shard."""
    in_order = select(Item.uri, Item.key).where(Item.pool_id == pool_id).order_by(Item.row)
    with project.records.read() as session:
        images = session.execute(in_order).all()
    done = 0

    def progress(count: int) -> None:
        nonlocal done
        done += count
        reached("after-shard")
        on_progress(done, len(images))

    draft.parent.mkdir(parents=True, exist_ok=True)
    shards.encode(
        encoder,
        project.source.read,
        [uri for uri, _ in images],
        [key for _, key in images],
        draft,
        content_key=content_key,
        device=project.config.training.device,
        engine=where,
        on_progress=progress,
    )
