"""The classification problem of a project, as trainers and scorers see it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from connectors.base import Source
from connectors.folder import content_key
from db import queries
from loop.measuring.active import NO_SAMPLE, RandomSample
from loop.project.embeddings import embeddings
from loop.project.labels import collect
from loop.project.names import name_head_of
from loop.project.project import Project
from loop.project.sample import random_sample
from loop.seeds import generator

if TYPE_CHECKING:
    from loop.train import Task


_WEIGH_CLASSES = {
    "auto": "uneven",
    "accuracy": "never",
    "balanced accuracy": "always",
    "macro-F1": "root",
}
"""``metric`` under ``[goal]`` -> see ``Task``."""


@dataclass(frozen=True)
class Problem:
    """A Task with the labels collected so far.

    Attributes:
        task: embeddings (or images) of the pool and the test split.
        labels: (N,) int64 of the pool rows, -1 where there is no label.
        rows: (N,) int64, pool row (the index space of every algorithm) -> array row of its item.
        test_rows: (T,) int64, test row -> array row.
        covered: (N,) bool, picked by a scorer in an earlier round.
        sample: the random sample; none where test images measure. Scorers are shown neither its
            labels nor that it is labelled: picks that made up for the sample would leave an image
            of it, held out, without labels nearby, and worse than the unlabelled images that it
            stands for (docs/measuring.md).
    """

    task: Task
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]
    test_rows: NDArray[np.int64]
    covered: NDArray[np.bool_]
    sample: RandomSample = NO_SAMPLE

    @property
    def available(self) -> NDArray[np.bool_]:
        """(N,) bool, neither picked nor of the random sample."""
        available = ~self.covered
        available[self.sample.rows] = False
        return available

    @property
    def shown_labels(self) -> NDArray[np.int64]:
        """(N,) int64 labels of earlier picks, -1 elsewhere: what a scorer may be shown."""
        shown = self.labels.copy()
        shown[self.sample.rows] = -1
        return shown


def problem(session: Session, project: Project, *, side: int = 0) -> Problem:
    """Loads embeddings and labels; also a way to the decoded images, squares of ``side`` pixels,
    unless that is 0.

    Raises:
        NotReady: the pool is not embedded.
        ConfigError: see ``loop.project.labels.collect``.
    """
    pool = queries.the_pool(session)
    rows = queries.split_rows(session, pool.id, "pool")
    test_rows = queries.split_rows(session, pool.id, "test")
    labels = collect(session, pool, project.config)
    task = make_task(session, project, rows, test_rows, labels.of(test_rows), side=side)
    covered = np.isin(rows, queries.picked_rows(session, pool.id, by_scorer=True))
    sample = random_sample(session, pool.id, rows)
    task = replace(task, sample=np.sort(sample.at_random))
    return Problem(task, labels.of(rows), rows, test_rows, covered, sample)


def make_task(
    session: Session,
    project: Project,
    rows: NDArray[np.int64],
    test_rows: NDArray[np.int64],
    test_labels: NDArray[np.int64],
    *,
    side: int = 0,
) -> Task:
    """The Task of these array rows; its images are squares of ``side`` pixels, 0: none.

    Raises:
        NotReady: the pool is not embedded.
    """
    from loop.name_head import Prior, remarks_on
    from loop.train import Task

    pool = queries.the_pool(session)
    everything = embeddings(session, project)
    of_pool = np.asarray(everything[rows], dtype=np.float32)
    of_test = np.asarray(everything[test_rows], dtype=np.float32)
    head, prior = name_head_of(project.config), None
    if head is not None:
        told = head.probabilities(of_pool)
        counts = np.bincount(told.argmax(axis=1), minlength=told.shape[1])
        remarks = remarks_on(head, counts, project.config.project.classes)
        prior = Prior(head, told, head.probabilities(of_test), remarks)
        of_pool, of_test = head.picture(of_pool), head.picture(of_test)
    names = queries.row_names(session, pool.id) if side else []
    named = {row: (key, uri) for row, key, uri in names}

    def images(chosen: NDArray[np.int64]) -> DecodedImages | None:
        if not side:
            return None
        return DecodedImages(project.source, [named[int(row)] for row in chosen], side)

    return Task(
        n_classes=len(project.config.project.classes),
        pool=of_pool,
        test=of_test,
        test_labels=test_labels,
        pool_images=images(rows),
        test_images=images(test_rows),
        device=project.config.training.device,
        unfinished=unfinished(project, pool.digest),
        prior=prior,
        weigh_classes=weigh_classes(project.config.goal.metric),
    )


def weigh_classes(metric: str) -> str:
    """How the trainer of a project with this goal weighs classes, see ``Task.weigh_classes``."""
    return _WEIGH_CLASSES[metric]


def tested_on(problem_: Problem, tested: NDArray[np.int64]) -> Problem:
    """The problem with these (T,) pool rows as its test images, and the others as its pool."""
    task = problem_.task
    others = np.setdiff1d(np.arange(len(problem_.rows)), tested)
    images = task.pool_images
    held = replace(
        task.restricted(others),
        test=task.pool[tested],
        test_labels=problem_.labels[tested],
        test_images=None if images is None else lambda: images()[tested],
        prior=task.prior and task.prior.restricted(others, tested),
    )
    return Problem(
        held,
        problem_.labels[others],
        problem_.rows[others],
        problem_.rows[tested],
        problem_.covered[others],
    )


def a_fifth(n: int, seed: int) -> NDArray[np.int64]:
    """Pool rows to test simulated methods on where there are no test images: a random fifth."""
    return generator(seed, "tested on").permutation(n)[: max(1, n // 5)]


def unfinished(project: Project, pool_digest: str) -> Path:
    """Where long trainings on a pool keep their state; the step that trains removes it at last."""
    return project.arrays / "drafts" / f"{pool_digest}-training"


@dataclass
class DecodedImages:
    """Images as (n, side, side, 3) uint8 when called; decoded at the first call and kept.

    Attributes:
        names: (item key, uri) of each image.
    """

    source: Source
    names: list[tuple[str, str]]
    side: int
    _decoded: NDArray[np.uint8] | None = field(default=None, repr=False)

    def __call__(self) -> NDArray[np.uint8]:
        from loop.images import squares

        if self._decoded is None:
            keys = {uri: key for key, uri in self.names}

            def read(uri: str) -> bytes:
                return read_scanned(self.source, uri, keys[uri])

            self._decoded = squares(read, list(keys), self.side)
        return self._decoded


def read_scanned(source: Source, uri: str, key: str) -> bytes:
    """Encoded bytes of an image as it was scanned.

    Raises:
        SourceError: it has gone.
        Replaced: it is another one now.
    """
    from loop.images import Replaced

    encoded = source.read(uri)
    if content_key(encoded) != key:
        raise Replaced(uri)
    return encoded
