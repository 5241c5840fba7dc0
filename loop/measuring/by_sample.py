"""Measured on a random sample of the pool, whose labels train the delivered model as well."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np

from loop.measuring.accuracy import INFLATION, estimate
from loop.measuring.active import RandomSample, sample_weights
from loop.measuring.calibration import calibrate
from loop.measuring.difference import SampleDifference, picks_against_sample
from loop.measuring.held_out import HeldOut, predict_held_out
from loop.measuring.runs import CALIBRATION, DIFFERENCE, DIFFERENCES, Ints, Measured, MeasuredRun
from loop.seeds import generator
from loop.train.base import Task, Trainer
from loop.train.metrics import Metrics, measure

SAMPLE = "sample"
"""Key in the notes of a run: how the accuracy came about."""
EACH = "labels of each model"
"""Key in the notes of a control's runs: what the folds leave of its labels."""


def measure_by_sample(
    trainer: Trainer,
    task: Task,
    labels: Ints,
    picks: Ints,
    sample: RandomSample,
    seed: int,
    count: int,
    folds: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    answers: Ints | None = None,
    shared: Ints | None = None,
) -> Measured:
    """``count`` trainings on all labels, each judged by ``folds`` models of all labels but a fold's
    of the sample; and the first picks against as many labels of the sample drawn at random.

    Args:
        labels: (N,) int64, -1: none.
        picks: pool rows of the picks, in the order picked.
        on_progress: told how many models are trained, and how many there are: the delivered one,
            the picks', and for accuracy and difference one for each fold.
        answers: (N,) int64 labels that the sample is judged by, where the models learn fewer (those
            of an earlier round); None: ``labels``.
        shared: pool rows whose labels both sides of the comparison learn besides.

    Raises:
        DataError: fewer than two images of the sample are labelled.
        TrainingFailed: the numbers are unusable.
    """
    runs, apart = [], []
    answers = labels if answers is None else answers
    sample = sample.labelled(answers)
    at_random = sample.batch == 0
    done, total = itertools.count(1), count * (2 + 2 * folds)

    def on_model() -> None:
        on_progress(next(done), total)

    for n in range(count):
        kept = trainer.train(task, labels, generator(seed, "train", n), pool_probabilities=True)
        on_model()
        held_out = predict_held_out(
            trainer,
            task,
            labels,
            sample.rows,
            folds,
            generator(seed, "folds", n),
            on_model,
            answers,
        )
        rng = generator(seed, "difference", n)
        difference = picks_against_sample(
            trainer, task, labels, picks, sample.at_random, folds, rng, on_model, shared
        )
        metrics, notes = _accuracy(held_out, sample, labels)
        calibration = calibrate(held_out.probabilities[at_random], held_out.labels[at_random])
        notes = {**kept.notes, SAMPLE: notes, CALIBRATION: asdict(calibration)}
        runs.append(MeasuredRun("all", n, labels, metrics, notes))
        if difference is not None:
            apart += _arms(difference, n)
    return Measured(runs + apart, kept, calibration)


def _accuracy(
    held_out: HeldOut, sample: RandomSample, labels: Ints
) -> tuple[Metrics, dict[str, object]]:
    """Metrics over what was drawn at random, with the accuracy as ``estimate`` says it from the
    whole sample; and what it says."""
    confidence = held_out.probabilities.max(axis=1)
    others = labels < 0
    others[held_out.rows] = False
    unlabelled = held_out.pool_confidence[others]
    at_random, weights = sample.batch == 0, None
    if not at_random.all():
        weights = sample_weights(sample, confidence)
        # what was drawn by doubt is missing among the others
        unlabelled = np.concatenate([unlabelled, confidence])
    estimated = estimate(held_out.right, confidence, unlabelled, weights=weights)
    metrics = measure(
        held_out.probabilities[at_random],
        held_out.labels[at_random],
        INFLATION,
    )
    interval = [estimated.lower, estimated.upper]
    metrics = replace(
        metrics,
        accuracy=estimated.accuracy,
        n=estimated.n,
        intervals={**metrics.intervals, "accuracy": interval},
    )
    return metrics, {**asdict(estimated), "right": float(held_out.right.mean())}


def _arms(difference: SampleDifference, n: int) -> list[MeasuredRun]:
    """The runs of the two arms; the control's note the difference."""
    runs = [
        MeasuredRun(arm, n, learned, measure(p, difference.answers, INFLATION))
        for arm, learned, p in (
            ("coreset", difference.picks_learned, difference.by_picks),
            ("control", difference.sample_learned, difference.by_sample),
        )
    ]
    interval = [difference.mean, difference.lower, difference.upper]
    notes = {DIFFERENCE: interval, DIFFERENCES: difference.others, EACH: difference.labels}
    return [runs[0], replace(runs[1], notes=notes)]
