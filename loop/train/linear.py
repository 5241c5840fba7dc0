"""Multinomial logistic regression on frozen embeddings, exact and fast for few labels.

Embeddings are standardised with the pool's statistics. k labelled rows span at most k dimensions,
so the problem is solved in their row space: with X = U S V' (centred), the features U S have a
diagonal second moment, and Boehning's bound on the Hessian of the softmax loss (Ann. Inst. Stat.
Math. 44, 1992) becomes a diagonal preconditioner. All folds and all L2 penalties of the
cross-validation share one matrix, so that each step is a single matrix product.

Objective: mean cross-entropy + l2 / 2 * |W|^2; the intercept is not penalised.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from loop.errors import DataError, TrainingFailed
from loop.softmax import softmax
from loop.train.base import Task, Trained, Trainer
from loop.train.probe import Head, Matrix, Probe

if TYPE_CHECKING:
    from loop.dynamics import Dynamics

L2_CANDIDATES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""Penalties, times the mean squared norm of the standardised rows."""
FOLDS = 5
SEARCH_STEPS, SEARCH_TOLERANCE = 60, 1e-4
"""Of the cross-validation: the penalties are compared, not the weights used."""
FIT_TOLERANCE = 1e-7


@dataclass(frozen=True)
class Linear(Trainer):
    """Linear probe.

    Attributes:
        l2: penalty relative to the mean squared row norm; 0: chosen by 5-fold cross-validated
            log-loss on the labelled rows.
        steps: most gradient steps of the final fit.
        epochs: epochs that ``dynamics`` records.
    """

    l2: float = 0.0
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
        head = self.fit(task.standardised(task.pool[rows]), labels[rows], task.n_classes, rng)
        probe = Probe.of(task, [(1.0, head)])
        return Trained(
            test_probabilities=probe.probabilities(task.test),
            test_labels=task.test_labels,
            pool_probabilities=probe.probabilities(task.pool) if pool_probabilities else None,
            notes=head.notes,
            model=probe,
        )

    def cross_fit(
        self,
        task: Task,
        labels: NDArray[np.int64],
        fold: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> Iterator[Matrix]:
        """As ``Trainer.cross_fit``, all models in one descent; the penalty, one of five, is chosen
        once, by all labels."""
        rows = labelled_rows(labels)
        x = task.standardised(task.pool[rows])
        l2 = self.choose_l2(x, labels[rows], task.n_classes, rng)[0]
        for head in replace(self, l2=l2).fit_folds(x, labels[rows], task.n_classes, fold[rows]):
            yield Probe.of(task, [(1.0, head)]).probabilities(task.pool)

    def fit_folds(
        self, x: Matrix, y: NDArray[np.int64], n_classes: int, fold: NDArray[np.int64]
    ) -> list[Head]:
        """A model without the rows of each fold, of k standardised rows; the penalty is given.

        Raises:
            DataError: a fold holds every row.
            TrainingFailed: weights are not finite.
        """
        kept = np.stack([fold != number for number in range(int(fold.max()) + 1)])
        if not kept.any(axis=1).all():
            raise DataError("every label is in one fold; there is none left to learn from")
        space = RowSpace.of(x)
        norms = (x**2).sum(axis=1)
        scale = (kept @ norms) / kept.sum(axis=1)
        penalties = self.l2 * np.where(scale > 0, scale, 1.0)
        target = np.eye(n_classes)[y]
        w, b = descend(space, target, kept.astype(float), penalties, self.steps, FIT_TOLERANCE)
        return [
            _constant(x.shape[1], n_classes, int(y[rows][0]))
            if len(np.unique(y[rows])) == 1
            else Head(space.back(weights), space.mean, bias, {"l2": self.l2})
            for rows, weights, bias in zip(kept, w, b, strict=True)
        ]

    def fit(
        self,
        x: Matrix,
        y: NDArray[np.int64],
        n_classes: int,
        rng: np.random.Generator,
        weights: Matrix | None = None,
    ) -> Head:
        """A model of standardised rows.

        Args:
            x: (k, D) float64.
            y: (k,) int64 classes in [0, C).
            weights: (k,) float64 >= 0 of the rows; None: all the same.

        Raises:
            TrainingFailed: the weights are not finite.
        """
        present = np.unique(y)
        if len(present) == 1:
            return _constant(x.shape[1], n_classes, int(present[0]))
        space = RowSpace.of(x)
        target = np.eye(n_classes)[y]
        scale = _scale(x)
        weights = np.ones(len(y)) if weights is None else weights
        l2, how, held_out = self.l2, "given", None
        if not l2:
            l2, how, held_out = _cross_validate(space, target, y, weights, scale, rng)
        penalty = np.array([l2 * scale])
        w, b = descend(space, target, weights[None], penalty, self.steps, FIT_TOLERANCE)
        notes = {"l2": l2, "l2_chosen": how, "labels": len(y)}
        return Head(space.back(w[0]), space.mean, b[0], notes, held_out)

    def choose_l2(
        self, x: Matrix, y: NDArray[np.int64], n_classes: int, rng: np.random.Generator
    ) -> tuple[float, Matrix | None]:
        """The penalty that ``fit`` uses for k standardised rows, and ``Head.held_out``."""
        if self.l2 or len(np.unique(y)) == 1:
            return self.l2 or L2_CANDIDATES[2], None
        space, target = RowSpace.of(x), np.eye(n_classes)[y]
        l2, _, held_out = _cross_validate(space, target, y, np.ones(len(y)), _scale(x), rng)
        return l2, held_out

    def dynamics(self, task: Task, labels: NDArray[np.int64], rng: np.random.Generator) -> Dynamics:
        """A softmax head trained by minibatch Adam on the labelled rows, recorded per epoch."""
        from loop.train.head import record

        labelled_rows(labels)
        return record(task, labels, rng, epochs=self.epochs)


@dataclass(frozen=True)
class RowSpace:
    """Thin singular value decomposition of centred rows, X - mean = U S V', of rank r.

    Attributes:
        features: (k, r) U S, orthogonal columns.
        moments: (r,) their squared norms, S^2.
        axes: (D, r) V.
        mean: (D,).
    """

    features: Matrix
    moments: Matrix
    axes: Matrix
    mean: Matrix

    @classmethod
    def of(cls, x: Matrix) -> RowSpace:
        """Of (k, D) rows, by the eigenvectors of the smaller of X X' and X' X."""
        mean = x.mean(axis=0)
        centred = x - mean
        few_rows = len(x) <= x.shape[1]
        moments, vectors = np.linalg.eigh(centred @ centred.T if few_rows else centred.T @ centred)
        keep = moments > 1e-10 * max(moments[-1], 1e-300)
        moments, vectors = moments[keep], vectors[:, keep]
        if few_rows:
            singular = np.sqrt(moments)
            return cls(vectors * singular, moments, centred.T @ (vectors / singular), mean)
        return cls(centred @ vectors, moments, vectors, mean)

    def back(self, w: Matrix) -> Matrix:
        """(r, C) weights -> (D, C)."""
        return self.axes @ w


def descend(
    space: RowSpace,
    target: Matrix,
    weights: Matrix,
    penalties: Matrix,
    steps: int,
    tolerance: float,
) -> tuple[Matrix, Matrix]:
    """Accelerated preconditioned gradient descent on B problems that share rows.

    Args:
        target: (k, C) one-hot or soft labels.
        weights: (B, k) row weights >= 0; a row with weight 0 is not seen.
        penalties: (B,) of the squared weights (L2).
        steps: most of them.
        tolerance: largest change of a weight, relative to the largest weight, that ends it.

    Returns:
        (B, r, C) weights and (B, C) intercepts.

    Raises:
        TrainingFailed: not finite.
    """
    from threadpoolctl import threadpool_limits

    threads = 1 if len(target) * len(weights) < 4096 else None  # small steps are not worth more
    with threadpool_limits(threads, user_api="blas"):
        return _descend(space, target, weights, penalties, steps, tolerance)


def _descend(
    space: RowSpace,
    target: Matrix,
    weights: Matrix,
    penalties: Matrix,
    steps: int,
    tolerance: float,
) -> tuple[Matrix, Matrix]:
    features, (k, n_classes), n_problems = space.features, target.shape, len(weights)
    share = weights / weights.sum(axis=1, keepdims=True)
    largest_share = share.max(axis=1)
    # Boehning: Hessian <= 1/2 * second moments; a row counts at most its largest share
    curvature = 0.5 * largest_share * space.moments[:, None] + penalties
    step_w = 1.0 / curvature[:, :, None]
    step_b = 1.0 / (0.5 * largest_share * k)[:, None]
    row_share, penalty = share.T[:, :, None], penalties[:, None]
    # (r, B, C): all problems are one product with the features
    w = np.zeros((features.shape[1], n_problems, n_classes))
    b = np.zeros((n_problems, n_classes))
    ahead_w, ahead_b, momentum = w, b, 1.0
    for _ in range(steps):
        logits = _product(features, ahead_w) + ahead_b
        residual = (softmax(logits, axis=-1) - target[:, None]) * row_share
        grad_w = _product(features.T, residual) + penalty * ahead_w
        grad_b = residual.sum(axis=0)
        new_w, new_b = ahead_w - step_w * grad_w, ahead_b - step_b * grad_b
        moved_w, moved_b = new_w - w, new_b - b
        # restart the momentum where it points uphill (O'Donoghue and Candes 2015)
        uphill = float((grad_w * moved_w).sum() + (grad_b * moved_b).sum()) > 0
        new_momentum = 1.0 if uphill else (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        extrapolation = 0.0 if uphill else (momentum - 1) / new_momentum
        ahead_w, ahead_b = new_w + extrapolation * moved_w, new_b + extrapolation * moved_b
        w, b, momentum = new_w, new_b, new_momentum
        if np.abs(moved_w).max(initial=0.0) < tolerance * (1 + np.abs(w).max(initial=0.0)):
            break
    if not (np.isfinite(w).all() and np.isfinite(b).all()):
        raise TrainingFailed("the linear model's weights are not finite; check the embeddings")
    return w.transpose(1, 0, 2), b


def _product(matrix: Matrix, columns: Matrix) -> Matrix:
    """(m, n) times (n, B, C) -> (m, B, C)."""
    return (matrix @ columns.reshape(len(columns), -1)).reshape(len(matrix), *columns.shape[1:])


def _scale(x: Matrix) -> float:
    """Mean squared norm of (k, D) rows, which penalties are relative to."""
    return float((x**2).sum() / len(x)) or 1.0


def folds(y: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Stratified folds, (k,) int64; -1: the only row of its class, always trained on."""
    fold = np.full(len(y), -1, dtype=np.int64)
    start = 0
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        if len(rows) > 1:
            fold[rows] = (start + np.arange(len(rows))) % count
            start += len(rows)
    return fold


def _cross_validate(
    space: RowSpace,
    target: Matrix,
    y: NDArray[np.int64],
    weights: Matrix,
    scale: float,
    rng: np.random.Generator,
) -> tuple[float, str, Matrix | None]:
    """The L2 candidate with the least held-out log-loss, how it was chosen, held-out predictions.

    Where nothing can be held out it is the middle candidate, and there are no predictions;
    otherwise they are (k, C) probabilities, NaN in rows that are never held out.
    """
    fold = folds(y, FOLDS, rng)
    used = [f for f in range(FOLDS) if (fold == f).any()]
    if len(used) < 2:
        return L2_CANDIDATES[2], "default: too few labels to cross-validate", None
    held = np.stack([fold == f for f in used])
    masks = np.repeat(~held * weights, len(L2_CANDIDATES), axis=0)
    penalties = np.tile(np.array(L2_CANDIDATES) * scale, len(used))
    w, b = descend(space, target, masks, penalties, SEARCH_STEPS, SEARCH_TOLERANCE)
    probabilities = softmax(np.matmul(space.features, w) + b[:, None, :], axis=-1)
    probabilities = probabilities.reshape(len(used), len(L2_CANDIDATES), *target.shape)
    of_label = np.take_along_axis(probabilities, y[None, None, :, None], axis=3)[..., 0]
    loss = -np.log(np.maximum(of_label, 1e-12))
    best = int(np.argmin((loss * held[:, None, :]).sum(axis=(0, 2))))
    held_out = np.full(target.shape, np.nan)
    for rows, predicted in zip(held, probabilities[:, best], strict=True):
        held_out[rows] = predicted[rows]
    return L2_CANDIDATES[best], f"{len(used)}-fold cross-validation", held_out


def labelled_rows(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows with a label, ascending.

    Raises:
        DataError: there is none.
    """
    rows = np.flatnonzero(labels >= 0)
    if not len(rows):
        raise DataError("there is no labelled image to learn from; pull annotations first")
    return rows


def _constant(dims: int, n_classes: int, label: int) -> Head:
    """A model that always answers ``label``."""
    bias = np.where(np.arange(n_classes) == label, 0.0, -30.0)
    notes = {"labels_of_one_class": True}
    return Head(np.zeros((dims, n_classes)), np.zeros(dims), bias, notes)
