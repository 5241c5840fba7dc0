"""Herding: picks whose running mean follows the mean of the pool.

x_{t+1} = argmin_x |(t+1) mu - S_t - x| with S_t the sum of the picks, each row once; rows picked in
earlier rounds belong to the sum. That is argmin |x|^2 - 2 x.((t+1) mu - S_t): one matrix-vector
product per pick. Unit rows by default, since otherwise rows of small norm dominate. Nested,
deterministic, lowest row on ties.

Source: Welling 2009, "Herding dynamical weights to learn"; DeepCore (74ec709) takes the argmax,
which drives the mean away from that of the pool; this is the argmin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.geometry import squared_norms
from loop.scorers.base import Inputs, Scorer, rank_scores


@dataclass(frozen=True)
class Herding(Scorer):
    """Herding: picks whose mean stays near the pool's.

    Attributes:
        geometry: unit, standard or raw.
    """

    geometry: str = "unit"
    cost: ClassVar[str] = "nd per pick; memory n"
    source: ClassVar[str] = "Welling 2009 (ICML); argmin, where DeepCore takes argmax"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        x = inputs.rows(self.geometry)
        budget = min(inputs.budget, int(inputs.available.sum()))
        covered = np.flatnonzero(inputs.covered)
        return rank_scores(herd(x, budget, inputs.available, covered), inputs.n)


def herd(
    x: NDArray[np.float32], k: int, available: NDArray[np.bool_], covered: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(k,) picks in order; ``covered`` are the rows picked in earlier rounds."""
    picks = np.empty(k, np.int64)
    if k == 0:
        return picks
    mean = x.mean(axis=0, dtype=np.float64)
    target = (len(covered) + 1) * mean - x[covered].sum(axis=0, dtype=np.float64)
    norms = squared_norms(x)
    norms[~available] = np.inf
    for i in range(k):
        row = int(np.argmin(norms - 2.0 * (x @ target.astype(x.dtype))))
        picks[i] = row
        norms[row] = np.inf
        target += mean - x[row]
    return picks
