"""Backtest: the figures are what they say, and the docs' figures hold on simulated curves."""

from __future__ import annotations

import numpy as np
import pytest

from loop.planning.backtest import SimulatedRun, backtest, last_slope, power_law, summary


def runs(count=12, test=1000):
    """Runs whose truth is a power law with floor, measured on finite tests with lucky picks."""
    labels = np.array([10.0, 20, 40, 80, 160, 320, 640])
    out = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        floor, rate = rng.uniform(0.05, 0.15), rng.uniform(0.3, 0.7)
        error = floor + 1.5 * labels**-rate
        noise = np.sqrt(error * (1 - error) * (0.1 / labels + 0.2 / test))
        accuracy = 1 - error + noise * rng.standard_normal(len(labels))
        out.append(SimulatedRun("made", "random", seed, labels, accuracy, test, 2))
    return out


def test_forecasts_of_known_truth():
    outcomes = list(backtest(runs()))
    (two, _, four, _) = summary(outcomes)
    assert two.set == "made"
    assert (two.ahead, four.ahead) == (2, 4)
    assert two.error < 0.02 < two.last_slope
    assert four.error < 0.03
    assert two.inside["50%"] <= two.inside["80%"] <= two.inside["90%"]
    assert two.inside["90%"] > 0.8


def test_only_prefixes_with_a_future_are_forecast():
    (run,) = runs(1)
    outcomes = list(backtest([run]))
    # prefixes ending at 40 to 320; 320 has no fourfold; each by all points and by doublings
    assert sum(o.ahead == 2 for o in outcomes) == 2 * 4
    assert sum(o.ahead == 4 for o in outcomes) == 2 * 3
    assert {o.per_class for o in outcomes} == {20, 40, 80, 160}
    short = SimulatedRun("s", "random", 0, run.labels[:3], run.accuracy[:3], 100, 2)
    assert list(backtest([short])) == []


def test_the_future_does_not_reach_the_forecast():
    (run,) = runs(1)
    changed = run.accuracy.copy()
    changed[4:] = 0.5
    other = SimulatedRun(run.set, run.method, run.seed, run.labels, changed, run.test_images, 2)
    first, second = next(backtest([run])), next(backtest([other]))
    assert first.error + run.accuracy[3] == pytest.approx(second.error + changed[3])


def test_the_two_simple_ways():
    n = np.array([10.0, 20.0, 40.0, 80.0])
    assert last_slope(n, np.array([0, 0, 0.5, 0.6]), 160) == pytest.approx(0.7)
    assert last_slope(n, np.array([0, 0, 0.5, 0.9]), 160) == 1.0
    assert power_law(n, 0.9 - n**-0.5, 320) == pytest.approx(0.9 - 320**-0.5, abs=1e-4)
