"""The model of a round's training, kept beside the arrays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import arrays, queries
from db.models import Array
from loop.errors import NotReady
from loop.project.project import Project

if TYPE_CHECKING:
    from loop.train import Trained
    from loop.train.kept import KeptModel

MODEL = "model"
"""Kind of the array that holds one."""


def keep_model(
    project: Project, trained: Trained, temperature: float, number: int, labels: int
) -> dict[str, Path]:
    """Writes the model of a round's training on all labels; name -> file, nothing where the trainer
    keeps none."""
    from loop import encoders
    from loop.train.kept import About, KeptModel

    if trained.model is None:
        return {}
    takes_embeddings = trained.model.wants == "embeddings"
    about = About(
        classes=tuple(project.config.project.classes),
        temperature=temperature,
        encoder=project.config.encoder if takes_embeddings else "",
        encoder_digest=encoders.get(project.config.encoder).digest if takes_embeddings else "",
        trainer=project.config.training.trainer,
        round=number,
        labels=labels,
    )
    model = KeptModel(trained.model, about)
    return {"all": arrays.write_model(model.to_bytes(), project.arrays)}


def newest_model(session: Session, project: Project) -> tuple[Array, KeptModel]:
    """The model trained last, and its row.

    Raises:
        NotReady: none is kept: nothing was trained, or by an older version.
        Missing, DataError: its file has gone, or is damaged.
    """
    from loop.train.kept import read_model

    pool = queries.the_pool(session)
    rows = session.scalars(select(Array).where(Array.pool_id == pool.id, Array.kind == MODEL))
    newest = max(rows, key=lambda row: int(row.of.removeprefix("round-")), default=None)
    if newest is None:
        raise NotReady(
            "no model is kept yet; 'coreloop run' trains one in each round (projects of version "
            "0.5 and older: in the next)"
        )
    return newest, read_model(arrays.existing(newest, project.arrays))
