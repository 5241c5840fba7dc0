"""Backtest of forecasts on runs whose future is known: their error, their intervals' coverage.

A run is one method with one seed on one set. From each of its prefixes of at least three points the
accuracy measured at twice and at four times the labels is forecast, and beside it by the two things
one would do without this package: a straight line in log(labels) through the last two points, and
the least-squares power law with offset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loop.planning.curves import Floats, LearningCurve, forecast
from loop.planning.target import LEVELS
from loop.seeds import generator

HORIZONS = (2, 4)
"""Forecasts go to so many times the labels of the prefix."""
MIN_POINTS = 3
"""Of the shortest prefix."""


@dataclass(frozen=True)
class SimulatedRun:
    """A measured run.

    Attributes:
        set: name of the images.
        labels: (P,) float64, ascending.
        accuracy: (P,) float64 in [0, 1].
        test_images: each accuracy was measured on.
        classes: number of them.
    """

    set: str
    method: str
    seed: int
    labels: Floats
    accuracy: Floats
    test_images: int
    classes: int


@dataclass(frozen=True)
class Outcome:
    """One forecast and what came.

    Attributes:
        ahead: labels of the forecast over those of the prefix.
        rounds: ``all`` points so far, or the last four ``doublings`` only.
        per_class: labels per class of the prefix.
        error: forecast minus accuracy; ``last_slope`` and ``power_law``: the same of the two
            simple forecasts.
        inside: by level of interval ("50%", ...), whether it held the accuracy.
    """

    set: str
    ahead: int
    rounds: str
    per_class: float
    error: float
    last_slope: float
    power_law: float
    inside: dict[str, bool]


def backtest(runs: Iterable[SimulatedRun]) -> Iterator[Outcome]:
    """Every forecast that the runs' points allow."""
    for run in runs:
        for length in range(MIN_POINTS, len(run.labels)):
            have = run.labels[length - 1]
            ahead = [times for times in HORIZONS if times * have in run.labels]
            prefix = np.arange(length)
            doublings = np.flatnonzero(np.isin(run.labels, have / 2.0 ** np.arange(4)))
            for rounds, points in (("all", prefix), ("doublings", doublings)):
                if len(points) >= MIN_POINTS and ahead:
                    yield from _outcomes(run, rounds, points, ahead)


def _outcomes(
    run: SimulatedRun, rounds: str, points: NDArray[np.int64], ahead: Sequence[int]
) -> Iterator[Outcome]:
    """Forecasts from the given points of a run, at each distance."""
    n, y = run.labels[points], run.accuracy[points]
    rng = generator(run.seed, "backtest", run.set, run.method, rounds, n[-1])
    continued = forecast(LearningCurve(n, y[None], run.test_images), rng)
    for times in ahead:
        labels = times * n[-1]
        accuracy = float(run.accuracy[np.flatnonzero(run.labels == labels)[0]])
        draws = continued.measured(labels, rng)
        yield Outcome(
            set=run.set,
            ahead=times,
            rounds=rounds,
            per_class=float(n[-1] / run.classes),
            error=float(np.median(draws)) - accuracy,
            last_slope=last_slope(n, y, labels) - accuracy,
            power_law=power_law(n, y, labels) - accuracy,
            inside={f"{level:.0%}": _inside(draws, level, accuracy) for level in LEVELS},
        )


def _inside(draws: Floats, level: float, accuracy: float) -> bool:
    lower, upper = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    return bool(lower <= accuracy <= upper)


def last_slope(n: Floats, y: Floats, labels: float) -> float:
    """A line in log(labels) through the last two points, cut at 0 and 1."""
    slope = (y[-1] - y[-2]) / np.log(n[-1] / n[-2])
    return float(np.clip(y[-1] + slope * np.log(labels / n[-1]), 0, 1))


def power_law(n: Floats, y: Floats, labels: float) -> float:
    """``a - b n^-c`` by least squares; the last accuracy where that does not converge."""
    from scipy.optimize import least_squares

    def residuals(parameters: Floats) -> Floats:
        a, b, c = parameters
        predicted: Floats = a - b * n**-c
        return predicted - y

    fit = least_squares(residuals, (0.9, 1.0, 0.5), bounds=((0, 0, 0.01), (1, 10, 3)))
    a, b, c = fit.x
    return float(a - b * labels**-c) if fit.success else float(y[-1])


@dataclass(frozen=True)
class BacktestSummary:
    """Forecasts of one set (or ``all sets``) at one distance.

    Attributes:
        n: forecasts.
        error, last_slope, power_law: mean absolute errors in accuracy.
        bias: mean error.
        inside: share of outcomes in the interval, by level.
    """

    set: str
    ahead: int
    n: int
    error: float
    bias: float
    last_slope: float
    power_law: float
    inside: dict[str, float]


def summary(outcomes: Sequence[Outcome]) -> list[BacktestSummary]:
    """One summary per set and distance, then over all sets."""
    names = [*dict.fromkeys(outcome.set for outcome in outcomes), "all sets"]
    summaries = []
    for ahead in HORIZONS:
        for name in names:
            group = [o for o in outcomes if o.ahead == ahead and name in (o.set, "all sets")]
            if group:
                summaries.append(_summary(name, ahead, group))
    return summaries


def _summary(name: str, ahead: int, outcomes: Sequence[Outcome]) -> BacktestSummary:
    errors = [(o.error, o.last_slope, o.power_law) for o in outcomes]
    error, slope, power = np.abs(errors).mean(axis=0)
    return BacktestSummary(
        set=name,
        ahead=ahead,
        n=len(outcomes),
        error=float(error),
        bias=float(np.mean([o.error for o in outcomes])),
        last_slope=float(slope),
        power_law=float(power),
        inside={
            level: float(np.mean([o.inside[level] for o in outcomes]))
            for level in outcomes[0].inside
        },
    )
