"""Backtest of plan --finish on simulated runs that were finished: did the interval hold, and what
did following the plan cost?

From each prefix of at least two points of a run, what finishing takes in all is forecast for its
last budget and each later one, with the confidences of the prefix's model; the run itself says what
it took. The plan goes to the budget whose median is lowest; it loses what that took more than the
budget that was best in the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from loop.finish.promise import spent
from loop.finish.simulated import FinishedCell
from loop.planning.backtest import SimulatedRun
from loop.planning.curves import Floats, LearningCurve, forecast
from loop.planning.finish import Unfinished, Way, best, thinned, way
from loop.seeds import generator

FEWEST = 2
"""Points of the shortest prefix, as for a plan."""


@dataclass(frozen=True)
class FinishedRun:
    """A simulated run whose cells went on to finished collections.

    Attributes:
        cells: one for each of the run's points.
        confidence: of each promise, all looks together.
    """

    run: SimulatedRun
    cells: list[FinishedCell]
    confidence: float

    def by_people(self, max_error: float) -> Floats:
        """(P, R) labels of people in all, by the run's points and R calibration samples."""
        by_cell = [[each.by_people for each in cell.of(max_error)] for cell in self.cells]
        fewest = min(map(len, by_cell))
        return np.array([some[:fewest] for some in by_cell], np.float64)


@dataclass(frozen=True)
class FinishOutcome:
    """A plan from one prefix for one goal, and what came. Labels as shares of the collection.

    Attributes:
        ahead: labels of each way's model over those of the prefix.
        error: median minus what it took, mean over calibration samples, by way.
        inside: share of the calibration samples for which the 90 % interval held that, by way.
        lost: what the plan's choice took more than the best of the ways.
        lost_now: the same without further picks.
    """

    set: str
    max_error: float
    ahead: list[float]
    error: list[float]
    inside: list[float]
    lost: float
    lost_now: float


def backtest_finish(runs: Iterable[FinishedRun]) -> Iterator[FinishOutcome]:
    """Every plan that the runs' points allow."""
    for finished in runs:
        goals = dict.fromkeys(each.max_error for each in finished.cells[0].finished)
        for length in range(FEWEST, len(finished.run.labels)):
            for max_error in goals:
                yield _outcome(finished, length, max_error)


def _outcome(finished: FinishedRun, length: int, max_error: float) -> FinishOutcome:
    """From the first ``length`` points of a run."""
    run, images = finished.run, finished.cells[0].images
    some = _ways(finished, length, max_error)
    totals = finished.by_people(max_error)[length - 1 :][: len(some)]
    have = run.labels[length - 1]
    medians, lowers, uppers = have + np.array([each.labels for each in some]).T
    held = (lowers[:, None] <= totals) & (totals <= uppers[:, None])
    means = totals.mean(axis=1)
    chosen = means[some.index(best(some))]
    return FinishOutcome(
        set=run.set,
        max_error=max_error,
        ahead=[float((have + each.picks) / have) for each in some],
        error=((medians - means) / images).tolist(),
        inside=held.mean(axis=1).tolist(),
        lost=float(chosen - means.min()) / images,
        lost_now=float(means[0] - means.min()) / images,
    )


def _ways(finished: FinishedRun, length: int, max_error: float) -> list[Way]:
    """To the last budget of the prefix and each later one that leaves an image."""
    run, cell = finished.run, finished.cells[length - 1]
    labels = run.labels[:length]
    have, left = int(labels[-1]), cell.images - int(labels[-1])
    later = [int(budget) - have for budget in run.labels[length - 1 :] if budget < cell.images]
    curve = LearningCurve(labels, run.accuracy[None, :length], run.test_images)
    continued = forecast(curve, generator(run.seed, "backtest", run.set, run.method, have))
    alpha = spent(1 - finished.confidence, look=1)
    confidence = thinned(np.array(cell.confidence), left)
    unfinished = Unfinished(confidence, cell.images, max_error, alpha)
    return [
        way(continued, unfinished, picks, generator(run.seed, "plan-finish")) for picks in later
    ]


@dataclass(frozen=True)
class FinishSummary:
    """Plans of one set (or ``all sets``) for one goal. Labels as shares of the collection.

    Attributes:
        n: forecasts, ``plans`` the prefixes that these are from.
        error: mean absolute error of the median.
        bias: mean error.
        inside: share of forecasts whose 90 % interval held what it took.
        lost, lost_now: means, see ``FinishOutcome``.
    """

    set: str
    max_error: float
    n: int
    plans: int
    error: float
    bias: float
    inside: float
    lost: float
    lost_now: float


def finish_summary(outcomes: Sequence[FinishOutcome]) -> list[FinishSummary]:
    """One for each set and goal, then over all sets."""
    names = [*dict.fromkeys(outcome.set for outcome in outcomes), "all sets"]
    goals = sorted({outcome.max_error for outcome in outcomes})
    groups = [
        (name, goal, [o for o in outcomes if o.max_error == goal and name in (o.set, "all sets")])
        for name in (names if len(names) > 2 else names[:1])
        for goal in goals
    ]
    return [_summary(name, goal, group) for name, goal, group in groups if group]


def _summary(name: str, max_error: float, outcomes: Sequence[FinishOutcome]) -> FinishSummary:
    errors = np.concatenate([outcome.error for outcome in outcomes])
    return FinishSummary(
        set=name,
        max_error=max_error,
        n=len(errors),
        plans=len(outcomes),
        error=float(np.abs(errors).mean()),
        bias=float(errors.mean()),
        inside=float(np.concatenate([outcome.inside for outcome in outcomes]).mean()),
        lost=float(np.mean([outcome.lost for outcome in outcomes])),
        lost_now=float(np.mean([outcome.lost_now for outcome in outcomes])),
    )
