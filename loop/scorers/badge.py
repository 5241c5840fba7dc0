"""BADGE: k-means++ seeding in the space of last-layer gradients under the predicted label.

The gradient embedding g = (onehot(argmax P) - P) (x) h, with h the embedding, is never formed: with
a = onehot - P, |g_i - g_j|^2 = |a_i|^2 |h_i|^2 + |a_j|^2 |h_j|^2 - 2 (a_i a_j)(h_i h_j). The first
centre is the longest g; each further one is drawn in proportion to the squared distance to the
nearest centre. Where all distances are 0 (only duplicates are left) the rest is drawn at random;
the original divides by zero there.

Source: Ash et al. 2020, arXiv 1906.03671; JordanAsh/badge (a2d18ac) badge_sampling.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.scorers.base import Inputs, Scorer, rank_scores
from loop.scorers.uncertainty import probabilities_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Gradients:
    """Factors of the gradient embeddings of M rows: ``a`` (M, C) and ``h`` (M, D), float64."""

    a: Floats
    h: Floats

    @classmethod
    def of(cls, probabilities: Floats, embeddings: NDArray[np.floating]) -> Gradients:
        """From (M, C) probabilities and (M, D) embeddings; the label of a row is its prediction."""
        a = -np.asarray(probabilities, dtype=np.float64)
        a[np.arange(len(a)), probabilities.argmax(axis=1)] += 1
        return cls(a, np.asarray(embeddings, dtype=np.float64))

    @cached_property
    def squared_lengths(self) -> Floats:
        """(M,) |g|^2 = |a|^2 |h|^2."""
        lengths: Floats = (self.a**2).sum(axis=1) * (self.h**2).sum(axis=1)
        return lengths

    def squared_distances(self, row: int) -> Floats:
        """(M,) squared distances of every g to that of ``row``."""
        lengths = self.squared_lengths
        products = (self.a @ self.a[row]) * (self.h @ self.h[row])
        distances: Floats = np.maximum(lengths + lengths[row] - 2 * products, 0)
        distances[row] = 0
        return distances


@dataclass(frozen=True)
class Badge(Scorer):
    """BADGE: unsure and different from each other; nested."""

    needs: ClassVar[frozenset[str]] = frozenset({"probabilities"})
    cost: ClassVar[str] = "n(C + d) per pick"
    source: ClassVar[str] = "Ash et al. 2020, arXiv 1906.03671; JordanAsh/badge"

    def score(self, inputs: Inputs) -> Floats:
        rows = np.flatnonzero(inputs.available)
        budget = min(inputs.budget, len(rows))
        probabilities = probabilities_of(inputs)
        if budget == 0:
            return np.zeros(inputs.n)
        gradients = Gradients.of(probabilities[rows], inputs.embeddings[rows])
        return rank_scores(rows[kmeans_plus_plus(gradients, budget, inputs.rng)], inputs.n)


def kmeans_plus_plus(gradients: Gradients, k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(k,) seeds in order, as rows of ``gradients``; 1 <= k <= M."""
    m = len(gradients.a)
    picks = [int(gradients.squared_lengths.argmax())]
    nearest = gradients.squared_distances(picks[0])
    while len(picks) < k:
        total = nearest.sum()
        if total <= 0:
            rest = np.setdiff1d(np.arange(m), picks)
            picks += list(rng.permutation(rest)[: k - len(picks)])
            break
        row = int(rng.choice(m, p=nearest / total))
        picks.append(row)
        nearest = np.minimum(nearest, gradients.squared_distances(row))
        nearest[picks] = 0
    return np.array(picks)
