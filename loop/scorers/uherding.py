"""UHerding: MaxHerding weighted by the current model's uncertainty of each image.

The gain of a candidate i is sum_j u_j max(k(i, j) - m_j, 0), with u_j the uncertainty of image j
and m_j its similarity to what is picked or labelled. Probabilities are calibrated
first (see ``fitted_temperature``), and the radius is the smallest distance between labelled images,
so that it shrinks as labels arrive: wide coverage early, fine boundaries late. With ``exchange``
and a fixed radius it is kmedoids weighted by uncertainty, as ``auto`` uses it.

Source: Bae, Sutherland et al. 2024, arXiv 2412.20644; uherding (75299cd). Different on purpose: no
label is held out for the calibration. The temperature is fitted on the rows that the model learned
from, so it corrects less over-confidence than held-out labels would; the linear probe's l2
is chosen by cross-validated log-loss, which calibrates it beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.geometry import median_distance, squared_distances
from loop.scorers.base import Inputs, Scorer, rank_scores
from loop.scorers.coverage import Coverage, exchanged, greedy, products, references
from loop.scorers.maxherding import check_unit_geometry, similarity
from loop.scorers.uncertainty import probabilities_of
from loop.softmax import softmax

Floats = NDArray[np.float64]
KINDS = ("margin", "entropy", "confidence")


@dataclass(frozen=True)
class UHerding(Scorer):
    """Greedy coverage of what the model is unsure of.

    Attributes:
        uncertainty: margin (1 - (P1 - P2)), entropy or confidence (1 - P1).
        radius: 0: h is the smallest distance between rows picked in earlier rounds; else h in
            multiples of the median distance between rows.
        geometry: unit (as published), centred or standard; rows have length 1 in each.
        exchange: exchange the greedy's picks as kmedoids does.
        temperature: divides the log-probabilities; 0: fitted on the labelled rows, at least 1.
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
            raise ValueError(
                f"uncertainty must be one of {', '.join(KINDS)}, got {self.uncertainty!r}"
            )
        check_unit_geometry(self.geometry)

    def score(self, inputs: Inputs) -> Floats:
        x = inputs.rows(self.geometry)
        weights = self._weights(inputs)
        kernel = similarity("rbf", self._radius(x, inputs))
        refs = references(inputs.n, self.references, inputs.rng)
        together = products(inputs, self.geometry)
        state = Coverage(x, kernel, weights=weights, refs=refs, products=together)
        state.add(np.flatnonzero(inputs.covered))
        if self.exchange:
            order = exchanged(state, inputs.budget, inputs.available, inputs.rng)
        else:
            order = greedy(state, inputs.budget, inputs.available)
        return rank_scores(order, inputs.n)

    def explain(self, inputs: Inputs) -> dict[str, Any]:
        return {"radius": round(self._radius(inputs.rows(self.geometry), inputs), 4)}

    def _weights(self, inputs: Inputs) -> Floats:
        """(N,) uncertainty of each image under calibrated probabilities."""
        probabilities = probabilities_of(inputs)
        labelled = inputs.labels >= 0
        temperature = self.temperature or fitted_temperature(
            probabilities[labelled], inputs.labels[labelled]
        )
        return uncertainty(with_temperature(probabilities, temperature), self.uncertainty)

    def _radius(self, x: NDArray[np.float32], inputs: Inputs) -> float:
        """Fixed, or the smallest positive distance between covered rows, or MaxHerding's."""
        rows = x[inputs.covered]
        if not self.radius and len(rows) > 1:
            distances = squared_distances(rows, rows)[~np.eye(len(rows), dtype=bool)]
            distances = distances[distances > 1e-9]
            if len(distances):
                return float(np.sqrt(distances.min()))
        return (self.radius or 0.5) * (median_distance(x, inputs.rng) or 1.0)


def uncertainty(probabilities: Floats, kind: str) -> Floats:
    """(N,) uncertainty of (N, C) probabilities; ``kind`` is one of ``KINDS``."""
    if kind == "entropy":
        return -np.sum(probabilities * np.log(probabilities + 1e-8), axis=1)
    descending = np.sort(probabilities, axis=1)[:, ::-1]
    if kind == "confidence":
        return 1 - descending[:, 0]
    second = descending[:, 1] if probabilities.shape[1] > 1 else 0.0
    return 1 - (descending[:, 0] - second)


def with_temperature(probabilities: Floats, temperature: float) -> Floats:
    """Temperature scaling softmax(log P / T) of (N, C) probabilities; T > 1: less confident."""
    logits = np.log(np.maximum(probabilities, 1e-300)) / temperature
    return softmax(logits, axis=1)


def fitted_temperature(probabilities: Floats, labels: NDArray[np.int64]) -> float:
    """The temperature of the least log-loss on labelled rows, within [1, 5]; 1 without rows.

    The model was trained on these rows, so it can look over-confident but never under-confident:
    temperatures below 1 are not considered.
    """
    if len(labels) < 2:
        return 1.0
    temperatures = np.geomspace(1.0, 5.0, 25)
    entries = np.arange(len(labels)), labels
    losses = [
        -np.log(np.maximum(with_temperature(probabilities, temperature)[entries], 1e-12)).mean()
        for temperature in temperatures
    ]
    return float(temperatures[int(np.argmin(losses))])
