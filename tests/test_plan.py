"""Plans: known curves are continued, and what cannot be known is said."""

from __future__ import annotations

import numpy as np
import pytest

from loop.errors import ConfigError, NotReady
from loop.plan import Curve, affordable, forecast, plan


def curve(f, labels=(20, 40, 80, 160), test=2000, seeds=5, noise=0.01, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.array(labels, dtype=float)
    return Curve(labels, f(labels) + noise * rng.standard_normal((seeds, len(labels))), test)


def power(n):
    return 0.95 - 1.2 * np.asarray(n, dtype=float) ** -0.45


def logarithm(n):
    return 0.2 + 0.11 * np.log(np.asarray(n, dtype=float))


def test_twice_and_four_times_the_labels():
    (two, middle2, low2, high2), (four, middle4, _, _) = affordable(
        curve(power), [320, 640], np.random.default_rng(0)
    )
    assert middle2 == pytest.approx(float(power(two)), abs=0.02)
    assert middle4 == pytest.approx(float(power(four)), abs=0.035)
    assert low2 < middle2 < high2


def test_interval_holds_a_curve_that_keeps_rising():
    """Four points cannot tell a logarithm from curves that level off; the interval must say so."""
    ((two, _, low2, high2),) = affordable(curve(logarithm), [320], np.random.default_rng(0))
    assert low2 < float(logarithm(two)) < high2


def test_plan_for_a_target_within_reach():
    found = plan(curve(power), 0.88, np.random.default_rng(0), seconds_per_label=3.6,
                 hourly_rate=20.0, per_label=0.01)  # fmt: skip
    true = (1.2 / 0.07) ** (1 / 0.45) - 160
    low, high = found.intervals["90%"]
    assert low < true
    assert high is None or true < high
    assert found.hours == pytest.approx(found.labels * 0.001)
    assert found.money == pytest.approx(found.labels * 0.03)


def test_out_of_reach_is_said():
    found = plan(curve(power), 0.999, np.random.default_rng(0))
    assert found.labels is None
    assert found.reachable < 0.5


def test_reached_already():
    found = plan(curve(power), 0.5, np.random.default_rng(0))
    assert found.labels == 0


def test_falling_accuracy_promises_nothing():
    falling = Curve(np.array([20.0, 40.0, 80.0]), np.array([[0.7, 0.69, 0.66]]), 500)
    gain, low, _ = plan(falling, 0.9, np.random.default_rng(0)).gain_per_100
    assert 0 <= gain < 0.05
    assert low >= 0


def test_small_test_split_gives_wide_intervals():
    wide, narrow = (
        np.ptp(forecast(curve(power, test=n), np.random.default_rng(0)).at(320)) for n in (5, 5000)
    )
    assert wide > 5 * narrow


@pytest.mark.parametrize("bad", [{"target": 0}, {"target": 1.5}, {"hourly_rate": -1}])
def test_bad_numbers(bad):
    options = {"target": 0.9, **bad}
    with pytest.raises(ConfigError):
        plan(curve(power), rng=np.random.default_rng(0), **options)


def test_one_round_is_not_enough():
    one = Curve(np.array([20.0]), np.array([[0.5]]), 100)
    with pytest.raises(NotReady, match="simulate"):
        plan(one, 0.9, np.random.default_rng(0))
