"""Measured on test images that no model learns; a control share of the picks compares."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np

from loop.measuring.calibration import Calibration, calibrate
from loop.measuring.held_out import predict_held_out
from loop.measuring.runs import CALIBRATION, DIFFERENCE, DIFFERENCES, Ints, Measured, MeasuredRun
from loop.seeds import generator
from loop.statistics import t_interval
from loop.train.base import Task, Trained, Trainer, revealed
from loop.train.class_metrics import class_differences


def measure_by_holdout(
    trainer: Trainer,
    task: Task,
    labels: Ints,
    coreset: Ints,
    control: Ints,
    seed: int,
    count: int,
    folds: int,
    shared: Ints | None = None,
) -> Measured:
    """``count`` trainings on all labels. With control labels also on as many of the first coreset
    labels, and on the control's, apart; the difference on the test images is noted.

    The test images stay untouched: the temperature comes from ``folds`` models, each without a part
    of the labels. A network, which is not trained so often for that, stays as it is.

    Args:
        labels: (N,) int64, -1: none.
        coreset, control: pool rows of the labelled picks of each arm, in the order picked.
        shared: pool rows whose labels both sides of the comparison learn besides.

    Raises:
        DataError: no labelled image to learn from or to test on.
        TrainingFailed: the numbers are unusable.
    """
    share = min(len(coreset), len(control))
    arms = {"all": labels}
    if share:
        both = np.empty(0, np.int64) if shared is None else shared
        arms["coreset"] = revealed(labels, np.concatenate([both, coreset[:share]]))
        arms["control"] = revealed(labels, np.concatenate([both, control[:share]]))
    trained = {
        arm: [
            trainer.train(task, learned, generator(seed, "train", n), pool_probabilities=True)
            for n in range(count)
        ]
        for arm, learned in arms.items()
    }
    runs = [
        MeasuredRun(arm, n, arms[arm], outcome.metrics, outcome.notes)
        for arm, outcomes in trained.items()
        for n, outcome in enumerate(outcomes)
    ]
    if share:
        difference = _difference(trained["coreset"], trained["control"], task.n_classes)
        runs = [
            replace(run, notes={**run.notes, **difference}) if run.arm == "control" else run
            for run in runs
        ]
    calibration = None
    if trainer.wants == "embeddings":
        calibration = _calibration(trainer, task, labels, folds, generator(seed, "calibration"))
        note = {CALIBRATION: asdict(calibration)} if calibration else {}
        runs = [
            replace(run, notes={**run.notes, **note}) if run.arm == "all" else run for run in runs
        ]
    return Measured(runs, trained["all"][-1], calibration)


def _calibration(
    trainer: Trainer, task: Task, labels: Ints, folds: int, rng: np.random.Generator
) -> Calibration | None:
    """None with fewer than two labels, or of one class."""
    rows = rng.permutation(np.flatnonzero(labels >= 0))
    if len(np.unique(labels[rows])) < 2:
        return None
    held_out = predict_held_out(trainer, task, labels, rows, folds, rng)
    return calibrate(held_out.probabilities, held_out.labels)


def _difference(
    coreset: list[Trained], control: list[Trained], n_classes: int
) -> dict[str, object]:
    """How much more often the coreset's models are right, and their other metrics; nothing of fewer
    than two test images."""
    known = coreset[0].test_labels >= 0
    answers = coreset[0].test_labels[known]
    if len(answers) < 2:
        return {}
    first, second = (
        [np.asarray(model.test_probabilities)[known].argmax(axis=1) for model in models]
        for models in (coreset, control)
    )
    gaps = np.mean([predicted == answers for predicted in first], axis=0)
    gaps = gaps - np.mean([predicted == answers for predicted in second], axis=0)
    return {
        DIFFERENCE: [float(gaps.mean()), *t_interval(gaps)],
        DIFFERENCES: class_differences(answers, first, second, n_classes),
    }
