"""What finishing will take: against the real procedure by repetition, and its limits."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logit

from loop.errors import DataError
from loop.finish.cost import SLOPE, cheapest, costs
from loop.finish.promise import allowed_wrong, labels_needed, most_seen, promise


def test_nine_in_ten_finishes_lie_in_the_interval():
    """Finishes by ``promise`` of models as good as the estimate says and calibrated, give or take
    the errors of both."""
    rng = np.random.default_rng(0)
    confidence = rng.beta(6, 1.5, size=1500)
    by_size = costs(confidence, (0.85, 0.81, 0.89), 1600, 0.05, 0.05, rng)
    allowed = allowed_wrong(0.05, 1600)
    cost = by_size[4]
    taken = []
    for _ in range(500):
        accuracy = 0.85 + (0.04 / 1.96) * rng.standard_normal()
        logits = logit(confidence) * np.exp(SLOPE * rng.standard_normal())
        shift = brentq(lambda s, z=logits, mean=accuracy: expit(z + s).mean() - mean, -9, 9)
        right = rng.uniform(size=1500) < expit(logits + shift)
        rows = rng.choice(1500, cost.sample, replace=False)
        taken.append(1500 - promise(confidence, rows, right[rows], allowed, 0.05).accepted)
    taken = np.array(taken)
    assert 0.85 <= np.mean((cost.lower <= taken) & (taken <= cost.upper)) <= 0.95
    assert np.median(taken) == pytest.approx(cost.median, rel=0.07)
    assert cost.accepted == 1500 - cost.median


def test_sizes_are_the_smallest_for_so_many_wrong_ones():
    confidence = np.linspace(0.3, 1, 2000)
    by_size = costs(confidence, (0.8, 0.75, 0.85), 2000, 0.05, 0.1, np.random.default_rng(1))
    assert [most_seen(2000, cost.sample, 100, 0.1) for cost in by_size[:6]] == list(range(6))
    assert [most_seen(2000, cost.sample - 1, 100, 0.1) for cost in by_size[:6]] == [*range(-1, 5)]
    assert all(cost.sample <= cost.lower <= cost.median <= cost.upper for cost in by_size)
    assert all(cost.sample < cheapest(by_size).median for cost in by_size)


def test_better_models_larger_errors_and_surer_estimates_take_less():
    confidence = np.random.default_rng(2).beta(6, 1.5, size=1500)

    def least(accuracy, max_error, half=0.04):
        interval = (accuracy, accuracy - half, accuracy + half)
        rng = np.random.default_rng(3)
        return cheapest(costs(confidence, interval, 1600, max_error, 0.05, rng))

    assert least(0.95, 0.05).median < least(0.85, 0.05).median < least(0.7, 0.05).median
    assert least(0.85, 0.10).median < least(0.85, 0.05).median < least(0.85, 0.02).median
    sure, unsure = least(0.85, 0.05, half=0.001), least(0.85, 0.05, half=0.10)
    assert sure.upper - sure.lower < unsure.upper - unsure.lower


def test_nothing_can_be_wrong_or_everything_may():
    confidence, rng = np.linspace(0.5, 1, 300), np.random.default_rng(4)
    by_size = costs(confidence, (0.9, 0.85, 0.95), 310, 0.001, 0.05, rng)
    assert by_size[0].sample == labels_needed(300, 0, 0.05) == 285
    assert cheapest(by_size).median > 285
    (nothing,) = costs(confidence, (0.9, 0.85, 0.95), 10_000, 0.05, 0.05, rng)
    assert (nothing.sample, nothing.median, nothing.accepted) == (0, 0, 300)
    perfect = cheapest(costs(np.ones(300), (1.0, 0.97, 1.0), 310, 0.05, 0.05, rng))
    assert perfect.median == perfect.sample == labels_needed(300, 15, 0.05)


def test_a_million_images_take_seconds():
    rng = np.random.default_rng(5)
    confidence = rng.beta(6, 1.5, size=1_000_000)
    start = time.monotonic()
    by_size = costs(confidence, (0.85, 0.8, 0.9), 1_000_000, 0.05, 0.05, rng)
    assert time.monotonic() - start < 10
    assert cheapest(by_size).sample > 500


@pytest.mark.parametrize(
    ("confidence", "max_error", "alpha"),
    [
        ([], 0.05, 0.05),
        ([0.5, np.nan], 0.05, 0.05),
        ([0.5, 0.6], 0.0, 0.05),
        ([0.5, 0.6], 1.0, 0.05),
        ([0.5, 0.6], 0.05, 1.0),
    ],
)
def test_bad_input_is_refused(confidence, max_error, alpha):
    with pytest.raises(DataError):
        costs(confidence, (0.8, 0.7, 0.9), 10, max_error, alpha, np.random.default_rng(0))
