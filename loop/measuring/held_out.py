"""Cross-fitting: each image of a random sample is judged by a model that did not learn it.

The model that is delivered learns every label, the sample's too, so that no label is spent on
measuring alone. K more models each learn all labels but those of one fold of the sample; together
they predict the whole sample, and stand for the delivered one, which learned a little more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loop.errors import DataError
from loop.train.base import Task, Trainer
from loop.wording import agreeing, counted

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class HeldOut:
    """Predictions of models for images that they did not learn. n sample images, N of the pool.

    Attributes:
        rows: (n,) int64 pool rows of the sample.
        labels: (n,) int64 their classes.
        probabilities: (n, C) float64, by the model without the image's fold.
        pool_confidence: (N,) float64, largest probability of each pool image, mean over the models.
    """

    rows: Ints
    labels: Ints
    probabilities: NDArray[np.float64]
    pool_confidence: NDArray[np.float64]

    @property
    def right(self) -> NDArray[np.bool_]:
        """(n,) whether each image's class was predicted."""
        return np.asarray(self.probabilities.argmax(axis=1) == self.labels)


def predict_held_out(
    trainer: Trainer,
    task: Task,
    labels: Ints,
    sample: Ints,
    folds: int,
    rng: np.random.Generator,
    on_model: Callable[[], None] = lambda: None,
    answers: Ints | None = None,
) -> HeldOut:
    """Trains ``folds`` models and has them predict the sample and the pool.

    Args:
        labels: (N,) int64 all labels that the delivered model learns, -1: none.
        sample: (n,) int64 pool rows of the random sample, in the order drawn; those without a label
            are left out.
        on_model: called after each model.
        answers: (N,) int64 labels that the sample is judged by; None: ``labels``. An image with an
            answer that the delivered model does not learn is judged as well.

    Raises:
        DataError: the delivered model learns fewer than two images of the sample.
        TrainingFailed: see ``Trainer.train``.
    """
    answers = labels if answers is None else answers
    rows = sample[answers[sample] >= 0]
    learned = labels[rows] >= 0
    labelled = int(learned.sum())
    if labelled < 2:
        raise DataError(
            f"{counted(labelled, 'image')} of the random sample {agreeing(labelled, 'is')} "
            "labelled, 2 are needed to measure the model; label them where they were sent, then "
            "type: coreloop pull"
        )
    folds = min(folds, labelled)
    fold = np.full(len(labels), -1, np.int64)
    for part in (rows[learned], rows[~learned]):  # the order drawn is random
        fold[part] = np.arange(len(part)) % folds
    probabilities = np.empty((len(rows), task.n_classes))
    confidence = np.zeros(len(labels))
    for number, predicted in enumerate(trainer.cross_fit(task, labels, fold, rng)):
        inside = fold[rows] == number
        probabilities[inside] = predicted[rows[inside]]
        confidence += predicted.max(axis=1) / folds
        on_model()
    return HeldOut(rows, answers[rows], probabilities, confidence)
