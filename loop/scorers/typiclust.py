"""TypiClust: the most typical image of each cluster, clusters without labels and large ones first.

Rows of length 1; K = min(covered + budget, 500) k-means clusters; clusters of more than 5 rows are
ordered by (covered rows ascending, size descending, id) and visited in turns. A visit takes, among
the cluster's open rows (available and not picked yet), the one of highest typicality
1 / (mean squared distance to its k nearest open members + 1e-5), k = min(20, open rows // 2). Not
nested: the clusters depend on the budget.

Source: Hacohen et al. 2022, arXiv 2202.02794; TypiClust (4097a71), whose distances are squared.
Different on purpose: a visit to an exhausted cluster is skipped (an error there), small clusters
are used once the large ones are exhausted, and k-means is seeded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.geometry import neighbours
from loop.scorers.base import Inputs, Scorer, rank_scores
from loop.scorers.kmeans import cluster

Rows = NDArray[np.int64]
SPARE = 8
"""Neighbours kept beyond those that define typicality; see ``OpenCluster``."""


@dataclass(frozen=True)
class TypiClust(Scorer):
    """The most typical image of each cluster without a pick.

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
        x = inputs.rows(self.geometry)
        k = min(int(inputs.covered.sum()) + budget, self.most_clusters, inputs.n)
        _, groups = cluster(x, k, inputs.rng)
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
    """Picks in order; ``budget`` is at most the number of available rows.

    Args:
        x: (N, D) rows.
        groups: (N,) cluster of each row.
    """
    sizes = np.bincount(groups)
    covered_rows = np.bincount(groups[covered], minlength=len(sizes))
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(sizes)[:-1])
    queue: list[OpenCluster] = []
    later: list[OpenCluster] = []
    for number in np.lexsort((-sizes, covered_rows)):
        rows = members[number]
        open_cluster = OpenCluster(x, rows[available[rows]], most_neighbours)
        (queue if len(rows) > least_members else later).append(open_cluster)
    order: list[int] = []
    while len(order) < budget:
        queue = [open_cluster for open_cluster in queue if open_cluster.count]
        if not queue:
            queue, later = later, []
        for open_cluster in queue:
            if len(order) < budget and open_cluster.count:
                order.append(open_cluster.take())
    return order


class OpenCluster:
    """The rows of a cluster that may still be picked.

    Their neighbours are searched at the first visit, ``SPARE`` more than needed: a later visit
    strikes the picks off the lists instead of searching again.

    Args:
        x: (N, D) rows of the pool.
        rows: (M,) the open rows of the cluster.
        most_neighbours: upper bound of k.
    """

    def __init__(self, x: NDArray[np.float32], rows: Rows, most_neighbours: int) -> None:
        self.x, self.rows, self.most_neighbours = x, rows, most_neighbours
        self.is_open = np.ones(len(rows), bool)
        self.index: Rows | None = None

    @property
    def count(self) -> int:
        """Number of open rows."""
        return int(self.is_open.sum())

    def take(self) -> int:
        """The pool's row of highest typicality (lowest on ties), which is then no longer open."""
        best = int(np.argmax(self.typicality()))
        row = int(self.rows[best])
        self.is_open[best] = False
        return row

    def typicality(self) -> NDArray[np.float64]:
        """(M,) 1 / (mean squared distance to the nearest open rows + 1e-5); 0 where not open."""
        k = min(self.most_neighbours, self.count // 2)
        if k == 0:
            return np.where(self.is_open, 1e5, 0.0)
        if self.index is None or self._fewest_open_neighbours(self.index) < k:
            self.rows, self.is_open = self.rows[self.is_open], self.is_open[self.is_open]
            self.index, self.distances = neighbours(self.x[self.rows], k + SPARE)
        nearest_open = np.argsort(~self.is_open[self.index], axis=1, kind="stable")[:, :k]
        distances = np.take_along_axis(self.distances, nearest_open, axis=1).astype(np.float64)
        typicality = 1.0 / ((distances**2).mean(axis=1) + 1e-5)
        return np.where(self.is_open, typicality, 0.0)

    def _fewest_open_neighbours(self, index: Rows) -> int:
        """The least number of open neighbours that the lists of open rows still hold."""
        return int(self.is_open[index[self.is_open]].sum(axis=1).min())
