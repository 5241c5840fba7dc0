"""Labels spread over the neighbour graph of the whole pool, blended with the linear probe.

With few labels the unlabelled images are worth as much as the labels. Idea:

1. A graph joins every image to its 15 nearest by cosine, embeddings standardised; with edge weights
   W and degrees D, S = D^-1/2 W D^-1/2.
2. Labels spread: F = (1 - a) (I - a S)^-1 Y / (labels of the class), Zhou et al., "Learning with
   local and global consistency", NIPS 2003. Dividing by the class's labels keeps a class that was
   picked often from flooding the graph; a = 0.8 keeps labels near home (0.95 and 0.99 were worse
   on every set measured).
3. A logistic regression learns the spread labels of all images, each weighted by its squared
   confidence, so that images outside the graph (the test split) get a prediction.
4. Its log-probabilities are averaged with those of ``linear``, with a share of 20 / (20 + labels
   per class). Where the labelled rows say that this is worse than ``linear`` alone, it gets none:
   ``linear`` predicts each row from folds without it, and F without one label is exact, because F
   is linear in Y.

docs/trainers.md has the measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from loop.train.base import Task, Trained, Trainer
from loop.train.linear import Linear, Matrix, Model, RowSpace, descend, labelled_rows, softmax
from loop.train.metrics import measure

if TYPE_CHECKING:
    from loop.dynamics import Dynamics

HALF = 20.0
"""Labels per class at which both models count the same."""


@dataclass(frozen=True)
class Propagate(Trainer):
    """Semi-supervised probe; the linear one where labels are many.

    Attributes:
        neighbours: edges from each image.
        alpha: how far labels spread, in (0, 1).
        per_class: beyond this many labels per class the linear probe is used alone.
        images: most pool images in the graph (a random sample of a larger pool).
        dims: principal components that the second model sees.
    """

    neighbours: int = 15
    alpha: float = 0.8
    per_class: int = 50
    images: int = 20_000
    dims: int = 128

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha must be in (0, 1), got {self.alpha}")
        if self.neighbours < 1 or self.images < 2 or self.dims < 1:
            raise ValueError("neighbours and dims must be at least 1, images at least 2")

    def train(
        self,
        task: Task,
        labels: NDArray[np.int64],
        rng: np.random.Generator,
        *,
        pool_probabilities: bool = False,
    ) -> Trained:
        rows = labelled_rows(labels)
        y = labels[rows]
        linear = Linear().fit(task.standardised(task.pool[rows]), y, task.n_classes, rng)
        models, notes = self._blend(task, rows, y, linear)
        test = _predict(models, task, task.test)
        return Trained(
            metrics=measure(test, task.test_labels, rng=np.random.default_rng(0)),
            test_probabilities=test,
            pool_probabilities=_predict(models, task, task.pool) if pool_probabilities else None,
            notes={**linear.notes, **notes},
        )

    def dynamics(self, task: Task, labels: NDArray[np.int64], rng: np.random.Generator) -> Dynamics:
        """Those of the linear probe's softmax head."""
        return Linear().dynamics(task, labels, rng)

    def _blend(
        self, task: Task, rows: NDArray[np.int64], y: NDArray[np.int64], linear: Model
    ) -> tuple[list[tuple[float, Model]], dict[str, Any]]:
        """(share, model) pairs and why."""
        alone = [(1.0, linear)]
        if len(np.unique(y)) < 2:
            return alone, {"used": "linear", "why": "labels of one class"}
        if len(y) > self.per_class * task.n_classes:
            return alone, {"used": "linear", "why": f"over {self.per_class} labels per class"}
        key = ("graph", self.neighbours, self.images, self.dims)
        graph = task.once(
            key, lambda: NeighbourGraph.of(task, self.neighbours, self.images, self.dims)
        )
        seeds = graph.attach(task.standardised(task.pool[rows]), rows)
        spread = graph.spread(seeds, self.alpha)
        share, why = choose_share(_left_out(seeds, spread, y, task.n_classes), linear.held_out, y)
        if not share:
            return alone, {"used": "linear", "why": why}
        return (
            [(1 - share, linear), (share, graph.learn(rows, y, spread, task.n_classes))],
            {"used": "propagate", "share": share, "why": why, "graph_images": len(graph.rows)},
        )


