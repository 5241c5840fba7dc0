"""Which encoder suits a project, by its labels: embeddings at hand compared by held-out loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from db import arrays, queries
from db.models import Array
from loop.encoders import spec as specs
from loop.errors import NotReady
from loop.project.labels import collect
from loop.project.project import Project
from loop.seeds import generator
from loop.wording import counted

FOLDS = 10
LEAST_LABELS = 10
LEAST = 1e-6
"""Probability below which an answer counts as this."""


@dataclass(frozen=True)
class EncoderScore:
    """How well a model on an encoder's embeddings predicts labels that it did not learn.

    Attributes:
        encoder: its spec, or its digest where another project's setting made it.
        in_use: it is the project's own.
        loss: mean log-loss of the held-out labels; accuracy: share predicted right.
        behind: loss more than that of the best, and the standard error of this difference.
    """

    encoder: str
    in_use: bool
    dim: int
    labels: int
    loss: float
    accuracy: float
    behind: tuple[float, float] = (0.0, 0.0)


def compare_encoders(project: Project) -> list[EncoderScore]:
    """The best first: every encoder that the pool is embedded with, and each part of the project's
    own where it joins several. Only labels of people are looked at, each by models without it.

    Raises:
        NotReady: too few labels, labels of one class, or nothing is embedded.
    """
    with project.records.read() as session:
        pool = queries.the_pool(session)
        rows = queries.split_rows(session, pool.id, "pool")
        labels = collect(session, pool, project.config).of(rows)
        known = int((labels >= 0).sum())
        if known < LEAST_LABELS or len(np.unique(labels[labels >= 0])) < 2:
            raise NotReady(
                f"{counted(known, 'label')} cannot tell encoders apart; {LEAST_LABELS} of two "
                "classes are needed: coreloop run"
            )
        found = list(_embedded(session, project, rows))
    if not found:
        raise NotReady("the images are not embedded; run 'coreloop embed'")
    held_out = [_held_out(x, labels, project) for _, _, x in found]
    best = min(held_out, key=lambda each: float(each[0].mean()))[0]
    scores = []
    for (name, in_use, x), (losses, right) in zip(found, held_out, strict=True):
        behind = losses - best
        error = float(behind.std() / np.sqrt(len(behind)))
        gap = (float(behind.mean()), error)
        mean = float(losses.mean()), float(right.mean())
        scores.append(EncoderScore(name, in_use, x.shape[1], known, *mean, gap))
    return sorted(scores, key=lambda score: score.loss)


def _embedded(
    session: Session, project: Project, rows: NDArray[np.int64]
) -> Iterator[tuple[str, bool, NDArray[np.float32]]]:
    """(name, whether it is the project's own, (N, D)) one by one."""
    from loop import encoders
    from loop.encoders.joined import Joined
    from loop.encoders.prior import GivenPrior

    own, pool = encoders.get(project.config.encoder), queries.the_pool(session)
    stored = select(Array).where(
        Array.pool_id == pool.id, Array.kind == "embeddings", Array.of == pool.digest
    )
    for row in session.scalars(stored.order_by(Array.id)):
        x = np.asarray(arrays.load(row, project.arrays)[rows], dtype=np.float32)
        if row.name != own.digest:
            yield row.name, False, x
            continue
        yield specs.short(project.config.encoder), True, x
        if isinstance(own, Joined):
            start = 0
            for part, text in zip(own.parts, specs.parts(project.config.encoder), strict=True):
                columns, start = slice(start, start + part.dim), start + part.dim
                if not isinstance(part, GivenPrior):
                    yield specs.short(text), False, x[:, columns]


def _held_out(
    x: NDArray[np.float32], labels: NDArray[np.int64], project: Project
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(k,) log-loss of each label by a model without it, and whether it was predicted."""
    from loop.train import Task
    from loop.train.propagate import Propagate

    nothing = np.empty(0, np.int64)
    task = Task(len(project.config.project.classes), x, x[:0], nothing)
    known = np.flatnonzero(labels >= 0)
    rng = generator(project.config.project.seed, "encoders")
    fold = np.full(len(labels), -1, np.int64)
    fold[rng.permutation(known)] = np.arange(len(known)) % FOLDS
    p = np.empty((len(labels), task.n_classes))
    for number, predicted in enumerate(Propagate().cross_fit(task, labels, fold, rng)):
        p[fold == number] = predicted[fold == number]
    of_label = p[known, labels[known]]
    return -np.log(np.maximum(of_label, LEAST)), p[known].argmax(axis=1) == labels[known]
