"""ProbCover: the most images within distance delta of a labelled one.

Greedy maximum coverage by balls of radius delta around picks (self included), on unit rows; rows
within delta of what earlier rounds picked are covered already. delta is the largest radius at
which 95 % of the balls are pure, purity meaning that the whole ball has one k-means pseudo-label:
the 5 % quantile of the distance to the nearest row of another cluster. Nested; lowest row on ties.

Source: Yehuda et al. 2022, arXiv 2205.11320; TypiClust repository (4097a71) prob_cover.py.
Different on purpose: the original drops the edges of the last partial batch of 500 rows, and picks
row 0 again and again once all is covered (here a second layer of balls begins). Edges are never
stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.scorers.base import Inputs, Scorer, rank_scores
from loop.scorers.coverage import Coverage, greedy, references
from loop.scorers.geometry import place, squared_distances
from loop.scorers.kmeans import cluster
from loop.scorers.maxherding import similarity

PURITY_ROWS = 5_000


@dataclass(frozen=True)
class ProbCover(Scorer):
    """Maximum coverage by balls.

    Attributes:
        delta: radius of the balls; 0: from ``purity``.
        purity: share of balls that hold one pseudo-label only.
        clusters: pseudo-labels; 0: the number of classes, or 10 if unknown.
        geometry: unit (as published) or standard.
        references: rows on which coverage is counted; 0: all.
    """

    delta: float = 0.0
    purity: float = 0.95
    clusters: int = 0
    geometry: str = "unit"
    references: int = 10_000
    cost: ClassVar[str] = "k-means + n r d once, then lazily; memory 512 r"
    source: ClassVar[str] = "Yehuda et al. 2022, arXiv 2205.11320; avihu111/TypiClust"

    def __post_init__(self) -> None:
        if self.geometry not in ("unit", "standard"):
            raise ValueError(f"geometry must be unit or standard, got {self.geometry!r}")
        if not 0 < self.purity <= 1:
            raise ValueError(f"purity must be in (0, 1], got {self.purity}")

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        x = place(inputs.embeddings, self.geometry)
        delta = self.delta or self._delta(x, inputs)
        refs = references(inputs.n, self.references, inputs.rng)
        state = Coverage(x, similarity("tophat", delta), refs=refs)
        state.add(np.flatnonzero(inputs.covered))
        order = greedy(state, inputs.budget, inputs.available, layered=True)
        return rank_scores(order, inputs.n)

    def explain(self, inputs: Inputs) -> dict[str, Any]:
        x = place(inputs.embeddings, self.geometry)
        return {"delta": round(self.delta or self._delta(x, inputs), 4)}

    def _delta(self, x: NDArray[np.float32], inputs: Inputs) -> float:
        k = min(self.clusters or inputs.n_classes or 10, inputs.n)
        if k < 2:
            return 1.0
        return pure_radius(x, cluster(x, k, inputs.rng)[1], self.purity, inputs.rng)


def pure_radius(
    x: NDArray[np.float32],
    labels: NDArray[np.int64],
    purity: float,
    rng: np.random.Generator,
) -> float:
    """The largest radius at which a share ``purity`` of balls (centres: at most 5,000 rows) holds
    one label only; 1 if all rows have one label."""
    if len(np.unique(labels)) < 2:
        return 1.0
    nearest_other = []
    for part in np.array_split(references(len(x), PURITY_ROWS, rng), max(1, len(x) // 512)):
        if not len(part):
            continue
        d = squared_distances(x[part], x)
        d[labels[part][:, None] == labels[None, :]] = np.inf
        nearest_other.append(np.sqrt(d.min(axis=1)))
    ascending = np.sort(np.concatenate(nearest_other))
    allowed = int(np.floor((1 - purity) * len(ascending) + 1e-9))  # impure balls
    return max(float(ascending[min(allowed, len(ascending) - 1)]), 1e-6)
