"""TypiClust: the most typical image of each cluster, clusters without labels and large ones first.

Rows of length 1; K = min(covered + budget, 500) k-means clusters; clusters of more than 5 rows are
ordered by (covered rows ascending, size descending, id) and visited in turn. A visit takes, among
the cluster's rows still open, the one of highest typicality 1 / (mean squared distance to its kk
nearest open members + 1e-5), kk = min(20, open rows // 2). Not nested: the clusters depend on the
budget.

Source: Hacohen et al. 2022, arXiv 2202.02794; TypiClust (4097a71), whose distances are squared.
Different on purpose: a visit to an exhausted cluster is skipped (an error there), small clusters
are used once the large ones are exhausted, and k-means is seeded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.geometry import neighbours, transform
from loop.scorers.base import Inputs, Scorer, rank_scores
from loop.scorers.kmeans import cluster

Rows = NDArray[np.int64]
SPARE = 8
"""Neighbours beyond those that define typicality."""


@dataclass(frozen=True)
class TypiClust(Scorer):
    """Typical rows of clusters.

    Attributes:
        most_clusters: upper bound of K.
        least_members: clusters of at most this many rows wait until the others are exhausted.
        neighbours: rows that define typicality.
        geometry: unit (as published), standard or raw.
    """

    most_clusters: int = 500
    least_members: int = 5
    neighbours: int = 20
    geometry: str = "unit"
    nested: ClassVar[bool] = False
    cost: ClassVar[str] = "nKd per iteration + (n/K)^2 d per cluster; memory nd"
    source: ClassVar[str] = "Hacohen et al. 2022, arXiv 2202.02794; avihu111/TypiClust"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        budget = min(inputs.budget, int(inputs.available.sum()))
        if budget == 0:
            return np.zeros(inputs.n)
        x = transform(inputs.embeddings, self.geometry)
        k = min(int(inputs.covered.sum()) + budget, self.most_clusters, inputs.n)
        groups = cluster(x, k, inputs.rng)[1]
        order = visit(
            x,
            groups,
            inputs.available,
            inputs.covered,
            budget,
            least_members=self.least_members,
            most_neighbours=self.neighbours,
        )
        return rank_scores(order, inputs.n)


def visit(
    x: NDArray[np.float32],
    groups: Rows,
    available: NDArray[np.bool_],
    covered: NDArray[np.bool_],
    budget: int,
    *,
    least_members: int = 5,
    most_neighbours: int = 20,
) -> list[int]:
    """Picks in order; ``budget`` is at most the number of available rows."""
    sizes = np.bincount(groups)
    served = np.bincount(groups[covered], minlength=len(sizes))
    ranked = np.lexsort((-sizes, served))
    members = np.argsort(groups, kind="stable")
    ends = np.cumsum(sizes)
    open_ = {
        int(c): Open(x, rows[available[rows]], most_neighbours)
        for c in ranked
        for rows in (members[ends[c] - sizes[c] : ends[c]],)
    }
    queue = [int(c) for c in ranked if sizes[c] > least_members]
    later = [int(c) for c in ranked if 0 < sizes[c] <= least_members]
    order: list[int] = []
    while len(order) < budget:
        queue = [c for c in queue if open_[c].left]
        if not queue:
            queue, later = later, []
        for c in queue:
            if len(order) == budget:
                break
            if open_[c].left:
                order.append(open_[c].take())
    return order


class Open:
    """The rows of a cluster that may still be picked. Their neighbours are found at the first
    visit, with some to spare: a visit strikes one row off the lists instead of finding all anew."""

    def __init__(self, x: NDArray[np.float32], rows: Rows, most_neighbours: int) -> None:
        self.x, self.rows, self.most = x, rows, most_neighbours
        self.alive = np.ones(len(rows), bool)
        self.index: Rows | None = None

    @property
    def left(self) -> int:
        return int(self.alive.sum())

    def take(self) -> int:
        """The pool's row of highest typicality (lowest on ties), which is then no longer open."""
        typical = self.typicality()
        best = int(np.argmax(typical))
        self.alive[best] = False
        return int(self.rows[best])

    def typicality(self) -> NDArray[np.float64]:
        """(M,) 1 / (mean squared distance to the nearest open rows + 1e-5); 0 where not open."""
        k = min(self.most, self.left // 2)
        if k == 0:
            return np.where(self.alive, 1e5, 0.0)
        if self.index is None or (self.alive[self.index[self.alive]].sum(axis=1) < k).any():
            self.rows, self.alive = self.rows[self.alive], self.alive[self.alive]
            self.index, self.distance = neighbours(self.x[self.rows], k + SPARE)
        nearest = np.argsort(~self.alive[self.index], axis=1, kind="stable")[:, :k]
        far = np.take_along_axis(self.distance, nearest, axis=1).astype(np.float64)
        return np.where(self.alive, 1.0 / ((far**2).mean(axis=1) + 1e-5), 0.0)
