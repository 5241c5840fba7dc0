"""Forecasts: known curves are continued, and what cannot be known is wide."""

from __future__ import annotations

import numpy as np
import pytest

from loop.errors import NotReady
from loop.planning.curves import FARTHEST, LearningCurve, forecast
from loop.planning.target import buys


def curve(f, labels=(20, 40, 80, 160), test=2000, seeds=5, noise=0.01, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.array(labels, dtype=float)
    return LearningCurve(
        labels, f(labels) + noise * rng.standard_normal((seeds, len(labels))), test
    )


def power(n):
    return 0.95 - 1.2 * np.asarray(n, dtype=float) ** -0.45


RNG = np.random.default_rng(0)


def logarithm(n):
    return 0.2 + 0.11 * np.log(np.asarray(n, dtype=float))


def forecast_of(measured, **options):
    return forecast(measured, np.random.default_rng(0), **options)


def test_twice_and_four_times_the_labels():
    (two, middle2, low2, high2), (four, middle4, _, _) = buys(
        forecast_of(curve(power)), [320, 640], RNG
    )
    assert middle2 == pytest.approx(float(power(two)), abs=0.02)
    assert middle4 == pytest.approx(float(power(four)), abs=0.035)
    assert low2 < middle2 < high2


def test_the_interval_holds_a_curve_outside_the_family():
    """Four points cannot tell a logarithm from curves that level off; the interval must say so."""
    ((_, _, low, high),) = buys(forecast_of(curve(logarithm)), [320], RNG)
    assert low < float(logarithm(320)) < high


def test_draws_agree_with_the_posterior_of_a_straight_case():
    """With everything measured exactly, all draws pass through the last point."""
    exact = LearningCurve(
        np.array([100.0, 200.0, 400.0, 800.0]), power([100, 200, 400, 800])[None], 10**7
    )
    continued = forecast_of(exact)
    assert np.abs(continued.at(800) - power(800)).std() < 0.01
    assert continued.grid[0] == 800
    assert continued.grid[-1] == FARTHEST * 800
    # beyond the drift of real curves, nothing exceeds its limit
    assert (continued.values <= 1).all()


def test_small_test_split_gives_wide_intervals():
    wide, narrow = (np.ptp(forecast_of(curve(power, test=n)).at(320)) for n in (5, 5000))
    assert wide > 2 * narrow


def test_a_measured_run_is_less_certain_than_its_expectation():
    continued = forecast_of(curve(power, test=200))
    rng = np.random.default_rng(1)
    assert continued.measured(320, rng).std() > continued.at(320).std()


def test_the_same_seed_gives_the_same_forecast():
    assert (forecast_of(curve(power)).values == forecast_of(curve(power)).values).all()


@pytest.mark.parametrize("accuracy", [[0.0, 0.0], [1.0, 1.0], [0.9, 0.2]])
def test_strange_curves_stay_in_bounds(accuracy):
    continued = forecast_of(LearningCurve(np.array([5.0, 10.0]), np.array([accuracy]), 5))
    assert np.isfinite(continued.values).all()
    assert ((continued.values >= 0) & (continued.values <= 1)).all()


def test_falling_accuracy_promises_little():
    falling = LearningCurve(np.array([20.0, 40.0, 80.0]), np.array([[0.7, 0.69, 0.66]]), 500)
    assert np.median(forecast_of(falling).at(180)) < 0.72


def test_one_point_is_not_enough():
    with pytest.raises(NotReady, match="simulate"):
        forecast_of(LearningCurve(np.array([20.0]), np.array([[0.5]]), 100))
