"""Accuracy, balanced accuracy, macro-F1 and calibration on the test images, with intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loop.errors import DataError
from loop.train.class_metrics import class_intervals, class_metrics, confusion_of

BINS = 15
"""Confidence bins of the calibration error."""


@dataclass(frozen=True)
class Metrics:
    """Numbers of one run on one test split; C classes.

    Attributes:
        accuracy, balanced_accuracy, macro_f1, calibration_error: in [0, 1]; the last is the
            expected calibration error over 15 equal-width confidence bins.
        intervals: 95 %, over the test images, by metric name: Wilson's for accuracy, which has
            width where all images are right too; ``loop.train.class_metrics`` for the other two.
        class_accuracy: C recalls, None for a class without test images.
        class_support: C test images.
        confusion: C x C counts, true class first.
        calibration: [mean confidence, accuracy, count] of each bin that has images.
        n: labelled test images.
    """

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    calibration_error: float
    class_accuracy: list[float | None]
    class_support: list[int]
    confusion: list[list[int]]
    calibration: list[list[float]]
    n: int
    intervals: dict[str, list[float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Metrics:
        """The inverse of ``to_json``."""
        return cls(**values)


def measure(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    inflation: float = 1.0,
) -> Metrics:
    """Metrics of (T, C) probabilities against (T,) labels; rows with label -1 do not count.

    Args:
        inflation: of the standard deviation of balanced accuracy and macro-F1, in their intervals.

    Raises:
        DataError: no test image has a label.
    """
    known = labels >= 0
    if not known.any():
        raise DataError("no test image has a label; label the test images first")
    p, y = np.asarray(probabilities, dtype=np.float64)[known], labels[known]
    classes = p.shape[1]
    predicted = p.argmax(axis=1)
    confusion = confusion_of(y, predicted, classes)
    right = int(np.trace(confusion))
    calibration = _calibration(p.max(axis=1), predicted == y)
    support = confusion.sum(axis=1)
    intervals = class_intervals(confusion, inflation)
    intervals["accuracy"] = list(wilson(right, len(y)))
    return Metrics(
        accuracy=right / len(y),
        **class_metrics(confusion),
        calibration_error=_error(calibration, len(y)),
        class_accuracy=[
            float(confusion[c, c] / support[c]) if support[c] else None for c in range(classes)
        ],
        class_support=[int(s) for s in support],
        confusion=confusion.tolist(),
        calibration=calibration,
        n=len(y),
        intervals=intervals,
    )


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % score interval of a share of ``n`` (E. B. Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(right, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Expected calibration error of (n, C) probabilities, over ``BINS`` bins of confidence."""
    right = probabilities.argmax(axis=1) == labels
    return _error(_calibration(probabilities.max(axis=1), right), len(labels))


def _error(bins: list[list[float]], n: int) -> float:
    return float(sum(count * abs(sure - right) for sure, right, count in bins) / n)


def _calibration(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> list[list[float]]:
    """[mean confidence, accuracy, count] of each equal-width bin that has images."""
    bin_of_image = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = []
    for number in range(BINS):
        rows = bin_of_image == number
        if rows.any():
            mean_confidence, accuracy = confidence[rows].mean(), correct[rows].mean()
            bins.append([float(mean_confidence), float(accuracy), float(rows.sum())])
    return bins
