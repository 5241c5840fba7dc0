"""Accuracy, balanced accuracy, macro-F1 and calibration on the test images, with intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loop.errors import DataError

BINS = 15
"""Confidence bins of the calibration error."""


@dataclass(frozen=True)
class Metrics:
    """Numbers of one run on one test split; C classes.

    Attributes:
        accuracy, balanced_accuracy, macro_f1, calibration_error: in [0, 1]; the last is the
            expected calibration error over 15 equal-width confidence bins.
        intervals: 95 %, over the test images, by metric name: Wilson's for accuracy, which has
            width where all images are right too; bootstrap for the other two, left out where it
            has none.
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
    *,
    resamples: int = 1000,
    rng: np.random.Generator | None = None,
) -> Metrics:
    """Metrics of (T, C) probabilities against (T,) labels; rows with label -1 do not count.

    Args:
        resamples: bootstrap resamples of the test images; 0 leaves the intervals out.

    Raises:
        DataError: no test image has a label.
    """
    known = labels >= 0
    if not known.any():
        raise DataError("no test image has a label; label the test images first")
    p, y = np.asarray(probabilities, dtype=np.float64)[known], labels[known]
    classes = p.shape[1]
    predicted = p.argmax(axis=1)
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (y, predicted), 1)
    accuracy, balanced, f1 = (float(v[0]) for v in _rates(confusion[None]))
    calibration = _calibration(p.max(axis=1), predicted == y)
    support = confusion.sum(axis=1)
    intervals = {}
    if resamples:
        intervals = _bootstrap(confusion, resamples, rng or np.random.default_rng(0))
        intervals["accuracy"] = list(wilson(int(np.trace(confusion)), len(y)))
    return Metrics(
        accuracy=accuracy,
        balanced_accuracy=balanced,
        macro_f1=f1,
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


def _rates(confusion: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
    """Accuracy, balanced accuracy and macro-F1, (R,) float64 each, of (R, C, C) confusion tables.

    Classes that occur neither as truth nor as prediction do not count.
    """
    hits = np.diagonal(confusion, axis1=1, axis2=2).astype(np.float64)
    true, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
    total = np.maximum(confusion.sum(axis=(1, 2)), 1)
    recall = hits / np.maximum(true, 1)
    balanced = recall.sum(axis=1) / np.maximum((true > 0).sum(axis=1), 1)
    f1 = 2 * hits / np.maximum(true + predicted, 1)
    present = (true + predicted > 0).sum(axis=1)
    return hits.sum(axis=1) / total, balanced, f1.sum(axis=1) / np.maximum(present, 1)


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % score interval of a share of ``n`` (E. B. Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(right, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def _bootstrap(
    confusion: NDArray[np.int64], resamples: int, rng: np.random.Generator
) -> dict[str, list[float]]:
    """95 % percentile intervals of balanced accuracy and macro-F1; none where it has no width.

    Resampling test images is a multinomial draw over the entries of the confusion table.
    """
    total = int(confusion.sum())
    draws = rng.multinomial(total, confusion.ravel() / total, size=resamples)
    _, balanced, f1 = _rates(draws.reshape(resamples, *confusion.shape))
    intervals = {}
    for name, values in (("balanced_accuracy", balanced), ("macro_f1", f1)):
        lower, upper = np.quantile(values, [0.025, 0.975]).tolist()
        if lower < upper:
            intervals[name] = [lower, upper]
    return intervals


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
