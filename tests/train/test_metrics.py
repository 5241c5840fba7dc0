"""Metrics against scikit-learn, intervals against the binomial."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from loop.errors import DataError
from loop.train.metrics import Metrics, measure


def sample(n=400, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=n)
    z = rng.standard_normal((n, classes))
    z[np.arange(n), y] += 1.5
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return p, y.astype(np.int64)


def test_agrees_with_sklearn():
    p, y = sample()
    metrics, predicted = measure(p, y), p.argmax(axis=1)
    assert metrics.accuracy == pytest.approx((predicted == y).mean())
    assert metrics.balanced_accuracy == pytest.approx(balanced_accuracy_score(y, predicted))
    assert metrics.macro_f1 == pytest.approx(f1_score(y, predicted, average="macro"))
    assert sum(metrics.class_support) == metrics.n == 400


def test_interval_is_about_binomial():
    p, y = sample(n=1000)
    metrics = measure(p, y, resamples=4000)
    lower, upper = metrics.intervals["accuracy"]
    half = 1.96 * np.sqrt(metrics.accuracy * (1 - metrics.accuracy) / 1000)
    assert upper - lower == pytest.approx(2 * half, rel=0.1)
    assert lower < metrics.accuracy < upper


def test_bootstrap_intervals_are_of_95_percent():
    """About as wide as a normal interval, which 90 % would miss by a sixth."""
    p, y = sample(n=1000)
    measured, predicted = measure(p, y, resamples=10_000), p.argmax(axis=1)
    recalls = np.array([(predicted[y == c] == c).mean() for c in range(4)])
    counts = np.array(measured.class_support)
    half = 1.96 * np.sqrt((recalls * (1 - recalls) / counts).sum()) / 4
    lower, upper = measured.intervals["balanced_accuracy"]
    assert upper - lower == pytest.approx(2 * half, rel=0.06)


def test_unlabelled_rows_do_not_count():
    p, y = sample()
    y[:100] = -1
    assert measure(p, y).n == 300
    with pytest.raises(DataError, match="test images first"):
        measure(p, np.full(400, -1))


def test_absent_class_has_no_accuracy():
    p, y = sample()
    y[y == 2] = 1
    assert measure(p, y).class_accuracy[2] is None


def test_calibrated_is_near_zero():
    rng = np.random.default_rng(0)
    q = rng.uniform(0.5, 1, 20_000)
    p = np.stack([q, 1 - q], axis=1)
    y = (rng.random(20_000) > q).astype(np.int64)
    assert measure(p, y).calibration_error < 0.02


def test_json_round_trip():
    metrics = measure(*sample())
    assert Metrics.from_json(metrics.to_json()) == metrics


def test_an_interval_has_width_where_all_is_right():
    p, y = np.tile([0.9, 0.1], (20, 1)), np.zeros(20, np.int64)
    metrics = measure(p, y)
    assert metrics.accuracy == 1
    lower, upper = metrics.intervals["accuracy"]
    assert (lower, upper) == (pytest.approx(0.839, abs=0.001), 1)
    assert "balanced_accuracy" not in metrics.intervals
