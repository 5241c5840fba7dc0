"""The model of a round's training, kept beside the arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from db import arrays, queries
from db.models import Array
from loop.encoders.spec import short
from loop.errors import DataError, NotReady
from loop.near_duplicates import offered
from loop.project.labels import collect
from loop.project.near_duplicates import kept_duplicates
from loop.project.problem import DecodedImages, make_task
from loop.project.project import Project

if TYPE_CHECKING:
    from loop.encoders.base import Encoder
    from loop.train import Trained
    from loop.train.kept import About, KeptModel

MODEL = "model"
"""Kind of the array that holds one."""
LISTENING = ("auto", "propagate")
"""Trainers that listen to class names."""
EXAMPLES = 16
"""Images that an exported model is compared on."""
SHARED = 0.99
"""Probability that an image has the label of its near-duplicates; a promise is not based on it: a
random sample tells how many are wrong."""


def keep_model(
    project: Project, trained: Trained, temperature: float, number: int, labels: int
) -> dict[str, Path]:
    """Writes the model of a round's training on all labels; name -> file, nothing where the trainer
    keeps none."""
    from loop.train.kept import KeptModel

    if trained.model is None:
        return {}
    takes_embeddings = trained.model.wants == "embeddings"
    about = _about(project, temperature, number, labels, takes_embeddings=takes_embeddings)
    model = KeptModel(trained.model, about)
    return {"all": arrays.write_model(model.to_bytes(), project.arrays)}


def _about(
    project: Project,
    temperature: float,
    number: int,
    labels: int,
    *,
    takes_embeddings: bool = True,
) -> About:
    from loop import encoders
    from loop.train.kept import About

    return About(
        classes=tuple(project.config.project.classes),
        temperature=temperature,
        encoder=project.config.encoder if takes_embeddings else "",
        encoder_digest=encoders.get(project.config.encoder).digest if takes_embeddings else "",
        trainer=short(project.config.training.trainer),
        round=number,
        labels=labels,
    )


@dataclass(frozen=True)
class Kept:
    """A model, the digest of its file, and when that was recorded."""

    model: KeptModel
    digest: str
    at: datetime


def newest_model(session: Session, project: Project) -> Kept:
    """The model trained last.

    Raises:
        NotReady: none is kept: nothing was trained, or by an older version.
        Missing, DataError: its file has gone, or is damaged.
    """
    from loop.train.kept import read_model

    newest = newest_row(session)
    if newest is None:
        raise NotReady(
            "no model is kept yet: 'coreloop run' trains one in each round; of rounds trained by "
            "version 0.5 or older 'coreloop doctor --repair' makes it"
        )
    model = read_model(arrays.existing(newest, project.arrays))
    return Kept(model, newest.digest, newest.created_at)


def model_of_names(session: Session, project: Project) -> Kept | None:
    """What the class names alone say, before any label; None where training does not listen to
    them. No label is read.

    Raises:
        NotReady: the pool is not embedded.
    """
    from loop import train as trainers
    from loop.train.kept import KeptModel

    settings = project.config.training
    if project.config.names_unused or settings.trainer not in LISTENING:
        return None
    pool = queries.the_pool(session)
    rows = queries.split_rows(session, pool.id, "pool")
    nothing = np.empty(0, np.int64)
    task = make_task(session, project, rows, nothing, nothing)
    unlabelled = np.full(len(rows), -1, np.int64)
    trainer = trainers.get(settings.trainer, **settings.params)
    trained = trainer.train(task, unlabelled, np.random.default_rng(0))
    assert trained.model is not None
    model = KeptModel(trained.model, _about(project, 1.0, 0, 0))
    digest = hashlib.blake2b(model.to_bytes(), digest_size=16).hexdigest()
    return Kept(model, digest, datetime.now(UTC))


def newest_row(session: Session) -> Array | None:
    """Where the model trained last stands; None where none is kept."""
    pool = queries.the_pool(session)
    of_rounds = select(Array).where(
        Array.pool_id == pool.id, Array.kind == MODEL, Array.of.startswith("round-")
    )
    rows = session.scalars(of_rounds)
    return max(rows, key=lambda row: int(row.of.removeprefix("round-")), default=None)


def model_of(session: Session, project: Project, digest: str) -> Kept:
    """The model whose file has this digest.

    Raises:
        Missing: it is not recorded, or its file has gone.
        DataError: the file is damaged.
    """
    from db.errors import Missing
    from loop.train.kept import read_model

    row = session.scalar(select(Array).where(Array.kind == MODEL, Array.digest == digest))
    if row is None:
        raise Missing(f"the model {digest[:8]} is not recorded any more")
    model = read_model(arrays.existing(row, project.arrays))
    return Kept(model, digest, row.created_at)


def pool_predictions(
    session: Session,
    project: Project,
    kept: Kept,
    rows: NDArray[np.int64],
    size: int,
    before: int | None = None,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Blocks of at most ``size`` of these array rows with their (M, C) calibrated probabilities.

    The embeddings that are there are used; a network decodes the images. An image whose labelled
    near-duplicates agree is said to be of their class, where the settings pick one of each group.

    Args:
        before: near-duplicates have the labels that were picked before the round of this number.

    Raises:
        NotReady: the pool is not embedded with the model's encoder.
        DataError: an image cannot be decoded, or is another one than when it was scanned.
    """
    model = kept.model
    everything = None
    if model.classifier.wants == "embeddings":
        everything = _embeddings(session, project, model)
    device = project.config.training.device
    offered_classes = _offered(session, project, rows, before)
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        if everything is not None:
            taken: NDArray[Any] = np.asarray(everything[block])
        else:
            taken = _images(session, project, model, block)
        probabilities = model.probabilities(taken, device)
        if offered_classes is not None:
            _offer(probabilities, offered_classes[start : start + size])
        yield block, probabilities


