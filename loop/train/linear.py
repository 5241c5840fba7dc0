"""Multinomial logistic regression on frozen embeddings, exact and fast for few labels.

Embeddings are standardised with the pool's statistics. k labelled rows span at most k dimensions,
so the problem is solved in their row space: with X = U S V' (centred), the features U S have a
diagonal second moment, and Boehning's bound on the Hessian of the softmax loss (Ann. Inst. Stat.
Math. 44, 1992) becomes a diagonal preconditioner. All folds and all regularisation strengths of
the cross-validation share one matrix, so that each step is a single matrix product.

Objective: mean cross-entropy + strength / 2 * |W|^2; the intercept is not penalised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from loop.errors import DataError, TrainingFailed
from loop.train.base import Task, Trained, Trainer
from loop.train.metrics import measure

if TYPE_CHECKING:
    from loop.dynamics import Dynamics

Matrix = NDArray[np.float64]

STRENGTHS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""Candidates, times the mean squared norm of the standardised rows."""
FOLDS = 5


@dataclass(frozen=True)
class Linear(Trainer):
    """Linear probe.

    Attributes:
        strength: L2 strength relative to the mean squared row norm; 0: chosen by 5-fold
            cross-validated log-loss on the labelled rows.
        steps: most gradient steps of the final fit.
        epochs: epochs that ``dynamics`` records.
    """

    strength: float = 0.0
    steps: int = 500
    epochs: int = 30

    def train(
        self,
        task: Task,
        labels: NDArray[np.int64],
        rng: np.random.Generator,
        *,
        pool_probabilities: bool = False,
    ) -> Trained:
        rows = labelled_rows(labels)
        model = self.fit(task.standardised(task.pool[rows]), labels[rows], task.n_classes, rng)
        test = model.over(task, task.test)
        return Trained(
            metrics=measure(test, task.test_labels, rng=np.random.default_rng(0)),
            test_probabilities=test,
            pool_probabilities=model.over(task, task.pool) if pool_probabilities else None,
            notes=model.notes,
        )

    def fit(
        self,
        x: Matrix,
        y: NDArray[np.int64],
        n_classes: int,
        rng: np.random.Generator,
        weights: Matrix | None = None,
    ) -> Model:
        """A model of (k, D) standardised rows with labels (k,), optionally weighted (k,)."""
        present = np.unique(y)
        if len(present) == 1:
            return _constant(x.shape[1], n_classes, int(present[0]))
        space = RowSpace.of(x)
        target = np.eye(n_classes)[y]
        scale = float((x**2).sum() / len(x)) or 1.0
        weights = np.ones(len(y)) if weights is None else weights
        strength, how, held_out = self.strength, "given", None
        if not strength:
            strength, how, held_out = _cross_validate(space, target, y, weights, scale, rng)
        w, b = descend(space, target, weights[None], np.array([strength * scale]), self.steps, 1e-7)
        notes = {"strength": strength, "strength_chosen": how, "labels": len(y)}
        return Model(space.back(w[0]), space.mean, b[0], notes, held_out)

    def dynamics(self, task: Task, labels: NDArray[np.int64], rng: np.random.Generator) -> Dynamics:
        """A softmax head trained by minibatch Adam on the labelled rows, recorded per epoch."""
        from loop.train.head import record

        labelled_rows(labels)
        return record(task, labels, rng, epochs=self.epochs)


@dataclass(frozen=True)
class Model:
    """A fitted linear probe on standardised embeddings: softmax((x - mean) weights + bias).

    ``held_out`` (k, C): what folds without the row predict for each labelled row; NaN for a row
    that was never held out, None without cross-validation.
    """

    weights: Matrix
    mean: Matrix
    bias: Matrix
    notes: dict[str, Any]
    held_out: Matrix | None = None

    def probabilities(self, x: Matrix) -> Matrix:
        """(M, D) -> (M, C), rows sum to 1."""
        return softmax((x - self.mean) @ self.weights + self.bias)

    def over(self, task: Task, embeddings: NDArray[np.float32], block: int = 16384) -> Matrix:
        """(M, D) embeddings as they are -> (M, C); standardised block by block."""
        starts = range(0, len(embeddings), block)
        return np.concatenate(
            [self.probabilities(task.standardised(embeddings[s : s + block])) for s in starts]
        )


@dataclass(frozen=True)
class RowSpace:
    """Centred rows as ``features`` (k, r) with orthogonal columns; ``axes`` (D, r) leads back."""

    features: Matrix
    moments: Matrix
    axes: Matrix
    mean: Matrix

    @classmethod
    def of(cls, x: Matrix) -> RowSpace:
        mean = x.mean(axis=0)
        centred = x - mean
        if len(x) <= x.shape[1]:
            values, u = np.linalg.eigh(centred @ centred.T)
            keep = values > 1e-10 * max(values[-1], 1e-300)
            s = np.sqrt(values[keep])
            features, axes = u[:, keep] * s, centred.T @ (u[:, keep] / s)
        else:
            values, v = np.linalg.eigh(centred.T @ centred)
            keep = values > 1e-10 * max(values[-1], 1e-300)
            features, axes = centred @ v[:, keep], v[:, keep]
        return cls(features, values[keep], axes, mean)

    def back(self, w: Matrix) -> Matrix:
        """(r, C) weights -> (D, C)."""
        return self.axes @ w