@dataclass(frozen=True)
class NeighbourGraph:
    """Neighbour graph of M pool images.

    Attributes:
        rows: (M,) pool rows, ascending.
        unit: (M, D) float32 standardised embeddings, rows of length 1.
        step: (M, M) sparse S, spectral radius 1.
        space: row space of the principal components.
        axes: (D, P) principal axes.
    """

    rows: NDArray[np.int64]
    unit: NDArray[np.float32]
    step: Any
    space: RowSpace
    axes: Matrix
    neighbours: int

    @classmethod
    def of(cls, task: Task, neighbours: int, images: int, dims: int) -> NeighbourGraph:
        from scipy import sparse

        from loop import geometry

        n = len(task.pool)
        some = np.random.default_rng(0).permutation(n)[:images] if n > images else np.arange(n)
        rows = np.sort(some)
        x = task.standardised(task.pool[rows])
        unit = geometry.unit(x.astype(np.float32))
        index, distance = geometry.neighbours(unit, neighbours)
        m, k = index.shape
        weight = _similarity(distance)
        one_way = sparse.csr_matrix(
            (weight.ravel(), (np.repeat(np.arange(m), k), index.ravel())), shape=(m, m)
        )
        both = one_way.maximum(one_way.T)
        degree = np.asarray(both.sum(axis=1)).ravel()
        scale = sparse.diags_array(1 / np.sqrt(np.where(degree > 0, degree, 1.0)))
        axes = np.linalg.eigh(x.T @ x)[1][:, ::-1][:, :dims]
        step = (scale @ both @ scale).tocsr().astype(np.float32)
        return cls(rows, unit, step, RowSpace.of(x @ axes), axes, neighbours)

    def attach(self, x: Matrix, rows: NDArray[np.int64]) -> Any:
        """(M, k) sparse: where the label of each of k pool ``rows`` enters the graph.

        At its own node, or for a row outside the sample at its nearest nodes, by similarity.
        """
        from scipy import sparse

        from loop import geometry

        unit = geometry.unit(x.astype(np.float32))
        place = np.searchsorted(self.rows, rows).clip(max=len(self.rows) - 1)
        inside = self.rows[place] == rows
        nodes, labels, values = [place[inside]], [np.flatnonzero(inside)], [np.ones(inside.sum())]
        for i in np.flatnonzero(~inside):
            cosine = self.unit @ unit[i]
            nearest = np.argsort(-cosine, kind="stable")[: self.neighbours]
            value = np.maximum(cosine[nearest], 1e-6)
            nodes.append(nearest)
            labels.append(np.full(len(nearest), i))
            values.append(value / value.sum())
        where = (np.concatenate(nodes), np.concatenate(labels))
        shape = (len(self.rows), len(rows))
        return sparse.csc_matrix((np.concatenate(values), where), shape=shape, dtype=np.float32)

    def spread(self, seeds: Any, alpha: float, steps: int = 40) -> NDArray[np.float32]:
        """(M, k): (1 - a) (I - a S)^-1 ``seeds``; 0.8^40 = 1e-4 of the mass is left out."""
        start = seeds.toarray()
        out = start.copy()
        for _ in range(steps):
            out = alpha * (self.step @ out) + (1 - alpha) * start
        return out

    def learn(
        self,
        rows: NDArray[np.int64],
        y: NDArray[np.int64],
        spread: NDArray[np.float32],
        n_classes: int,
        strength: float = 1e-3,
    ) -> Model:
        """Logistic regression of the spread labels on the principal components."""
        chance = _per_class(spread, y, n_classes)
        known = np.isin(self.rows, rows)
        target = np.eye(n_classes)[chance.argmax(axis=1)]
        target[known] = np.eye(n_classes)[y[np.searchsorted(rows, self.rows[known])]]
        weights = chance.max(axis=1) ** 2
        weights[known] = 1.0
        scale = float(self.space.moments.sum() / len(self.rows)) or 1.0
        w, b = descend(self.space, target, weights[None], np.array([strength * scale]), 100, 1e-5)
        mean = self.axes @ self.space.mean
        return Model(self.axes @ self.space.back(w[0]), mean, b[0], {})


