"""Does the selection beat random? The first picks against as many labels of the random sample.

Both models are judged on the same images of the sample, which neither learned: the model of the
picks on all of it, that of the sample's labels by cross-fitting.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from loop.measuring.runs import Ints
from loop.train.base import Task, Trainer, revealed
from loop.train.class_metrics import class_differences

INFLATION = 1.1
"""Standard deviation of the error over the paired one's: other random labels would have made
another model. Measured: docs/measuring.md."""


@dataclass(frozen=True)
class SampleDifference:
    """Accuracy of the picks' model minus that of the random one, and its 95 % interval.

    Attributes:
        others: the same three of balanced accuracy and macro-F1, by their key in ``Metrics``.
        labels: that each of the two models learned, without those that both did.
        answers: (n,) int64 classes of the sample images that both are judged on.
        by_picks, by_sample: (n, C) float64 what each says of these.
        picks_learned, sample_learned: (N,) int64 labels that each learned, -1 elsewhere.
    """

    labels: int
    mean: float
    lower: float
    upper: float
    others: dict[str, list[float]]
    answers: Ints
    by_picks: NDArray[np.float64]
    by_sample: NDArray[np.float64]
    picks_learned: Ints
    sample_learned: Ints


def picks_against_sample(
    trainer: Trainer,
    task: Task,
    labels: Ints,
    picks: Ints,
    sample: Ints,
    folds: int,
    rng: np.random.Generator,
    on_model: Callable[[], None] = lambda: None,
    shared: Ints | None = None,
) -> SampleDifference | None:
    """The difference at equal labels: of all picks, or of as many as a fold leaves of the sample.
    None where that is fewer than two. The class names are trusted by the rule of picks in both
    models, as the random sample would judge them for one alone.

    Args:
        labels: (N,) int64, -1: none.
        picks: (k,) int64 pool rows in the order picked, none of the sample's.
        sample: (n,) int64 pool rows in the order drawn.
        on_model: called after each model.
        shared: pool rows whose labels both models learn besides, none of the sample's: those that
            people had given before, which picks make up for and random ones do not repeat.
    """
    shared = np.empty(0, np.int64) if shared is None else shared
    task = replace(task, sample=np.empty(0, np.int64))
    picks, sample = picks[labels[picks] >= 0], sample[labels[sample] >= 0]
    folds = min(folds, len(sample))
    count = min(len(picks), len(sample) - math.ceil(len(sample) / max(folds, 1)))
    if count < 2:
        return None
    folds = min(folds, count + 1)  # each has an image that is learned, or none would judge it
    picks_rng, sample_rng = rng.spawn(2)
    picks_learned = revealed(labels, np.concatenate([shared, picks[:count]]))
    trained = trainer.train(task, picks_learned, picks_rng, pool_probabilities=True)
    assert trained.pool_probabilities is not None
    by_picks = trained.pool_probabilities[sample]
    on_model()
    # each model learns ``count`` of the first images; the others are learned by none
    drawn = sample[: math.ceil(count * folds / (folds - 1))]
    sample_learned = revealed(labels, np.concatenate([shared, drawn]))
    fold = np.full(len(labels), -1, np.int64)
    fold[sample] = np.arange(len(sample)) % folds
    left_out = np.where(sample_learned >= 0, fold, -1)
    by_sample = np.full_like(by_picks, np.nan)
    for number, predicted in enumerate(
        trainer.cross_fit(task, sample_learned, left_out, sample_rng)
    ):
        inside = fold[sample] == number
        by_sample[inside] = predicted[sample[inside]]
        on_model()
    answers = labels[sample]
    first, second = by_picks.argmax(axis=1), by_sample.argmax(axis=1)
    gaps = (first == answers).astype(np.float64) - (second == answers)
    others = class_differences(answers, [first], [second], task.n_classes, INFLATION)
    return SampleDifference(
        count,
        float(gaps.mean()),
        *interval(gaps),
        others,
        answers,
        by_picks,
        by_sample,
        picks_learned,
        sample_learned,
    )


def interval(gaps: NDArray[np.float64], inflation: float = INFLATION) -> tuple[float, float]:
    """95 % t-interval of the mean of (n,) paired differences in {-1, 0, 1}, widened."""
    from scipy.stats import t

    n, mean = len(gaps), float(gaps.mean())
    # one more image of each sign, so that differences that are all alike are no certainty
    variance = (float((gaps**2).sum()) + 2) / (n + 2) - float(gaps.sum() / (n + 2)) ** 2
    half = float(t.ppf(0.975, n - 1)) * inflation * math.sqrt(variance / n)
    return max(-1.0, mean - half), min(1.0, mean + half)
