"""The pool's embeddings: one array for all images, known by (pool digest, encoder)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db import arrays, queries
from loop import encoders
from loop.errors import NotReady
from loop.project.project import Project


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