def softmax(z: Matrix) -> Matrix:
    """Over the last axis."""
    z = z - z.max(axis=-1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=-1, keepdims=True)
    return z


def descend(
    space: RowSpace,
    target: Matrix,
    weights: Matrix,
    strengths: Matrix,
    steps: int,
    tolerance: float,
) -> tuple[Matrix, Matrix]:
    """Accelerated preconditioned gradient descent on B problems that share rows.

    Args:
        target: (k, C) one-hot or soft labels.
        weights: (B, k) row weights >= 0; a row with weight 0 is not seen.
        strengths: (B,) L2 strengths.

    Returns:
        (B, r, C) weights and (B, C) intercepts.

    Raises:
        TrainingFailed: not finite.
    """
    from threadpoolctl import threadpool_limits

    threads = 1 if len(target) * len(weights) < 4096 else None  # small steps are not worth more
    with threadpool_limits(threads, user_api="blas"):
        return _descend(space, target, weights, strengths, steps, tolerance)


def _descend(
    space: RowSpace,
    target: Matrix,
    weights: Matrix,
    strengths: Matrix,
    steps: int,
    tolerance: float,
) -> tuple[Matrix, Matrix]:
    z, (k, c), problems = space.features, target.shape, len(weights)
    share = weights / weights.sum(axis=1, keepdims=True)
    # Boehning: Hessian <= 1/2 * second moments; a row counts at most max(share)
    bound = 0.5 * share.max(axis=1)[:, None] * space.moments[None] + strengths[:, None]
    step_w = 1.0 / bound[:, :, None]
    step_b = 1.0 / (0.5 * share.max(axis=1) * k)[:, None]
    w = np.zeros((problems, z.shape[1], c))
    b = np.zeros((problems, c))
    ahead_w, ahead_b, momentum = w, b, 1.0
    for _ in range(steps):
        logits = np.matmul(z, ahead_w) + ahead_b[:, None, :]
        residual = (softmax(logits) - target) * share[:, :, None]
        grad_w = np.matmul(z.T, residual) + strengths[:, None, None] * ahead_w
        grad_b = residual.sum(axis=1)
        new_w, new_b = ahead_w - step_w * grad_w, ahead_b - step_b * grad_b
        # restart the momentum where it points uphill (O'Donoghue and Candes 2015)
        uphill = float((grad_w * (new_w - w)).sum() + (grad_b * (new_b - b)).sum()) > 0
        after = 1.0 if uphill else (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        pull = 0.0 if uphill else (momentum - 1) / after
        ahead_w, ahead_b = new_w + pull * (new_w - w), new_b + pull * (new_b - b)
        moved = np.abs(new_w - w).max(initial=0.0)
        w, b, momentum = new_w, new_b, after
        if moved < tolerance * (1 + np.abs(w).max(initial=0.0)):
            break
    if not (np.isfinite(w).all() and np.isfinite(b).all()):
        raise TrainingFailed("the linear model's weights are not finite; check the embeddings")
    return w, b


def folds(y: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(k,) fold of each row, classes spread evenly; -1 = always trained on (its class's only)."""
    place = np.full(len(y), -1, dtype=np.int64)
    start = 0
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        if len(rows) > 1:
            place[rows] = (start + np.arange(len(rows))) % count
            start += len(rows)
    return place


def _cross_validate(
    space: RowSpace,
    target: Matrix,
    y: NDArray[np.int64],
    weights: Matrix,
    scale: float,
    rng: np.random.Generator,
) -> tuple[float, str, Matrix | None]:
    """The strength with the least held-out log-loss, or the middle one if nothing can be held out;
    how it was found; and the held-out probabilities (k, C) with it, NaN in rows never held out."""
    place = folds(y, FOLDS, rng)
    used = [f for f in range(FOLDS) if (place == f).any()]
    if len(used) < 2:
        return STRENGTHS[2], "default: too few labels to cross-validate", None
    masks = np.repeat([(place != f) * weights for f in used], len(STRENGTHS), axis=0)
    strengths = np.tile(np.array(STRENGTHS) * scale, len(used))
    w, b = descend(space, target, masks, strengths, 60, 1e-4)
    chance = softmax(np.matmul(space.features, w) + b[:, None, :])
    chance = chance.reshape(len(used), len(STRENGTHS), *target.shape)
    right = np.take_along_axis(chance, y[None, None, :, None], axis=3)[..., 0]
    loss = -np.log(np.maximum(right, 1e-12))
    held = np.stack([place == f for f in used])[:, None, :]
    best = int(np.argmin((loss * held).sum(axis=(0, 2))))
    held_out = np.full(target.shape, np.nan)
    for i, fold in enumerate(used):
        held_out[place == fold] = chance[i, best][place == fold]
    return STRENGTHS[best], f"{len(used)}-fold cross-validation", held_out


def labelled_rows(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows with a label. Raises DataError if there is none."""
    rows = np.flatnonzero(labels >= 0)
    if not len(rows):
        raise DataError("there is no labelled image to learn from; pull annotations first")
    return rows


def _constant(dims: int, n_classes: int, label: int) -> Model:
    bias = np.where(np.arange(n_classes) == label, 0.0, -30.0)
    notes = {"labels_of_one_class": True}
    return Model(np.zeros((dims, n_classes)), np.zeros(dims), bias, notes)
