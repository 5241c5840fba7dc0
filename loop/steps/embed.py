"""embed: images -> one array for the whole pool, made once per (pool, encoder)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from db import arrays, queries
from db.faults import reached
from db.models import Item
from db.state import log
from loop import encoders
from loop.encoders import shards
from loop.engine import LOCAL, Engine
from loop.errors import NotReady
from loop.project import Project
from loop.steps.opened import source, writing


def embed(
    project: Project,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_begin: Callable[[], None] = lambda: None,
    where: Engine = LOCAL,
) -> tuple[int, int]:
    """Embeds all images, test split included; (rows, dims). A killed run resumes at the shard.

    ``on_begin`` is called if there is anything to do.

    Raises:
        DataError: an image that could be read at the scan cannot be read now.
        ConfigError: unknown encoder or missing weights.
    """
    encoder = encoders.get(project.config.encoder)
    with writing(project) as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            row = arrays.find(
                session, pool_id=pool.id, kind="embeddings", name=encoder.digest, of=pool.digest
            )
            drafts = project.arrays / "drafts"
            draft = drafts / f"{pool.digest}-{encoder.digest}.npy"
            if row is not None:
                shape = arrays.load(row, project.arrays).shape
                shards.forget(draft)
                return shape[0], shape[1]
            items = session.execute(
                select(Item.uri, Item.key).where(Item.pool_id == pool.id).order_by(Item.row)
            ).all()
        on_begin()
        uris, keys = [uri for uri, _ in items], [key for _, key in items]
        drafts.mkdir(parents=True, exist_ok=True)
        done = 0

        def progress(count: int) -> None:
            nonlocal done
            done += count
            reached("after-shard")
            on_progress(done, len(uris))

        shards.encode(
            encoder,
            source(project).read,
            uris,
            keys,
            draft,
            device=project.config.training.device,
            where=where,
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
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
        return shape[0], shape[1]


def embeddings(session: Session, project: Project) -> NDArray[np.float32]:
    """(all items, D) float32, memory-mapped, in row order.

    Raises:
        NotReady: nothing has been embedded with the config's encoder.
    """
    pool = queries.the_pool(session)
    encoder = encoders.get(project.config.encoder)
    row = arrays.find(
        session, pool_id=pool.id, kind="embeddings", name=encoder.digest, of=pool.digest
    )
    if row is None:
        raise NotReady(
            f"the images are not embedded with {project.config.encoder!r}; run 'coreloop embed'"
        )
    return arrays.load(row, project.arrays)  # type: ignore[return-value]
