"""Balanced random sampling: equal shares per class, or per cluster where no class is known.

Rows of each group are shuffled and taken in turns: the t-th row of every group comes before the
(t+1)-th of any. Groups that run out leave their share to the others; within a turn the order is
random, so a budget that the number of groups does not divide favours none. Nested.

Source: the class-balanced random baseline of CCS (b37f166), whose code takes the size of the last
class for all; here each class has its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.errors import DataError
from loop.scorers.base import Inputs, Scorer
from loop.scorers.kmeans import cluster


@dataclass(frozen=True)
class Balanced(Scorer):
    """Random, balanced over k-means clusters.

    Attributes:
        clusters: k; 0: the number of classes, or 10 if unknown.
        geometry: raw, unit or standard; see loop.geometry.
    """

    clusters: int = 0
    geometry: str = "standard"
    cost: ClassVar[str] = "nkd per iteration; memory nd"
    source: ClassVar[str] = "class-balanced random on pseudo-labels (ELFS, CCS)"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        k = min(self.clusters or inputs.n_classes or 10, inputs.n)
        if k == 0:
            return np.zeros(0)
        _, groups = cluster(inputs.rows(self.geometry), k, inputs.rng)
        return in_turns(groups, inputs.available, inputs.rng)


@dataclass(frozen=True)
class BalancedLabels(Scorer):
    """Random, balanced over the true classes."""

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    cost: ClassVar[str] = "n"
    source: ClassVar[str] = "class-balanced random"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        if (inputs.labels[inputs.available] < 0).any():
            raise DataError("balanced_labels needs a label on every available row")
        return in_turns(inputs.labels, inputs.available, inputs.rng)


def in_turns(
    groups: NDArray[np.int64], available: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float64]:
    """(N,) scores that take the available rows of each group in turns; ``groups`` (N,)."""
    scores = np.full(len(groups), -float(len(groups)) - 1)
    for group in np.unique(groups[available]):
        rows = rng.permutation(np.flatnonzero(available & (groups == group)))
        scores[rows] = -np.arange(len(rows)) - rng.random(len(rows)) * 0.999
    return scores
