"""Metrics against scikit-learn, intervals against the binomial."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from loop.errors import DataError
from loop.train.class_metrics import class_differences, class_intervals, class_metrics
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
    metrics = measure(p, y)
    lower, upper = metrics.intervals["accuracy"]
    half = 1.96 * np.sqrt(metrics.accuracy * (1 - metrics.accuracy) / 1000)
    assert upper - lower == pytest.approx(2 * half, rel=0.1)
    assert lower < metrics.accuracy < upper


def test_intervals_of_class_metrics_are_of_95_percent():
    """About as wide as a normal interval, which 90 % would miss by a sixth."""
    p, y = sample(n=1000)
    measured, predicted = measure(p, y), p.argmax(axis=1)
    recalls = np.array([(predicted[y == c] == c).mean() for c in range(4)])
    counts = np.array(measured.class_support)
    half = 1.96 * np.sqrt((recalls * (1 - recalls) / counts).sum()) / 4
    lower, upper = measured.intervals["balanced_accuracy"]
    assert upper - lower == pytest.approx(2 * half, rel=0.06)


def confusions(sizes, recalls, rng, count):
    """Tables of a classifier that is right with each class's recall and else says any other."""
    classes = len(sizes)
    rates = np.full((classes, classes), 0.0)
    for c, recall in enumerate(recalls):
        rates[c] = (1 - recall) / (classes - 1)
        rates[c, c] = recall
    shares = rates * (np.array(sizes) / sum(sizes))[:, None]
    draws = rng.multinomial(sum(sizes), shares.ravel(), size=count)
    return shares, draws.reshape(count, classes, classes)


@pytest.mark.parametrize(
    ("sizes", "recalls"),
    [((30, 30, 30, 30), (0.9, 0.8, 0.7, 0.6)), ((60, 60, 60, 2), (0.9, 0.9, 0.9, 0.6))],
)
def test_intervals_hold_the_truth_with_few_images_of_a_class(sizes, recalls):
    """Of the second kind resampling held 52 and 73 %."""
    shares, tables = confusions(sizes, recalls, np.random.default_rng(0), 400)
    truth = {"balanced_accuracy": np.mean(recalls), "macro_f1": class_metrics(shares)["macro_f1"]}
    for name, true in truth.items():
        intervals = np.array([class_intervals(table)[name] for table in tables])
        held = (intervals[:, 0] <= true) & (true <= intervals[:, 1])
        assert held.mean() > 0.87, name


def test_a_class_without_images_widens_the_interval():
    table = np.diag([20, 20, 20, 0])
    lower, upper = class_intervals(table)["balanced_accuracy"]
    assert lower < 0.75 < upper == 1.0  # it may be missed altogether
    assert class_intervals(table[:3, :3])["balanced_accuracy"][0] > 0.9


def test_differences_have_the_sign_and_width_of_the_paired_ones():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    better = np.where(rng.random(300) < 0.9, y, (y + 1) % 3)
    worse = np.where(rng.random(300) < 0.7, y, (y + 1) % 3)
    mean, lower, upper = class_differences(y, [better], [worse], 3)["balanced_accuracy"]
    expected = measure(np.eye(3)[better], y).balanced_accuracy
    expected -= measure(np.eye(3)[worse], y).balanced_accuracy
    assert mean == pytest.approx(expected)
    assert 0 < lower < mean < upper
    gaps = (better == y).astype(float) - (worse == y)
    half = 1.96 * gaps.std() / np.sqrt(300)
    assert upper - lower == pytest.approx(2 * half, rel=0.05)
    same = class_differences(y, [better], [better], 3)["macro_f1"]
    assert same[0] == 0
    assert same[1] < 0 < same[2]


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
    lower, upper = metrics.intervals["balanced_accuracy"]
    assert lower < 0.839  # nothing is known of the other class
    assert upper == 1
