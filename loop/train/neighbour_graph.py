"""The neighbour graph of a pool: labels spread over it, and a model learns what they became.

The first three steps of ``loop.train.propagate``, which has the sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loop.train.base import Task
from loop.train.linear import RowSpace, descend
from loop.train.probe import Head, Matrix

SPREAD_STEPS = 40
"""0.8^40 = 1e-4 of the mass is left out."""
L2 = 1e-3
"""Of the second model, times the mean squared norm of the principal components."""
LEAST_SIMILARITY = 1e-6
"""A trace, so that edges last."""


@dataclass(frozen=True)
class NeighbourGraph:
    """Symmetric k-nearest-neighbour graph of M pool images, by cosine.

    Attributes:
        rows: (M,) int64 pool rows, ascending.
        unit: (M, D) float32 standardised embeddings, rows of length 1.
        step: (M, M) sparse float32 S = D^-1/2 W D^-1/2, spectral radius 1.
        space: row space of the principal components.
        axes: (D, P) principal axes.
        neighbours: edges from each image.
    """

    rows: NDArray[np.int64]
    unit: NDArray[np.float32]
    step: Any
    space: RowSpace
    axes: Matrix
    neighbours: int

    @classmethod
    def of(cls, task: Task, neighbours: int, images: int, dims: int) -> NeighbourGraph:
        """Of the whole pool, or of a random sample of ``images`` of a larger one."""
        from loop import geometry

        n = len(task.pool)
        sample = np.random.default_rng(0).permutation(n)[:images] if n > images else np.arange(n)
        rows = np.sort(sample)
        x = task.standardised(task.pool[rows])
        unit = geometry.unit(x.astype(np.float32))
        step = _normalised_graph(*geometry.neighbours(unit, neighbours))
        ascending = np.linalg.eigh(x.T @ x)[1]
        axes = ascending[:, ::-1][:, :dims]
        return cls(rows, unit, step, RowSpace.of(x @ axes), axes, neighbours)

    def attach(self, x: Matrix, rows: NDArray[np.int64]) -> Any:
        """Where the label of each of k pool rows enters the graph.

        At its own node; for a row outside the sample at its nearest nodes, by similarity.

        Args:
            x: (k, D) standardised embeddings of ``rows``.
            rows: (k,) int64 pool rows.

        Returns:
            (M, k) sparse float32, columns that sum to 1.
        """
        from scipy import sparse

        from loop import geometry

        unit = geometry.unit(x.astype(np.float32))
        nearest_node = np.searchsorted(self.rows, rows).clip(max=len(self.rows) - 1)
        inside = self.rows[nearest_node] == rows
        nodes = [nearest_node[inside]]
        columns = [np.flatnonzero(inside)]
        values = [np.ones(inside.sum())]
        for column in np.flatnonzero(~inside):
            cosine = self.unit @ unit[column]
            nearest = np.argsort(-cosine, kind="stable")[: self.neighbours]
            similarity = np.maximum(cosine[nearest], LEAST_SIMILARITY)
            nodes.append(nearest)
            columns.append(np.full(len(nearest), column))
            values.append(similarity / similarity.sum())
        entries = (np.concatenate(values), (np.concatenate(nodes), np.concatenate(columns)))
        shape = (len(self.rows), len(rows))
        return sparse.csc_matrix(entries, shape=shape, dtype=np.float32)

    def spread(self, seeds: Any, alpha: float) -> NDArray[np.float32]:
        """(M, k) float32: (1 - a) (I - a S)^-1 ``seeds``, dense or sparse, by ``SPREAD_STEPS`` of
        its series."""
        start = seeds if isinstance(seeds, np.ndarray) else seeds.toarray()
        mass = start.copy()
        for _ in range(SPREAD_STEPS):
            mass = alpha * (self.step @ mass) + (1 - alpha) * start
        return mass

    def learn(
        self,
        rows: NDArray[np.int64],
        y: NDArray[np.int64],
        spread: NDArray[np.float32],
        n_classes: int,
    ) -> Head:
        """Logistic regression of the spread labels on the principal components.

        Args:
            rows: (k,) labelled pool rows, ascending.
            y: (k,) their classes.
            spread: (M, k) mass that each label gives to each node.
        """
        one_hot = np.eye(n_classes)
        probabilities = class_shares(spread, y, n_classes)
        known = np.isin(self.rows, rows)
        target = one_hot[probabilities.argmax(axis=1)]
        target[known] = one_hot[y[np.searchsorted(rows, self.rows[known])]]
        weights = probabilities.max(axis=1) ** 2
        weights[known] = 1.0
        return self._learned(target, weights)

    def learn_spread(self, mass: NDArray[np.float32]) -> Head:
        """The same of (M, C) mass of each class at each node, where no label is known."""
        probabilities = shares(mass.astype(np.float64))
        target = np.eye(mass.shape[1])[probabilities.argmax(axis=1)]
        return self._learned(target, probabilities.max(axis=1) ** 2)

    def _learned(self, target: Matrix, weights: Matrix) -> Head:
        """Of (M, C) targets and (M,) weights of the nodes."""
        scale = float(self.space.moments.sum() / len(self.rows)) or 1.0
        w, b = descend(self.space, target, weights[None], np.array([L2 * scale]), 100, 1e-5)
        mean = self.axes @ self.space.mean
        return Head(self.axes @ self.space.back(w[0]), mean, b[0], {})


def _normalised_graph(index: NDArray[np.int64], distance: NDArray[np.float32]) -> Any:
    """(M, M) sparse float32 D^-1/2 W D^-1/2 of the neighbours (M, k) and their distances.

    W is symmetric: an edge of either side counts, with the larger weight of the two.
    """
    from scipy import sparse

    m, k = index.shape
    cosine = 1 - distance**2 / 2  # of rows of length 1
    weights = np.maximum(cosine, LEAST_SIMILARITY)
    edges = (np.repeat(np.arange(m), k), index.ravel())
    directed = sparse.csr_matrix((weights.ravel(), edges), shape=(m, m))
    symmetric = directed.maximum(directed.T)
    degree = np.asarray(symmetric.sum(axis=1)).ravel()
    scale = sparse.diags_array(1 / np.sqrt(np.where(degree > 0, degree, 1.0)))
    return (scale @ symmetric @ scale).tocsr().astype(np.float32)


def shares(mass: Matrix) -> Matrix:
    """Rows that sum to 1; a row that no label reaches is uniform."""
    sums = mass.sum(axis=1, keepdims=True)
    return np.where(sums > 0, mass / np.where(sums > 0, sums, 1.0), 1 / mass.shape[1])


def class_shares(spread: NDArray[np.float32], y: NDArray[np.int64], n_classes: int) -> Matrix:
    """(M, k) mass from each label -> (M, C) shares, each class's labels weighing 1 in all."""
    counts = np.bincount(y, minlength=n_classes).clip(min=1)
    return shares(spread @ (np.eye(n_classes)[y] / counts))
