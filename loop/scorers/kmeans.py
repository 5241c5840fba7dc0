"""k-means medoids: one image per cluster, the available one nearest to the centre.

k = covered + budget clusters. Clusters that hold a covered image are visited last; the others are
visited from the largest to the smallest, so that a shorter prefix still covers the most images.
Not nested: the clusters depend on the budget.

Source: Coleman et al. 2020 and many since; here Lloyd's iterations from k-means++ seeds, in
minibatches for pools of more than ``MANY_ROWS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.geometry import squared_distances
from loop.scorers.base import Inputs, Scorer, rank_scores

Matrix = NDArray[np.float32]
MANY_ROWS = 20_000
EPOCHS = 15
"""Passes of minibatches over a pool of more than ``MANY_ROWS``."""


@dataclass(frozen=True)
class KMeans(Scorer):
    """The image nearest to the centre of each k-means cluster.

    Attributes:
        geometry: raw, unit or standard; see loop.geometry.
        iterations: Lloyd iterations at most.
    """

    geometry: str = "standard"
    iterations: int = 50
    nested: ClassVar[bool] = False
    cost: ClassVar[str] = "nkd per iteration; memory nd"
    source: ClassVar[str] = "k-means medoids; Coleman et al. 2020, arXiv 1906.11829"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        x = inputs.rows(self.geometry)
        budget = min(inputs.budget, int(inputs.available.sum()))
        if budget == 0:
            return np.zeros(inputs.n)
        k = min(budget + int(inputs.covered.sum()), inputs.n)
        centres, labels = cluster(x, k, inputs.rng, iterations=self.iterations)
        order = medoids(x, centres, labels, inputs.available, inputs.covered)[:budget]
        return rank_scores(order, inputs.n)


def cluster(
    x: Matrix, k: int, rng: np.random.Generator, *, iterations: int = 50
) -> tuple[Matrix, NDArray[np.int64]]:
    """k-means of (N, D) rows: (k, D) float32 centres and (N,) int64 clusters.

    Pools of more than ``MANY_ROWS`` are clustered in minibatches.
    """
    import warnings

    from sklearn import cluster as sklearn_cluster

    seed = int(rng.integers(2**31))
    if len(x) > MANY_ROWS:
        model = sklearn_cluster.MiniBatchKMeans(
            k,
            batch_size=max(4096, 2 * k),
            max_iter=min(iterations, EPOCHS),
            n_init=1,
            random_state=seed,
            init_size=max(3 * k, 3 * 4096),
            reassignment_ratio=0.0,
        )
    else:
        rows = (x - x.mean(axis=0)).astype(np.float64)  # of float32 each step makes a copy
        norms = np.einsum("ij,ij->i", rows, rows)
        _, first = sklearn_cluster.kmeans_plusplus(
            rows, k, x_squared_norms=norms, random_state=seed
        )
        model = sklearn_cluster.KMeans(k, init=x[first], max_iter=iterations, n_init=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a pool with fewer distinct rows than clusters is allowed
        model.fit(x)
    return model.cluster_centers_.astype(np.float32), model.labels_.astype(np.int64)


def medoids(
    x: Matrix,
    centres: Matrix,
    labels: NDArray[np.int64],
    available: NDArray[np.bool_],
    covered: NDArray[np.bool_],
) -> list[int]:
    """Available rows in order: the nearest to each centre, then the second nearest, and so on.

    Clusters with a covered row start one turn later; within a turn larger clusters come first.

    Args:
        x: (N, D).
        centres: (k, D).
        labels: (N,) cluster of each row.
    """
    sizes = np.bincount(labels, minlength=len(centres))
    has_covered = np.bincount(labels[covered], minlength=len(centres)) > 0
    distances = np.empty(len(x), np.float32)
    for cluster_id, centre in enumerate(centres):
        members = labels == cluster_id
        distances[members] = squared_distances(x[members], centre[None])[:, 0]
    rows = np.flatnonzero(available)
    rows = rows[np.lexsort((rows, distances[rows]))]
    turn = np.empty(len(rows), np.int64)
    next_turn = has_covered.astype(np.int64)
    for i, cluster_id in enumerate(labels[rows]):
        turn[i] = next_turn[cluster_id]
        next_turn[cluster_id] += 1
    order = rows[np.lexsort((rows, -sizes[labels[rows]], turn))]
    return [int(row) for row in order]
