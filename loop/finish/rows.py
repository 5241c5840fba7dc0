"""What finishing took in a simulation: rows by goal, method and budget over all seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from loop.finish.rehearsal import PROMISED, UNBOUNDED, Finished
from loop.finish.simulated import FinishedCell
from loop.frames import to_frame
from loop.statistics import MethodRow, t_interval

if TYPE_CHECKING:
    import pandas

Cells = Mapping[tuple[str, int, int], FinishedCell]
"""(method, budget, seed) -> the cell."""
BySeed = Mapping[int, list[Finished]]
"""Seed -> its finished collections for one goal by one rule."""


@dataclass(frozen=True)
class FinishRow:
    """One goal with the picks of one method at one budget, over all seeds.

    Attributes:
        budget: labels that the model learned from.
        max_error: the goal.
        images: of the collection; labelling everything takes so many labels.
        calibration: labels of the calibration sample, mean.
        labels: of people in all, mean: learned, calibration and last round.
        interval: its 95 % t-interval over seeds, cut at 0 and ``images``.
        saved: labels fewer than with the reference's picks at this budget, mean over paired seeds;
            None for the reference itself.
        saved_interval: its 95 % t-interval over seeds.
        by_model: share of the images that the model labels, mean.
        broken: finished collections with more wrong labels than the goal allows.
        broken_without_bound: the same with a threshold by the sample's share of wrong labels.
        n: seeds.
        runs: finished collections, one for each seed and calibration sample.
    """

    method: str
    kind: str
    budget: int
    max_error: float
    images: int
    calibration: float
    labels: float
    interval: tuple[float, float]
    saved: float | None
    saved_interval: tuple[float, float]
    by_model: float
    broken: int
    broken_without_bound: int
    n: int
    runs: int


class FinishRows(list[FinishRow]):
    """Rows by goal, method and budget."""

    def to_frame(self) -> pandas.DataFrame:
        """A row each, its fields as columns."""
        return to_frame(self)


class MethodRows(list[MethodRow]):
    """Rows of a comparison by method and budget.

    Attributes:
        finish: what finishing took; None where nobody asked.
        metric: that the rows are in, as people call it.
        beside: key of each metric that a cell has -> (method, budget) -> its mean over seeds.
    """

    def __init__(
        self,
        rows: Iterable[MethodRow] = (),
        finish: FinishRows | None = None,
        metric: str = "accuracy",
        beside: Mapping[str, Mapping[tuple[str, int], float]] = MappingProxyType({}),
    ) -> None:
        super().__init__(rows)
        self.finish = finish
        self.metric = metric
        self.beside = dict(beside)

    def to_frame(self) -> pandas.DataFrame:
        """A row each, its fields as columns."""
        return to_frame(self)


def finish_rows(cells: Cells, kinds: Mapping[str, str], against: str = "random") -> FinishRows:
    """Rows by goal, method and budget.

    Args:
        kinds: method -> ``loop.simulation.kind``.
        against: the reference.
    """
    goals = sorted({each.max_error for cell in cells.values() for each in cell.finished})
    groups = list(dict.fromkeys((method, budget) for method, budget, _ in cells))
    rows = FinishRows()
    for goal in goals:
        for method, budget in groups:
            by_seed = _by_seed(cells, method, budget, goal, PROMISED)
            reference = {} if method == against else _by_seed(cells, against, budget, goal)
            unbounded = _by_seed(cells, method, budget, goal, UNBOUNDED)
            rows.append(_row(method, kinds.get(method, ""), budget, by_seed, reference, unbounded))
    return rows


def _by_seed(cells: Cells, method: str, budget: int, goal: float, rule: str = PROMISED) -> BySeed:
    return {
        seed: cell.of(goal, rule)
        for (other, labels, seed), cell in cells.items()
        if (other, labels) == (method, budget)
    }


def _row(
    method: str,
    kind: str,
    budget: int,
    by_seed: BySeed,
    reference: BySeed,
    unbounded: BySeed,
) -> FinishRow:
    """Of one goal; ``reference``: what it took with the other picks, none for these."""
    finished = [each for some in by_seed.values() for each in some]
    labels = np.array([_labels(some) for some in by_seed.values()])
    images = finished[0].by_people + finished[0].by_model
    fewer = np.array(
        [_labels(reference[seed]) - _labels(by_seed[seed]) for seed in by_seed if seed in reference]
    )
    lower, upper = t_interval(labels)
    return FinishRow(
        method=method,
        kind=kind,
        budget=budget,
        max_error=finished[0].max_error,
        images=images,
        calibration=float(np.mean([each.sample for each in finished])),
        labels=float(labels.mean()),
        interval=(max(lower, 0.0), min(upper, float(images))),
        saved=float(fewer.mean()) if len(fewer) else None,
        saved_interval=t_interval(fewer) if len(fewer) else (0.0, 0.0),
        by_model=float(np.mean([each.by_model / images for each in finished])),
        broken=sum(each.broken for each in finished),
        broken_without_bound=sum(each.broken for some in unbounded.values() for each in some),
        n=len(by_seed),
        runs=len(finished),
    )


def _labels(finished: Sequence[Finished]) -> float:
    """Of people in all, mean."""
    return float(np.mean([each.by_people for each in finished]))