def choose_share(spread: Matrix, linear: Matrix | None, y: NDArray[np.int64]) -> tuple[float, str]:
    """The share of the spread labels: less with more labels, 0 where they do harm.

    Harm: over the labelled rows, classes weighing the same, ``linear`` is right more often by more
    than chance explains (one standard deviation of the rows on which the two differ).

    Args:
        spread, linear: (k, C) probabilities of the k labelled rows, each predicted without its own
            label; ``linear`` None, or NaN in rows that could not be held out.
    """
    each = len(y) / spread.shape[1]
    share = HALF / (HALF + each)
    held = np.zeros(len(y), bool) if linear is None else np.isfinite(linear).all(axis=1)
    if linear is None or not held.any():
        return share, f"{each:.1f} labels per class, too few to hold any out"
    ours = blend([1 - share, share], [linear[held], spread[held]]).argmax(axis=1) == y[held]
    theirs = linear[held].argmax(axis=1) == y[held]
    lost = (theirs.astype(float) - ours) / np.bincount(y[held])[y[held]]
    why = (
        f"{each:.1f} labels per class; right on {ours.mean():.1%} of {len(ours)} held-out labels, "
        f"linear alone on {theirs.mean():.1%}"
    )
    return (0.0 if lost.sum() > np.sqrt((lost**2).sum()) else share), why


def blend(shares: list[float], probabilities: list[Matrix]) -> Matrix:
    """Normalised geometric mean of (M, C) probabilities."""
    pairs = zip(shares, probabilities, strict=True)
    return softmax(np.sum([s * np.log(np.maximum(p, 1e-6)) for s, p in pairs], axis=0))


def _predict(models: list[tuple[float, Model]], task: Task, embeddings: NDArray[Any]) -> Matrix:
    shares = [share for share, _ in models]
    if len(models) == 1:
        return models[0][1].over(task, embeddings)
    return blend(shares, [model.over(task, embeddings) for _, model in models])


def _shares(mass: Matrix) -> Matrix:
    """Rows that sum to 1; a row that no label reaches is uniform."""
    sums = mass.sum(axis=1, keepdims=True)
    return np.where(sums > 0, mass / np.where(sums > 0, sums, 1.0), 1 / mass.shape[1])


def _per_class(spread: NDArray[np.float32], y: NDArray[np.int64], n_classes: int) -> Matrix:
    """(M, k) mass from each label -> (M, C) shares, each class's labels weighing 1 in all."""
    each = np.bincount(y, minlength=n_classes).clip(min=1)
    return _shares(spread @ (np.eye(n_classes)[y] / each))


def _left_out(
    seeds: Any, spread: NDArray[np.float32], y: NDArray[np.int64], n_classes: int
) -> Matrix:
    """(k, C) what each labelled row gets from all labels but its own."""
    mass = np.asarray(seeds.T @ spread, dtype=np.float64)
    np.fill_diagonal(mass, 0.0)
    others = np.bincount(y, minlength=n_classes) - np.eye(n_classes)[y]  # (k, C) labels left
    return _shares(mass @ np.eye(n_classes)[y] / others.clip(min=1))


def _similarity(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosine of rows of length 1 from their distance, at least a trace, so that edges last."""
    return np.maximum(1 - distance**2 / 2, 1e-6)
