"""Training dynamics of a softmax head on frozen embeddings, trained by minibatch Adam.

Plain NumPy: the matrices are small, and a run costs less than importing a tensor library.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from loop.dynamics import Dynamics
from loop.errors import TrainingFailed
from loop.softmax import softmax
from loop.train.base import Task

BATCH = 256
PEAK_LEARNING_RATE, BETA1, BETA2 = 0.01, 0.9, 0.95


def record(
    task: Task, labels: NDArray[np.int64], rng: np.random.Generator, *, epochs: int
) -> Dynamics:
    """Trains ``epochs`` epochs on the rows with a label and records each epoch's logits.

    Rows are standardised and scaled to a mean squared norm of 1, so that one learning rate serves
    every encoder; Adam (Kingma and Ba 2015) with a cosine schedule.

    Raises:
        TrainingFailed: the logits are not finite.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):  # minibatches are too small to be worth threads
        return _record(task, labels, rng, epochs)


def _record(
    task: Task, labels: NDArray[np.int64], rng: np.random.Generator, epochs: int
) -> Dynamics:
    rows = np.flatnonzero(labels >= 0)
    x = task.standardised(task.pool[rows]).astype(np.float32)
    x /= np.sqrt(np.float32(x.shape[1]))
    x = np.hstack([x, np.ones((len(x), 1), np.float32)])  # the last weight is the intercept
    target = np.eye(task.n_classes, dtype=np.float32)[labels[rows]]
    w = np.zeros((x.shape[1], task.n_classes), np.float32)
    first, second = np.zeros_like(w), np.zeros_like(w)  # Adam's moments
    steps, step = max(1, epochs * -(-len(rows) // BATCH)), 0
    dynamics = Dynamics(labels)
    logits = np.zeros((len(labels), task.n_classes), dtype=np.float32)
    for epoch in range(epochs):
        order = rng.permutation(len(rows))
        for start in range(0, len(rows), BATCH):
            part = order[start : start + BATCH]
            gradient = (
                x[part].T @ (softmax(x[part] @ w, axis=1) - target[part]) / np.float32(len(part))
            )
            step += 1
            first += (1 - BETA1) * (gradient - first)
            second += (1 - BETA2) * (gradient**2 - second)
            learning_rate = PEAK_LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * step / steps))
            scale = np.sqrt(second / (1 - BETA2**step)) + 1e-8
            w -= np.float32(learning_rate / (1 - BETA1**step)) * first / scale
        logits[rows] = x @ w
        if not np.isfinite(logits[rows]).all():
            raise TrainingFailed(f"the logits are not finite in epoch {epoch + 1}")
        dynamics.update(logits)
    return dynamics
