"""Balanced accuracy and macro-F1 of a confusion table, their 95 % intervals, and differences.

Both are functions of the table's counts, so that their variance follows from how each count moves
them (the delta method; Takahashi, Yamamoto, Kuchiba and Koyama, Applied Intelligence 52, 2022). Two
things keep it honest where a class has few images: each row of the table is mixed with one image
that is half right, so that three of three right are no certainty; and a class of which no image
measures counts as one image that is half right. The interval is Wilson's of as many images as have
this variance. Measured: docs/rare.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from loop.statistics import score_interval

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def confusion_of(labels: Ints, predicted: Ints, n_classes: int) -> Ints:
    """(C, C) counts, true class first, of (n,) labels and predicted classes."""
    confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    return confusion


def class_metrics(confusion: Ints | Floats) -> dict[str, float]:
    """``balanced_accuracy`` over the classes that have images, and ``macro_f1`` over those that
    have images or are predicted."""
    hits = np.diagonal(confusion).astype(np.float64)
    true, both = confusion.sum(axis=1), confusion.sum(axis=1) + confusion.sum(axis=0)
    recall = hits / np.where(true > 0, true, 1)
    f1 = 2 * hits / np.where(both > 0, both, 1)
    return {
        "balanced_accuracy": float(recall.sum() / max((true > 0).sum(), 1)),
        "macro_f1": float(f1.sum() / max((both > 0).sum(), 1)),
    }


def class_intervals(confusion: Ints, inflation: float = 1.0) -> dict[str, list[float]]:
    """Ends of the intervals of ``class_metrics``.

    Args:
        confusion: (C, C) counts, true class first; at least one.
        inflation: of the standard deviation.
    """
    table, intervals = smoothed(confusion), {}
    values, inside = class_metrics(confusion), class_metrics(table)
    for name, slope in slopes(table).items():
        mean = float((table * slope).sum() / table.sum())
        variance = inflation**2 * float((table * (slope - mean) ** 2).sum())
        images = inside[name] * (1 - inside[name]) / variance
        intervals[name] = list(score_interval(values[name], images))
    return intervals


def class_differences(
    labels: Ints,
    first: Sequence[Ints],
    second: Sequence[Ints],
    n_classes: int,
    inflation: float = 1.0,
) -> dict[str, list[float]]:
    """Name of ``class_metrics`` -> first models minus second, and the ends of its t-interval over
    the images that both are judged on.

    Args:
        labels: (n,) classes; n is at least 2.
        first, second: (n,) predicted classes of each of as many models.
    """
    from scipy.stats import t

    n = len(labels)
    images = np.maximum(np.bincount(labels, minlength=n_classes), 1)
    # one more image of each sign, so that predictions that are all alike are no certainty
    unseen = 2 * float(((1 / (n_classes * images)) ** 2).mean())
    width = float(t.ppf(0.975, n - 1)) * inflation
    one, other = (_moves(labels, models, n_classes) for models in (first, second))
    differences = {}
    for name, (value, moves) in one.items():
        mean, gaps = value - other[name][0], moves - other[name][1]
        half = width * math.sqrt(float(((gaps - gaps.mean()) ** 2).sum()) + unseen)
        differences[name] = [mean, max(-1.0, mean - half), min(1.0, mean + half)]
    return differences


def _moves(labels: Ints, models: Sequence[Ints], n_classes: int) -> dict[str, tuple[float, Floats]]:
    """Name of ``class_metrics`` -> its mean over models, and (n,) by how much each image moves
    it."""
    tables = [confusion_of(labels, predicted, n_classes) for predicted in models]
    values = [class_metrics(table) for table in tables]
    steep = [slopes(smoothed(table)) for table in tables]
    moves = {}
    for name in values[0]:
        by_model = [
            slope[name][labels, predicted] for slope, predicted in zip(steep, models, strict=True)
        ]
        value = float(np.mean([each[name] for each in values]))
        moves[name] = value, np.mean(by_model, axis=0)
    return moves


def smoothed(confusion: Ints) -> Floats:
    """(C, C) the table with one image that is half right mixed into each row, which keeps its sum;
    a row without images sums to one."""
    classes, sums = len(confusion), confusion.sum(axis=1)
    unsure = np.full((classes, classes), 0.5 / max(classes - 1, 1))
    np.fill_diagonal(unsure, 0.5)
    shares = (confusion + unsure) / (sums + 1)[:, None]
    return np.asarray(shares * np.maximum(sums, 1)[:, None], dtype=np.float64)


def slopes(table: Floats) -> dict[str, Floats]:
    """(C, C) by how much one more image in each place of a table moves balanced accuracy and
    macro-F1."""
    classes, hits = len(table), np.diagonal(table)
    true, both = table.sum(axis=1), table.sum(axis=1) + table.sum(axis=0)
    balanced = np.repeat(-hits / true**2, classes).reshape(classes, classes)
    balanced += np.diag(1 / true)
    missed = -2 * hits / both**2
    f1 = missed[:, None] + missed[None] + np.diag(2 / both)
    return {"balanced_accuracy": balanced / classes, "macro_f1": f1 / classes}
