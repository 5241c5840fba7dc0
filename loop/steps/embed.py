"""embed: images -> one array for the whole pool, made once per (pool, encoder)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sqlalchemy import select

from connectors.folder import content_key
from db import arrays, queries
from db.faults import reached
from db.models import Item
from db.state import log
from loop import encoders
from loop.encoders import shards
from loop.engine import LOCAL, Engine
from loop.project import Project


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
            images = (
                session.execute(
                    select(Item.uri, Item.key).where(Item.pool_id == pool.id).order_by(Item.row)
                ).all()
                if row is None
                else []
            )
        drafts = project.arrays / "drafts"
        draft = drafts / f"{pool.digest}-{encoder.digest}.npy"
        if row is not None:
            rows, dims = arrays.load(row, project.arrays).shape
            shards.forget(draft)
            return rows, dims
        on_begin()
        uris, keys = [uri for uri, _ in images], [key for _, key in images]
        drafts.mkdir(parents=True, exist_ok=True)
        done = 0

        def progress(count: int) -> None:
            nonlocal done
            done += count
            reached("after-shard")
            on_progress(done, len(uris))

        device = project.config.training.device
        shards.encode(
            encoder,
            project.source.read,
            uris,
            keys,
            draft,
            content_key=content_key,
            device=device,
            engine=where,
            on_progress=progress,
        )
        path = arrays.adopt_file(draft, project.arrays)
        with records.write("embed") as session:
            arrays.record(
                session,
                path,
                pool_id=pool.id,
                kind="embeddings",
                name=encoder.digest,
                of=pool.digest,
            )
            log(session, "embed", f"{len(uris)} images with {project.config.encoder}")
        shards.forget(draft)
        rows, dims = np.load(path, mmap_mode="r", allow_pickle=False).shape
        return rows, dims
