"""Labels that are probably wrong, found by models that never saw them.

Source: Northcutt, Jiang and Chuang, Confident Learning, JAIR 2021 (arXiv:1911.00068); cleanlab.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from loop.annotators import EXTRA
from loop.errors import ConfigError, DataError
from loop.train.base import Task, Trainer

FOLDS = 5


def out_of_fold(
    trainer: Trainer, task: Task, labels: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """(N, C) probabilities of each labelled row by a model trained without it; NaN elsewhere.

    Each class is spread evenly over ``FOLDS`` folds.

    Raises:
        DataError: no class has two labels.
    """
    rows = np.flatnonzero(labels >= 0)
    if np.bincount(labels[rows], minlength=1).max(initial=0) < 2:
        raise DataError(f"{len(rows)} labels are too few to check them; label some more")
    shuffled = rng.permutation(rows)
    shuffled = shuffled[np.argsort(labels[shuffled], kind="stable")]
    fold = np.full(len(labels), -1)
    fold[shuffled] = np.arange(len(shuffled)) % min(FOLDS, len(shuffled))
    found = np.full((len(labels), task.n_classes), np.nan)
    for k in range(fold.max() + 1):
        train = np.where(fold == k, -1, labels)
        trained = trainer.train(task, train, rng, pool_probabilities=True)
        assert trained.pool_probabilities is not None  # asked for
        found[fold == k] = trained.pool_probabilities[fold == k]
    return found


def suspects(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows whose label is probably wrong, the least credible first.

    Args:
        labels: (N,), -1 where there is none.
        probabilities: (N, C) as ``out_of_fold`` gives them.

    Raises:
        ConfigError: cleanlab is not installed.
    """
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        raise ConfigError(f"the search for wrong labels {EXTRA}") from None
    rows = np.flatnonzero((labels >= 0) & np.isfinite(probabilities).all(axis=1))
    if not len(rows):
        return rows
    ranked = find_label_issues(
        labels[rows], probabilities[rows], return_indices_ranked_by="self_confidence", n_jobs=1
    )
    return rows[np.asarray(ranked, dtype=np.int64)]
