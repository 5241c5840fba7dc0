"""k-medoids: the set whose Gaussian neighbourhoods cover the pool best, improved by exchanges.

Maximises (1/N) sum_j max_{i in S} exp(-(|x_i - x_j| / h)^2) over sets S of the budget's size, rows
picked in earlier rounds included: MaxHerding's coverage, but of the set as a whole. It starts from
the greedy's picks and exchanges one pick for one other row while that raises coverage (FasterPAM).
The greedy's first pick is the middle of the pool and is kept even when ten later picks cover its
neighbours; with one or two labels per class that wastes a large part of all labels.

Rows are centred and have length 1. What all images share (the mean of the pool) does not tell which
of them are alike; without it the angles between rows are comparable across encoders and raw pixels.
The radius h is ``radius`` times the median distance between rows.

The picks are ordered by the coverage that each adds, but are not nested: another budget may have
other picks. Deterministic up to the samples taken from a large pool.

Source: Kaufman and Rousseeuw 1990 (PAM); Schubert and Rousseeuw 2021, arXiv 2008.05171 (FasterPAM),
in the similarity of Bae et al. 2024, arXiv 2407.12212. Own: the centring, measured in docs/auto.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.geometry import unit
from loop.scorers.base import Inputs, rank_scores
from loop.scorers.coverage import Floats, exchanged
from loop.scorers.maxherding import MaxHerding


@dataclass(frozen=True)
class KMedoids(MaxHerding):
    """Coverage of dense regions, better by exchanges.

    Attributes as MaxHerding's, and:
        names: weight of what the class names say beside the centred rows, where they are known: a
            group of images that the names tell apart gets a pick of its own; 0: none.
    """

    radius: float = 0.7
    geometry: str = "centred"
    names: float = 0.0
    nested: ClassVar[bool] = False
    cost: ClassVar[str] = "as maxherding, then n r per pass of exchanges"
    source: ClassVar[str] = "Schubert, Rousseeuw 2021, arXiv 2008.05171; Bae et al. 2024"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        order = exchanged(self.coverage(inputs), inputs.budget, inputs.available, inputs.rng)
        return rank_scores(order, inputs.n)

    def rows(self, inputs: Inputs) -> NDArray[np.float32]:
        x = super().rows(inputs)
        if not self.names or inputs.names is None:
            return x
        told = inputs.names - inputs.names.mean(axis=0)
        return unit(np.concatenate([x, self.names * told.astype(np.float32)], axis=1))

    def products(self, inputs: Inputs) -> Floats | None:
        heard = self.names and inputs.names is not None  # names may change from round to round
        return None if heard else super().products(inputs)
