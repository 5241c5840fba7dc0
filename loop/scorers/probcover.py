"""ProbCover: maximum coverage by balls, the most images within distance delta of a pick.

Greedy, on unit rows; a pick covers itself, and rows within delta of what earlier rounds picked are
covered already. A ball is pure if all its rows have one k-means pseudo-label; delta is the largest
radius at which 95 % of the balls are pure: the 5 % quantile of the distance to the nearest row of
another cluster. Nested; lowest row on ties.

Source: Yehuda et al. 2022, arXiv 2205.11320; TypiClust repository (4097a71) prob_cover.py.
Different on purpose: the original drops the edges of the last partial batch of 500 rows, and picks
row 0 again and again once everything is covered; here the balls then shrink to 0.7 of their radius,
around earlier picks too. Edges are never stored: a row is covered once, so subtracting it from the
counts costs one pass over the pool in all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.geometry import squared_distances
from loop.scorers.base import Inputs, Scorer, rank_scores
from loop.scorers.coverage import BATCH, SMALL, Floats, batches, references
from loop.scorers.kmeans import cluster

PURITY_ROWS = 5_000
PRODUCTS = 5_000_000
"""Dot products in memory at a time."""
SHRINK = 0.7
LEAST_DELTA = 1e-3
"""Smaller distances between float32 rows of length 1 are rounding errors."""


@dataclass(frozen=True)
class ProbCover(Scorer):
    """Most images within a fixed distance of some pick.

    Attributes:
        delta: radius of the balls; 0: from ``purity``.
        purity: share of balls that hold one pseudo-label only.
        clusters: pseudo-labels; 0: the number of classes, or 10 if unknown.
        geometry: unit (as published) or standard.
        references: rows on which coverage is counted; 0: all.
    """

    delta: float = 0.0
    purity: float = 0.95
    clusters: int = 0
    geometry: str = "unit"
    references: int = 10_000
    cost: ClassVar[str] = "k-means + n r d once, then lazily; memory 512 r"
    source: ClassVar[str] = "Yehuda et al. 2022, arXiv 2205.11320; avihu111/TypiClust"

    def __post_init__(self) -> None:
        if self.geometry not in ("unit", "standard"):
            raise ValueError(f"geometry must be unit or standard, got {self.geometry!r}")
        if not 0 < self.purity <= 1:
            raise ValueError(f"purity must be in (0, 1], got {self.purity}")

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        x = inputs.rows(self.geometry)
        delta = self.delta or self._delta(x, inputs)
        refs = references(inputs.n, self.references, inputs.rng)
        balls = Balls(x, delta, refs)
        balls.cover(np.flatnonzero(inputs.covered))
        budget = min(inputs.budget, int(inputs.available.sum()))
        return rank_scores(balls.pick(budget, inputs.available), inputs.n)

    def explain(self, inputs: Inputs) -> dict[str, Any]:
        x = inputs.rows(self.geometry)
        return {"delta": round(self.delta or self._delta(x, inputs), 4)}

    def _delta(self, x: NDArray[np.float32], inputs: Inputs) -> float:
        k = min(self.clusters or inputs.n_classes or 10, inputs.n)
        if k < 2:
            return 1.0
        return pure_radius(x, cluster(x, k, inputs.rng)[1], self.purity, inputs.rng)


class Balls:
    """Which of the R reference rows lie in a ball of radius ``delta`` around a pick.

    Args:
        x: (N, D) rows of length 1.
        delta: radius; a row at exactly delta lies outside.
        refs: (R,) rows to be covered.
    """

    def __init__(self, x: NDArray[np.float32], delta: float, refs: NDArray[np.int64]) -> None:
        dtype: type[np.floating] = np.float64 if len(x) <= SMALL else np.float32
        self.x: Floats = np.asarray(x, dtype=dtype)
        self.targets: Floats = self.x[refs]
        self.delta = delta
        self.centres: list[int] = []
        self.covered: NDArray[np.bool_] = np.zeros(len(refs), bool)
        self.counts = self._count_in_balls(self.targets)

    def cover(self, rows: NDArray[np.int64]) -> None:
        """Covers what lies in the balls around ``rows`` and subtracts it from the counts."""
        self.centres += rows.tolist()
        newly_covered = self._in_any_ball(rows) & ~self.covered
        self.covered |= newly_covered
        self.counts -= self._count_in_balls(self.targets[newly_covered])

    def shrink(self) -> None:
        """Smaller balls around all picks so far."""
        self.delta *= SHRINK
        self.covered = self._in_any_ball(np.array(self.centres, np.int64))
        self.counts = self._count_in_balls(self.targets[~self.covered])

    def pick(self, k: int, available: NDArray[np.bool_]) -> list[int]:
        """k available rows in order: the one that covers most new rows, lowest row on ties. When
        no row covers anything new, the balls shrink."""
        order: list[int] = []
        is_open = available.copy()
        for _ in range(k):
            while self.counts[is_open].max() <= 0 and self.delta > LEAST_DELTA:
                self.shrink()
            row = int(np.argmax(np.where(is_open, self.counts, -1)))
            order.append(row)
            is_open[row] = False
            self.cover(np.array([row]))
        return order

    def _inside(self, rows: NDArray[np.int64], targets: Floats) -> NDArray[np.bool_]:
        """(len(rows), len(targets)) whether the distance is below delta; |a - b|^2 = 2 - 2 ab."""
        return self.x[rows] @ targets.T > 1 - self.delta**2 / 2

    def _in_any_ball(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(R,) whether each reference row lies in a ball around one of ``rows``."""
        inside: NDArray[np.bool_] = np.zeros(len(self.targets), bool)
        for batch in batches(rows):
            inside |= self._inside(batch, self.targets).any(axis=0)
        return inside

    def _count_in_balls(self, targets: Floats) -> NDArray[np.int64]:
        """(N,) number of targets in the ball around each row of the pool."""
        counts = np.zeros(len(self.x), np.int64)
        if len(targets):
            for batch in batches(np.arange(len(self.x)), max(BATCH, PRODUCTS // len(targets))):
                counts[batch] = np.count_nonzero(self._inside(batch, targets), axis=1)
        return counts


def pure_radius(
    x: NDArray[np.float32], labels: NDArray[np.int64], purity: float, rng: np.random.Generator
) -> float:
    """The largest radius at which a share ``purity`` of balls holds rows of one label only.

    Centres are at most ``PURITY_ROWS`` random rows. 1 if all rows have one label.
    """
    if len(np.unique(labels)) < 2:
        return 1.0
    centres = references(len(x), PURITY_ROWS, rng)
    radii = []
    for batch in np.array_split(centres, max(1, len(x) // 512)):
        if not len(batch):
            continue
        distances = squared_distances(x[batch], x)
        distances[labels[batch][:, None] == labels[None, :]] = np.inf
        radii.append(np.sqrt(distances.min(axis=1)))
    ascending = np.sort(np.concatenate(radii))
    impure_balls = int(np.floor((1 - purity) * len(ascending) + 1e-9))
    return max(float(ascending[min(impure_balls, len(ascending) - 1)]), 1e-6)
