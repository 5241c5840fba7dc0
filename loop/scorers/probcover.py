"""ProbCover: the most images within distance delta of a labelled one.

Greedy maximum coverage by balls of radius delta around picks (self included), on unit rows; rows
within delta of what earlier rounds picked are covered already. delta is the largest radius at
which 95 % of the balls are pure, purity meaning that the whole ball has one k-means pseudo-label:
the 5 % quantile of the distance to the nearest row of another cluster. Nested; lowest row on ties.

Source: Yehuda et al. 2022, arXiv 2205.11320; TypiClust repository (4097a71) prob_cover.py.
Different on purpose: the original drops the edges of the last partial batch of 500 rows, and picks
row 0 again and again once all is covered; here the balls then shrink to 0.7 of their radius,
around earlier picks too. Edges are never stored: a row is covered once, so taking it off the
counts costs one pass over the pool in all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.geometry import squared_distances, transform
from loop.scorers.base import Inputs, Scorer, rank_scores
from loop.scorers.coverage import BATCH, SMALL, Floats, batches, references
from loop.scorers.kmeans import cluster

PURITY_ROWS = 5_000
PRODUCTS = 5_000_000
"""Dot products held at a time."""
SHRINK = 0.7
LEAST_DELTA = 1e-3
"""Below this, distances of float32 rows of length 1 are rounding."""


@dataclass(frozen=True)
class ProbCover(Scorer):
    """Maximum coverage by balls.

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
        x = transform(inputs.embeddings, self.geometry)
        delta = self.delta or self._delta(x, inputs)
        refs = references(inputs.n, self.references, inputs.rng)
        balls = Balls(x, delta, refs)
        balls.cover(np.flatnonzero(inputs.covered))
        budget = min(inputs.budget, int(inputs.available.sum()))
        return rank_scores(balls.pick(budget, inputs.available), inputs.n)

    def explain(self, inputs: Inputs) -> dict[str, Any]:
        x = transform(inputs.embeddings, self.geometry)
        return {"delta": round(self.delta or self._delta(x, inputs), 4)}

    def _delta(self, x: NDArray[np.float32], inputs: Inputs) -> float:
        k = min(self.clusters or inputs.n_classes or 10, inputs.n)
        if k < 2:
            return 1.0
        return pure_radius(x, cluster(x, k, inputs.rng)[1], self.purity, inputs.rng)


class Balls:
    """Which of the rows ``refs`` lie in a ball of radius ``delta`` around something picked.

    Args:
        x: (N, D) rows of length 1.
        delta: radius; a row at exactly delta lies outside.
        refs: rows to be covered.
    """

    def __init__(self, x: NDArray[np.float32], delta: float, refs: NDArray[np.int64]) -> None:
        dtype: type[np.floating] = np.float64 if len(x) <= SMALL else np.float32
        self.x: Floats = np.asarray(x, dtype=dtype)
        self.targets: Floats = self.x[refs]
        self.delta = delta
        self.centres: list[int] = []
        self.covered: NDArray[np.bool_] = np.zeros(len(refs), bool)
        self.counts = self._reached_by_each(self.targets)

    def cover(self, rows: NDArray[np.int64]) -> None:
        """Covers what lies in the balls around ``rows`` and takes it off the counts."""
        self.centres += rows.tolist()
        new = self._reached_by_any(rows) & ~self.covered
        self.covered |= new
        self.counts -= self._reached_by_each(self.targets[new])

    def shrink(self) -> None:
        """Smaller balls around everything picked so far."""
        self.delta *= SHRINK
        self.covered = self._reached_by_any(np.array(self.centres, np.int64))
        self.counts = self._reached_by_each(self.targets[~self.covered])

    def pick(self, k: int, available: NDArray[np.bool_]) -> list[int]:
        """k available rows in order: most new rows covered, lowest row on ties. When no row
        covers anything new, the balls shrink."""
        order: list[int] = []
        open_ = available.copy()
        for _ in range(k):
            while self.counts[open_].max() <= 0 and self.delta > LEAST_DELTA:
                self.shrink()
            row = int(np.argmax(np.where(open_, self.counts, -1)))
            order.append(row)
            open_[row] = False
            self.cover(np.array([row]))
        return order

    def _inside(self, rows: NDArray[np.int64], targets: Floats) -> NDArray[np.bool_]:
        """(len(rows), len(targets)) distance below delta; |a - b|^2 = 2 - 2 ab."""
        return self.x[rows] @ targets.T > 1 - self.delta**2 / 2

    def _reached_by_any(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        near: NDArray[np.bool_] = np.zeros(len(self.targets), bool)
        for part in batches(rows):
            near |= self._inside(part, self.targets).any(axis=0)
        return near

    def _reached_by_each(self, targets: Floats) -> NDArray[np.int64]:
        """(N,) how many of the targets each row's ball holds."""
        counts = np.zeros(len(self.x), np.int64)
        if len(targets):
            for part in batches(np.arange(len(self.x)), max(BATCH, PRODUCTS // len(targets))):
                counts[part] = np.count_nonzero(self._inside(part, targets), axis=1)
        return counts


def pure_radius(
    x: NDArray[np.float32],
    labels: NDArray[np.int64],
    purity: float,
    rng: np.random.Generator,
) -> float:
    """The largest radius at which a share ``purity`` of balls (centres: at most 5,000 rows) holds
    one label only; 1 if all rows have one label."""
    if len(np.unique(labels)) < 2:
        return 1.0
    nearest_other = []
    for part in np.array_split(references(len(x), PURITY_ROWS, rng), max(1, len(x) // 512)):
        if not len(part):
            continue
        d = squared_distances(x[part], x)
        d[labels[part][:, None] == labels[None, :]] = np.inf
        nearest_other.append(np.sqrt(d.min(axis=1)))
    ascending = np.sort(np.concatenate(nearest_other))
    allowed = int(np.floor((1 - purity) * len(ascending) + 1e-9))  # impure balls
    return max(float(ascending[min(allowed, len(ascending) - 1)]), 1e-6)
