"""The estimate from a random sample: formulas against hand counts, coverage by repetition."""

from __future__ import annotations

import numpy as np
import pytest

from loop.measuring.accuracy import INFLATION, estimate, images_for, score_interval
from loop.train.metrics import wilson


@pytest.mark.parametrize(("right", "n"), [(0, 20), (13, 20), (20, 20), (87, 100)])
def test_the_interval_is_wilsons_for_whole_numbers(right, n):
    assert score_interval(right / n, n) == pytest.approx(wilson(right, n), abs=1e-6)


def test_without_a_telling_confidence_it_is_the_share_that_is_right():
    right = np.array([True] * 30 + [False] * 10)
    estimated = estimate(right, np.full(40, 0.5), np.full(500, 0.9))
    assert (estimated.accuracy, estimated.weight, estimated.worth) == (0.75, 0.0, 1.0)
    assert (estimated.lower, estimated.upper) == score_interval(0.75, 40 / INFLATION**2)


def test_all_right_is_no_certainty():
    estimated = estimate(np.ones(50, bool), np.linspace(0.5, 1, 50), np.full(500, 0.7))
    assert estimated.accuracy == 1.0
    assert estimated.lower < 0.95
    assert estimated.upper == pytest.approx(1.0)


def test_formula_of_the_weight():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(size=80)
    right = rng.uniform(size=80) < confidence
    unlabelled = rng.uniform(size=400)
    estimated = estimate(right, confidence, unlabelled)
    c = right.astype(float)
    covariance = ((c - c.mean()) * (confidence - confidence.mean())).sum() / 79
    weight = covariance / (confidence.var(ddof=1) * (1 + 80 / 400))
    assert estimated.weight == pytest.approx(weight)
    expected = c.mean() + weight * (unlabelled.mean() - confidence.mean())
    assert estimated.accuracy == pytest.approx(expected)
    assert estimated.worth > 1


@pytest.mark.parametrize("accuracy", [0.6, 0.9])
def test_confidence_narrows_and_still_covers(accuracy):
    """Images whose chance of being right is known up to noise; 600 samples of 100."""
    rng = np.random.default_rng(1)
    covered, widths, plain = [], [], []
    for _ in range(600):
        chance = np.clip(rng.beta(4 * accuracy, 4 * (1 - accuracy), size=2100), 0, 1)
        right = rng.uniform(size=2100) < chance
        confidence = np.clip(chance + rng.normal(scale=0.1, size=2100), 0, 1)
        estimated = estimate(right[:100], confidence[:100], confidence[100:], inflation=1.0)
        covered.append(estimated.lower <= right[100:].mean() <= estimated.upper)
        widths.append(estimated.upper - estimated.lower)
        low, high = score_interval(float(right[:100].mean()), 100)
        plain.append(high - low)
    assert 0.92 <= np.mean(covered) <= 0.98
    assert np.mean(widths) < 0.95 * np.mean(plain)


@pytest.mark.parametrize(("width", "accuracy", "worth"), [(0.1, 0.8, 1.0), (0.03, 0.95, 1.3)])
def test_images_for_a_width_make_that_width(width, accuracy, worth):
    n = images_for(width, accuracy, worth)
    lower, upper = score_interval(accuracy, n * worth / INFLATION**2)
    narrower, wider = score_interval(accuracy, (n - 1) * worth / INFLATION**2)
    assert upper - lower <= width < wider - narrower
