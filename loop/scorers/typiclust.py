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

from loop.scorers.base import Inputs, Scorer, rank_scores
from loop.scorers.geometry import neighbours, place
from loop.scorers.kmeans import cluster

Rows = NDArray[np.int64]


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
    cost: ClassVar[str] = "nKd per iteration + (n/K)^2 d per visit; memory nd"
    source: ClassVar[str] = "Hacohen et al. 2022, arXiv 2202.02794; avihu111/TypiClust"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        budget = min(inputs.budget, int(inputs.available.sum()))
        if budget == 0:
            return np.zeros(inputs.n)
        x = place(inputs.embeddings, self.geometry)
        k = min(int(inputs.covered.sum()) + budget, self.most_clusters, inputs.n)
        groups = cluster(x, k, inputs.rng)[1]
        order = visit(
            x, groups, inputs.available, inputs.covered, budget,
            least_members=self.least_members, most_neighbours=self.neighbours,
        )  # fmt: skip
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
        int(c): rows[available[rows]]
        for c in ranked
        for rows in (members[ends[c] - sizes[c] : ends[c]],)
    }
    queue = [int(c) for c in ranked if sizes[c] > least_members]
    later = [int(c) for c in ranked if 0 < sizes[c] <= least_members]
    order: list[int] = []
    while len(order) < budget:
        queue = [c for c in queue if len(open_[c])]
        if not queue:
            queue, later = later, []
        for c in queue:
            if len(order) == budget:
                break
            if not len(open_[c]):
                continue
            best = int(np.argmax(typicality(x[open_[c]], most_neighbours)))
            order.append(int(open_[c][best]))
            open_[c] = np.delete(open_[c], best)
    return order


def typicality(x: NDArray[np.float32], most_neighbours: int = 20) -> NDArray[np.float64]:
    """(M,) 1 / (mean squared distance to the nearest members + 1e-5); 1e5 for a single row."""
    _, distances = neighbours(x, min(most_neighbours, len(x) // 2))
    if not distances.shape[1]:
        return np.full(len(x), 1e5)
    return 1.0 / ((distances.astype(np.float64) ** 2).mean(axis=1) + 1e-5)
