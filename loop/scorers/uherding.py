"""UHerding: MaxHerding weighted by how unsure the current model is of each image.

Gain of a candidate = sum_j u_j max(k(i, j) - m_j, 0), with u_j the uncertainty of image j (0 where
it is labelled) and m_j its similarity to what is picked or labelled. Probabilities are softened
first (see ``fitted_temperature``), and the radius is the smallest distance between labelled images,
so that it shrinks as labels come in: wide coverage early, fine boundaries late. With ``exchange``
and a fixed radius it is kmedoids weighted by uncertainty, which is how ``auto`` uses it.

Source: Bae, Sutherland et al. 2024, arXiv 2412.20644; uherding (75299cd). Different on purpose: no
label is held out for the calibration. The temperature is fitted on the rows the model learned from,
so it undoes less over-confidence than held-out labels would; the linear probe's strength is chosen
by cross-validated log-loss, which calibrates it before it gets here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.geometry import median_distance, squared_distances, transform
from loop.scorers.base import Inputs, Scorer, rank_scores
from loop.scorers.coverage import Coverage, exchanged, greedy, references
from loop.scorers.maxherding import checked_geometry, similarity
from loop.scorers.uncertainty import probabilities_of

Floats = NDArray[np.float64]
KINDS = ("margin", "entropy", "confidence")


@dataclass(frozen=True)
class UHerding(Scorer):
    """Uncertainty coverage.

    Attributes:
        uncertainty: margin (1 - (P1 - P2)), entropy or confidence (1 - P1).
        radius: 0: the smallest distance between labelled rows; else h in multiples of the median
            distance between rows.
        geometry: unit (as published), centred or standard; rows have length 1 in each.
        exchange: exchange the greedy's picks as kmedoids does.
        temperature: divides the log-probabilities; 0: fitted on the labelled rows, 1 or more.
        references: rows on which coverage is measured; 0: all.
    """

    uncertainty: str = "margin"
    radius: float = 0.0
    geometry: str = "unit"
    exchange: bool = False
    temperature: float = 0.0
    references: int = 10_000
    needs: ClassVar[frozenset[str]] = frozenset({"probabilities", "collected"})
    cost: ClassVar[str] = "as maxherding"
    source: ClassVar[str] = "Bae et al. 2024, arXiv 2412.20644; uherding"

    def __post_init__(self) -> None:
        if self.uncertainty not in KINDS:
            raise ValueError(f"uncertainty must be one of {', '.join(KINDS)}")
        checked_geometry(self.geometry)

    def score(self, inputs: Inputs) -> Floats:
        x = transform(inputs.embeddings, self.geometry)
        p = probabilities_of(inputs)
        known = inputs.labels >= 0
        t = self.temperature or fitted_temperature(p[known], inputs.labels[known])
        weights = doubt(sharpen(p, t), self.uncertainty)
        weights[inputs.covered | known] = 0.0
        h = self._radius(x, inputs)
        refs = references(inputs.n, self.references, inputs.rng)
        state = Coverage(x, similarity("rbf", h), weights=weights, refs=refs)
        state.add(np.flatnonzero(inputs.covered))
        if self.exchange:
            order = exchanged(state, inputs.budget, inputs.available, inputs.rng)
        else:
            order = greedy(state, inputs.budget, inputs.available)
        return rank_scores(order, inputs.n)

    def explain(self, inputs: Inputs) -> dict[str, Any]:
        return {
            "radius": round(self._radius(transform(inputs.embeddings, self.geometry), inputs), 4)
        }

    def _radius(self, x: NDArray[np.float32], inputs: Inputs) -> float:
        """Fixed, or the smallest positive distance between covered rows, or MaxHerding's."""
        rows = x[inputs.covered]
        if not self.radius and len(rows) > 1:
            d = squared_distances(rows, rows)
            d = d[~np.eye(len(rows), dtype=bool)]
            d = d[d > 1e-9]
            if len(d):
                return float(np.sqrt(d.min()))
        return (self.radius or 0.5) * (median_distance(x, inputs.rng) or 1.0)


def doubt(p: Floats, kind: str) -> Floats:
    """(N,) uncertainty of (N, C) probabilities."""
    if kind == "entropy":
        return -np.sum(p * np.log(p + 1e-8), axis=1)
    top = np.sort(p, axis=1)[:, ::-1]
    if kind == "confidence":
        return 1 - top[:, 0]
    return 1 - (top[:, 0] - (top[:, 1] if p.shape[1] > 1 else 0.0))


def sharpen(p: Floats, temperature: float) -> Floats:
    """softmax(log p / T): T above 1 makes probabilities less sure."""
    z = np.log(np.maximum(p, 1e-300)) / temperature
    z = np.exp(z - z.max(axis=1, keepdims=True))
    out: Floats = z / z.sum(axis=1, keepdims=True)
    return out


def fitted_temperature(p: Floats, labels: NDArray[np.int64]) -> float:
    """The temperature of the least log-loss on labelled rows, within [1, 5]; 1 without rows.

    The model was trained on these rows, so it can look too sure but never too unsure: below 1 is
    not considered.
    """
    if len(labels) < 2:
        return 1.0
    grid = np.geomspace(1.0, 5.0, 25)
    rows = np.arange(len(labels))
    losses = [-np.log(np.maximum(sharpen(p, t)[rows, labels], 1e-12)).mean() for t in grid]
    return float(grid[int(np.argmin(losses))])
