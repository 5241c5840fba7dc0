"""BADGE: k-means++ in the space of hypothetical gradients of the last layer.

g = (onehot(argmax P) - P) (x) h, with h the embedding. It is never formed: with a = onehot - P,
|g_i - g_j|^2 = |a_i|^2 |h_i|^2 + |a_j|^2 |h_j|^2 - 2 (a_i a_j)(h_i h_j). The first centre is the
longest g; each further one is drawn in proportion to the squared distance to the nearest centre.
Where all distances are 0 (duplicates only) the rest is random, where the original divides by zero.

Source: Ash et al. 2020, arXiv 1906.03671; JordanAsh/badge (a2d18ac) badge_sampling.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.scorers.base import Inputs, Scorer, rank_scores
from loop.scorers.uncertainty import probabilities_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Gradients:
    """Factors of the gradient embeddings of M rows: a (M, C), h (M, D)."""

    a: Floats
    h: Floats

    @classmethod
    def of(cls, probabilities: Floats, embeddings: NDArray[np.floating]) -> Gradients:
        """For each row the gradient under its most likely label."""
        a = -np.asarray(probabilities, dtype=np.float64)
        a[np.arange(len(a)), probabilities.argmax(axis=1)] += 1
        return cls(a, np.asarray(embeddings, dtype=np.float64))

    @property
    def squared_lengths(self) -> Floats:
        """(M,) |a|^2 |h|^2."""
        out: Floats = (self.a**2).sum(axis=1) * (self.h**2).sum(axis=1)
        return out

    def squared_distances(self, row: int) -> Floats:
        """(M,) from one row to all."""
        lengths = self.squared_lengths
        cross = (self.a @ self.a[row]) * (self.h @ self.h[row])
        out: Floats = np.maximum(lengths + lengths[row] - 2 * cross, 0)
        out[row] = 0
        return out


@dataclass(frozen=True)
class Badge(Scorer):
    """Batch active learning by diverse gradient embeddings."""

    needs: ClassVar[frozenset[str]] = frozenset({"probabilities"})
    cost: ClassVar[str] = "n(C + d) per pick"
    source: ClassVar[str] = "Ash et al. 2020, arXiv 1906.03671; JordanAsh/badge"

    def score(self, inputs: Inputs) -> Floats:
        p = probabilities_of(inputs)
        open_ = np.flatnonzero(inputs.available)
        budget = min(inputs.budget, len(open_))
        if budget == 0:
            return np.zeros(inputs.n)
        space = Gradients.of(p[open_], inputs.embeddings[open_])
        picks = [int(space.squared_lengths.argmax())]
        near = space.squared_distances(picks[0])
        while len(picks) < budget:
            total = near.sum()
            if total <= 0:
                rest = np.setdiff1d(np.arange(len(open_)), picks)
                picks += list(inputs.rng.permutation(rest)[: budget - len(picks)])
                break
            row = int(inputs.rng.choice(len(open_), p=near / total))
            picks.append(row)
            near = np.minimum(near, space.squared_distances(row))
            near[picks] = 0
        return rank_scores(open_[np.array(picks)], inputs.n)