def _offered(
    session: Session, project: Project, rows: NDArray[np.int64], before: int | None
) -> NDArray[np.int64] | None:
    """(R,) class that these array rows have from their near-duplicates, -1 where from none; None
    where the settings do not say that near-duplicates share their label."""
    if project.config.selection.near_duplicates == "any":
        return None
    kept = kept_duplicates(session, project)
    if kept is None:
        return None
    pool = queries.the_pool(session)
    labels = collect(session, pool, project.config).of(np.arange(len(kept.numbers)))
    if before is not None:
        picked = queries.picked_rows(session, pool.id, before=before)
        labels[~np.isin(np.arange(len(labels)), picked)] = -1
    classes = offered(kept.numbers, labels)
    taken = np.full(len(rows), -1, np.int64)
    known = rows < len(classes)
    taken[known] = classes[rows[known]]
    return taken


def _offer(probabilities: NDArray[np.float64], classes: NDArray[np.int64]) -> None:
    """Moves ``SHARED`` of the probability to the class that each image is offered, in place."""
    rows = np.flatnonzero(classes >= 0)
    probabilities[rows] *= 1 - SHARED
    probabilities[rows, classes[rows]] += SHARED


def _embeddings(session: Session, project: Project, model: KeptModel) -> NDArray[Any]:
    pool, about = queries.the_pool(session), model.about
    row = arrays.find(
        session, pool_id=pool.id, kind="embeddings", name=about.encoder_digest, of=pool.digest
    )
    if row is None:
        raise NotReady(
            f"the pool is not embedded with {short(about.encoder)}, which the model of round "
            f"{about.round} was trained on; run 'coreloop embed' (with that encoder in "
            "coreloop.toml), or train anew: coreloop run"
        )
    return arrays.load(row, project.arrays)


def _images(
    session: Session, project: Project, model: KeptModel, rows: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """(M, side, side, 3) of array rows."""
    named = {
        row: (key, uri)
        for row, key, uri in queries.row_names(session, queries.the_pool(session).id, rows.tolist())
    }
    side = int(model.classifier.settings()["side"])
    return DecodedImages(project.source, [named[row] for row in rows.tolist()], side)()


def encoder_of(model: KeptModel) -> Encoder | None:
    """The encoder whose embeddings a model takes; None for a network.

    Raises:
        ConfigError: its weights are not there.
        DataError: it is another one than when the model was trained.
    """
    from loop import encoders

    if not model.about.encoder:
        return None
    encoder = encoders.get(model.about.encoder)
    if encoder.digest != model.about.encoder_digest:
        raise DataError(
            f"the model was trained on embeddings of {model.about.encoder_digest}, and "
            f"{model.about.encoder} is {encoder.digest} now; put the old weights back, or train "
            "again: coreloop run"
        )
    return encoder


def examples(
    session: Session, project: Project, model: KeptModel
) -> tuple[list[str], NDArray[np.float32]]:
    """Uris of ``EXAMPLES`` images spread over the pool, and their (n, D) embeddings, none for a
    network or where they are not kept."""
    pool = queries.the_pool(session)
    rows = queries.split_rows(session, pool.id, "pool")
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, EXAMPLES).astype(int))]
    uris = list(queries.row_uris(session, pool.id, rows.tolist()).values())
    name, of = model.about.encoder_digest, pool.digest
    row = arrays.find(session, pool_id=pool.id, kind="embeddings", name=name, of=of)
    if row is None:
        return uris, np.empty((0, 0), np.float32)
    return uris, np.asarray(arrays.load(row, project.arrays)[rows], dtype=np.float32)
