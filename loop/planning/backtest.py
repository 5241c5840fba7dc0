"""Forecasts of runs whose future is known: how far off, and how often inside the interval.

A run is one method with one seed on one set. From each of its prefixes of at least three points the
accuracy measured at twice and at four times the labels is forecast, and beside it by the two things
one would do without this package: a straight line in log(labels) through the last two points, and
the least-squares power law with offset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from loop.planning.curves import Floats, LearningCurve, forecast
from loop.planning.target import LEVELS
from loop.seeds import generator

AHEAD = (2, 4)
LEAST = 3
"""Points of the shortest prefix."""


@dataclass(frozen=True)
class SimulatedRun:
    """A measured run: (P,) ascending labels and accuracies, and the size of its test split."""

    set: str
    method: str
    seed: int
    labels: Floats
    accuracy: Floats
    test_images: int
    classes: int


@dataclass(frozen=True)
class Outcome:
    """One forecast and what came: errors in accuracy, ``inside`` by level of interval.

    ``rounds``: ``all`` points so far, or the last four ``doublings`` only.
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
        for last in range(LEAST, len(run.labels)):
            have = run.labels[last - 1]
            ahead = [k for k in AHEAD if k * have in run.labels]
            prefix = np.arange(last)
            doubled = np.flatnonzero(np.isin(run.labels, have / 2.0 ** np.arange(4)))
            for rounds, rows in (("all", prefix), ("doublings", doubled)):
                if len(rows) >= LEAST and ahead:
                    yield from _outcomes(run, rounds, rows, ahead)


def _outcomes(
    run: SimulatedRun, rounds: str, rows: np.ndarray, ahead: Sequence[int]
) -> Iterator[Outcome]:
    n, y = run.labels[rows], run.accuracy[rows]
    rng = generator(run.seed, "backtest", run.set, run.method, rounds, n[-1])
    found = forecast(LearningCurve(n, y[None], run.test_images), rng)
    for k in ahead:
        truth = float(run.accuracy[np.flatnonzero(run.labels == k * n[-1])[0]])
        said = found.measured(k * n[-1], rng)
        inside = {}
        for level in LEVELS:
            low, high = np.quantile(said, [0.5 - level / 2, 0.5 + level / 2])
            inside[f"{level:.0%}"] = bool(low <= truth <= high)
        yield Outcome(
            run.set,
            k,
            rounds,
            float(n[-1] / run.classes),
            float(np.median(said)) - truth,
            last_slope(n, y, k * n[-1]) - truth,
            power_law(n, y, k * n[-1]) - truth,
            inside,
        )


def last_slope(n: Floats, y: Floats, labels: float) -> float:
    """A line in log(labels) through the last two points, cut at 0 and 1."""
    slope = (y[-1] - y[-2]) / np.log(n[-1] / n[-2])
    return float(np.clip(y[-1] + slope * np.log(labels / n[-1]), 0, 1))


def power_law(n: Floats, y: Floats, labels: float) -> float:
    """``a - b n^-c`` by least squares; the last accuracy where that finds nothing."""
    from scipy.optimize import least_squares

    def misfit(p: Floats) -> Floats:
        out: Floats = p[0] - p[1] * n ** -p[2] - y
        return out

    found = least_squares(misfit, (0.9, 1.0, 0.5), bounds=((0, 0, 0.01), (1, 10, 3)))
    a, b, c = found.x
    return float(a - b * labels**-c) if found.success else float(y[-1])


@dataclass(frozen=True)
class BacktestSummary:
    """Forecasts of one set (or ``all sets``) so many times ahead.

    Mean absolute errors in accuracy; ``inside``: share of outcomes in the interval, by level.
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
    """One line per set and distance, then over all sets."""
    lines = []
    for ahead in AHEAD:
        for name in [*dict.fromkeys(o.set for o in outcomes), "all sets"]:
            mine = [o for o in outcomes if o.ahead == ahead and name in (o.set, "all sets")]
            if not mine:
                continue
            errors = np.abs([(o.error, o.last_slope, o.power_law) for o in mine]).mean(axis=0)
            inside = {v: float(np.mean([o.inside[v] for o in mine])) for v in mine[0].inside}
            bias = float(np.mean([o.error for o in mine]))
            lines.append(
                BacktestSummary(
                    name,
                    ahead,
                    len(mine),
                    float(errors[0]),
                    bias,
                    float(errors[1]),
                    float(errors[2]),
                    inside,
                )
            )
    return lines
