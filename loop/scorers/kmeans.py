"""k-means medoids: one image per cluster, the one nearest to its centre.

With k = covered + budget clusters, clusters that hold a covered image count as served; the rest are
visited from the largest to the smallest, so that a shorter prefix still covers the most images.
Shapes: embeddings (N, D), k centres. Not nested: the clusters depend on the budget.

Source: Coleman et al. 2020 and many since; here Lloyd's iterations from k-means++ seeds, batched
for k > 1,000. The centre is replaced by the nearest available image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.geometry import squared_distances, transform
from loop.scorers.base import Inputs, Scorer, rank_scores

Matrix = NDArray[np.float32]
MANY_ROWS = 20_000
EPOCHS = 15
"""Passes of minibatches over a pool of more than ``MANY_ROWS``."""


@dataclass(frozen=True)
class KMeans(Scorer):
    """Medoids of k-means clusters.

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
        x = transform(inputs.embeddings, self.geometry)
        open_ = np.flatnonzero(inputs.available)
        budget = min(inputs.budget, len(open_))
        if budget == 0:
            return np.zeros(inputs.n)
        k = min(budget + int(inputs.covered.sum()), inputs.n)
        centres, labels = cluster(x, k, inputs.rng, iterations=self.iterations)
        order = medoids(x, centres, labels, inputs.available, inputs.covered)[:budget]
        return rank_scores(order, inputs.n)


def cluster(
    x: Matrix, k: int, rng: np.random.Generator, *, iterations: int = 50
) -> tuple[Matrix, NDArray[np.int64]]:
    """k-means of (N, D) rows: (k, D) centres and (N,) labels. Large problems use minibatches."""
    from sklearn.cluster import KMeans as Lloyd
    from sklearn.cluster import MiniBatchKMeans

    seed = int(rng.integers(2**31))
    if len(x) > MANY_ROWS:
        model = MiniBatchKMeans(
            k,
            batch_size=max(4096, 2 * k),
            max_iter=min(iterations, EPOCHS),
            n_init=1,
            random_state=seed,
            init_size=max(3 * k, 3 * 4096),
            reassignment_ratio=0.0,
        )
    else:
        model = Lloyd(k, max_iter=iterations, n_init=1, random_state=seed)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct rows than clusters is no fault of anyone
        model.fit(x)
    return model.cluster_centers_.astype(np.float32), model.labels_.astype(np.int64)


def medoids(
    x: Matrix,
    centres: Matrix,
    labels: NDArray[np.int64],
    available: NDArray[np.bool_],
    covered: NDArray[np.bool_],
) -> list[int]:
    """Available rows, one per unserved cluster (largest first), then seconds of the largest."""
    sizes = np.bincount(labels, minlength=len(centres))
    served = np.bincount(labels[covered], minlength=len(centres)) > 0
    near = np.empty(len(x), np.float32)
    for c in range(len(centres)):
        mine = labels == c
        near[mine] = squared_distances(x[mine], centres[c : c + 1])[:, 0]
    rows = np.flatnonzero(available)
    rows = rows[np.lexsort((rows, near[rows]))]  # nearest to its own centre first
    turn = np.empty(len(rows), np.int64)
    seen = served.astype(np.int64)
    for i, row in enumerate(rows):
        turn[i] = seen[labels[row]]
        seen[labels[row]] += 1
    return [int(r) for r in rows[np.lexsort((rows, -sizes[labels[rows]], turn))]]
