"""The whole way on labelled images: learn some, calibrate, finish, and count what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loop.finish.promise import Ints, allowed_wrong, loosest, promise
from loop.train.base import Task, Trainer, revealed

PROMISED = "promise"
UNBOUNDED = "no bound"
"""Rules: a threshold by ``loop.finish.promise``, and one by the sample's share of wrong images as
if it were the collection's."""


@dataclass(frozen=True)
class Finished:
    """A finished collection.

    Attributes:
        rule: PROMISED or UNBOUNDED.
        max_error: the goal, a share of all images.
        sample: calibration labels.
        by_people: labels in all: learned, calibration, last round.
        by_model: labels of the model.
        wrong: of these.
        broken: more wrong ones than the goal allows.
    """

    rule: str
    max_error: float
    sample: int
    by_people: int
    by_model: int
    wrong: int
    broken: bool

    @property
    def error(self) -> float:
        """Share of the collection with a wrong label."""
        return self.wrong / (self.by_people + self.by_model)


def rehearse(
    trainer: Trainer,
    task: Task,
    labels: Ints,
    learned: Ints,
    max_errors: Sequence[float],
    sizes: Sequence[int],
    alpha: float,
    rng: np.random.Generator,
) -> list[Finished]:
    """One model, finished for each goal and each size of the calibration sample, by both rules.

    Args:
        labels: (N,) int64 of all images.
        learned: rows whose labels the model learns.
        sizes: ascending; a smaller sample is the beginning of a larger one. Sizes beyond the images
            that nobody labelled are left out.

    Raises:
        DataError: nothing to learn from, or a goal or alpha outside (0, 1).
        TrainingFailed: see ``Trainer.train``.
    """
    train_rng, sample_rng = rng.spawn(2)
    trained = trainer.train(task, revealed(labels, learned), train_rng, pool_probabilities=True)
    assert trained.pool_probabilities is not None
    unlabelled = np.setdiff1d(np.arange(len(labels)), learned)
    probabilities = trained.pool_probabilities[unlabelled]
    right = probabilities.argmax(axis=1) == labels[unlabelled]
    order = sample_rng.permutation(len(unlabelled))
    return [
        finished
        for size in sizes
        if size <= len(order)
        for max_error in max_errors
        for finished in finish(
            probabilities.max(axis=1), right, order[:size], len(labels), max_error, alpha
        )
    ]


def finish(
    confidence: NDArray[np.floating],
    right: NDArray[np.bool_],
    sample: Ints,
    images: int,
    max_error: float,
    alpha: float,
) -> list[Finished]:
    """The collection as each rule finishes it.

    Args:
        confidence, right: (U,) of the model, of the images that nobody labelled.
        sample: (n,) int64 rows of these.
        images: of the whole collection.
    """
    n, population = len(sample), len(confidence)
    allowed = allowed_wrong(max_error, images)
    promised = promise(confidence, sample, right[sample], allowed, alpha)
    # as many wrong in the sample as there would be if the rest were like it
    most = allowed * n // max(population - n, 1)
    values = np.asarray(confidence, np.float64)
    unbounded = loosest(values, values[sample[~right[sample]]], most)
    outcomes = []
    for rule, threshold in ((PROMISED, promised.threshold), (UNBOUNDED, unbounded)):
        kept = confidence >= threshold
        kept[sample] = False
        by_model, wrong = int(kept.sum()), int((kept & ~right).sum())
        outcomes.append(
            Finished(
                rule=rule,
                max_error=max_error,
                sample=n,
                by_people=images - by_model,
                by_model=by_model,
                wrong=wrong,
                broken=wrong > allowed,
            )
        )
    return outcomes
