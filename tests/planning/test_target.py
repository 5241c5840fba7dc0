"""Targets and budgets: numbers that add up, and plain answers where there is none."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from loop.errors import ConfigError
from loop.planning.curves import LearningCurve
from loop.planning.target import (
    Estimate,
    Price,
    Spread,
    advice,
    affordable,
    buys,
    further,
    gain,
    needed,
    plan,
    waiting,
)
from tests.planning.test_curves import curve, forecast_of, power

TODAY = date(2026, 1, 1)


def planned(measured, target, price=None):
    continued = forecast_of(measured)
    more = further(measured, continued, target)
    return plan(target, measured.now, measured.have, more, continued.limit, price or Price(), TODAY)


def test_a_target_within_reach_has_labels_hours_money_and_a_date():
    price = Price(seconds=3.6, votes=2.0, hourly_rate=20.0, per_label=0.01, per_day=50)
    result = planned(curve(power), 0.88, price)
    true = (1.2 / 0.07) ** (1 / 0.45) - 160
    lower, upper = result.labels.intervals["90%"]
    assert lower < true
    assert upper is None or true < upper
    assert result.verdict == "within reach"
    assert result.hours.middle == pytest.approx(result.labels.middle * 0.002)
    assert result.money.middle == pytest.approx(result.labels.middle * (0.002 * 20 + 0.02))
    assert result.money.intervals["50%"][0] == pytest.approx(low50(result) * 0.06)
    days = (date.fromisoformat(result.dates["median"][0]) - TODAY).days
    assert days == np.ceil(result.labels.middle / 50)


def low50(result):
    return result.labels.intervals["50%"][0]


def test_never_and_too_far_are_told_apart():
    levelled = LearningCurve(
        np.array([100.0, 200, 400, 800, 1600, 3200]),
        np.array([[0.6, 0.65, 0.68, 0.69, 0.692, 0.692]]),
        10_000,
    )
    assert planned(levelled, 0.95).verdict == "never"
    no_end = np.full(100, np.inf)
    for limit, verdict in ((0.96, "far"), (0.94, "never")):
        result = plan(0.95, 0.8, 100, no_end, np.full(100, limit), Price(), TODAY)
        assert result.verdict == verdict
        assert result.labels.middle is None


def test_reached_already_needs_nothing():
    result = planned(curve(power), 0.5)
    assert result.verdict == "reached"
    assert result.labels.middle == 0


def test_a_simulated_curve_is_read_where_the_target_was_crossed():
    n = np.array([10.0, 20.0, 40.0, 80.0])
    crossing = LearningCurve(n, np.array([[0.5, 0.6, 0.7, 0.8], [0.5, 0.6, 0.8, 0.9]]), 10**9)
    continued, rng = forecast_of(crossing), np.random.default_rng(0)
    wide = needed(crossing, continued, 0.7, rng)
    assert 25 < np.median(wide) < 45
    assert (needed(crossing, continued, 0.2, rng) == 10).all()
    assert np.isinf(needed(crossing, continued, 1.0, rng)).mean() > 0.5


def test_a_method_without_chance_is_not_certain():
    n = np.array([10.0, 20.0, 40.0, 80.0])
    same = LearningCurve(n, np.array([[0.5, 0.6, 0.7, 0.8]] * 5), 400)
    lower, middle, upper = np.quantile(
        needed(same, forecast_of(same), 0.65, np.random.default_rng(0)), [0.05, 0.5, 0.95]
    )
    assert middle == pytest.approx(28, abs=1.5)
    assert lower < 26
    assert upper > 31


@pytest.mark.parametrize("target", [0, -0.5, 1.01, 90, float("nan")])
def test_targets_out_of_range(target):
    with pytest.raises(ConfigError, match="between 0 and 1"):
        planned(curve(power), target)


@pytest.mark.parametrize("name", ["seconds", "hourly_rate", "per_label", "per_day"])
def test_negative_rates(name):
    with pytest.raises(ConfigError, match="must be a number of at least 0, got -1"):
        Price(**{name: -1})


def test_money_by_the_hour_without_times_is_not_known():
    assert Price(hourly_rate=25, per_label=0.1).money is None
    assert Price(seconds=0, hourly_rate=25).money is None
    assert Price(per_label=0.1, votes=3).money == pytest.approx(0.3)
    assert Price(seconds=36).money is None


def test_what_a_budget_buys():
    price = Price(seconds=36, hourly_rate=10)
    assert affordable(price, money=20, hours=None) == 200
    assert affordable(price, money=20, hours=1) == 100
    with pytest.raises(ConfigError, match="--per-label"):
        affordable(Price(), money=20, hours=None)
    with pytest.raises(ConfigError, match="--seconds-per-label"):
        affordable(Price(), money=None, hours=2)
    with pytest.raises(ConfigError, match="above 0"):
        affordable(price, money=-5, hours=None)


def test_spread_of_draws_that_never_end():
    spread = Spread.of(np.array([10.0, 20.0, 30.0, np.inf]))
    assert spread.middle == 30
    assert spread.intervals["90%"] == (10, None)
    assert spread.dates(0.0001, TODAY)["median"] == [None]
    assert spread.dates(None, TODAY) is None


def test_intervals_hold_as_many_draws_as_they_say():
    draws = np.random.default_rng(0).permutation(np.arange(1.0, 10_001.0))
    spread = Spread.of(draws)
    assert spread.middle == pytest.approx(5000, abs=2)
    for name, share in (("50%", 0.5), ("80%", 0.8), ("90%", 0.9)):
        lower, upper = spread.intervals[name]
        assert ((draws >= lower) & (draws <= upper)).mean() == pytest.approx(share, abs=0.001)


def test_gains_and_budgets_have_intervals_of_90_percent():
    steep = curve(power)
    forecast = forecast_of(steep)
    middle, lower, upper = gain(steep, forecast)
    gains = forecast.at(steep.have + 100) - forecast.at(steep.have)
    assert ((gains >= lower) & (gains <= upper)).mean() == pytest.approx(0.9, abs=0.002)
    assert (gains <= middle).mean() == pytest.approx(0.5, abs=0.002)
    ((_, middle, lower, upper),) = buys(forecast, [320], np.random.default_rng(1))
    measured = forecast.measured(320, np.random.default_rng(1))
    assert ((measured >= lower) & (measured <= upper)).mean() == pytest.approx(0.9, abs=0.002)
    assert lower < middle < upper


def test_stopping_rule():
    flat = LearningCurve(
        np.array([100.0, 200, 400, 800, 1600]),
        np.array([[0.90, 0.905, 0.906, 0.906, 0.907]]),
        20_000,
    )
    assert advice(gain(flat, forecast_of(flat)), 0.005) == "stop"
    steep = curve(power)
    assert advice(gain(steep, forecast_of(steep)), 0.005) == "go on"
    assert advice(Estimate(0.001, -0.01, 0.02), 0.005) == "unclear"
    with pytest.raises(ConfigError, match="--stop-below"):
        advice(Estimate(0, 0, 0), -1)


def test_days_of_waiting_in_labels():
    assert waiting(Price(per_day=40), 0.5) == 20
    assert waiting(Price(), 0) == 0
    with pytest.raises(ConfigError, match="--labels-per-day"):
        waiting(Price(), 2)
    for days in (-1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="--days-per-round"):
            waiting(Price(per_day=40), days)
