"""CCS: coverage-centric coreset selection. Drops the hardest rows, samples evenly over difficulty.

1. The int(beta n) rows of lowest AUM are dropped (mislabelled or too hard). 2. The score range
[min, 1.0001 max] is cut into strata of equal width. 3. The budget is shared among strata, smallest
first: each gets min(size, floor(budget left / strata left)). 4. Inside a stratum the draw is
uniform.

Source: Zheng et al., ICLR 2023; haizhongzheng/Coverage-centric-coreset-selection (b37f166).
Different on purpose: strata end just above the maximum whatever its sign (the original's factor
1.0001 moves a negative maximum the wrong way and loses the top rows); equal scores are one stratum;
a cut that leaves fewer rows than the budget is made smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.scorers.base import Inputs, Scorer, rank_scores
from loop.scorers.training import dynamics_of
from loop.select import draw_from_strata

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Ccs(Scorer):
    """CCS: every difficulty (AUM) evenly, the hardest cut off.

    Attributes:
        beta: share of the pool that is cut as too hard (README: 0.3 for CIFAR-10 at 90 % pruned).
        strata: number of strata.
    """

    beta: float = 0.3
    strata: int = 50
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "fit"})
    nested: ClassVar[bool] = False
    cost: ClassVar[str] = "one training run on the whole pool"
    source: ClassVar[str] = "Zheng et al. 2023 (ICLR), Coverage-centric-coreset-selection"

    def __post_init__(self) -> None:
        if not 0 <= self.beta < 1:
            raise ValueError(f"beta must be in [0, 1), got {self.beta}")

    def score(self, inputs: Inputs) -> Floats:
        rows = np.flatnonzero(inputs.available)
        budget = min(inputs.budget, len(rows))
        aum = dynamics_of(inputs).aum[rows]
        kept = hard_cut(aum, min(int(self.beta * len(rows)), len(rows) - budget))
        stratum = strata_of(aum[kept], self.strata)
        drawn = draw_from_strata(kept, stratum, self.strata, budget, inputs.rng)
        return rank_scores(rows[inputs.rng.permutation(drawn)], inputs.n)


def hard_cut(aum: Floats, count: int) -> Ints:
    """Rows left, ascending, after the ``count`` rows of lowest AUM are dropped."""
    return np.sort(np.argsort(aum, kind="stable")[count:]).astype(np.int64)


def strata_of(scores: Floats, strata: int) -> Ints:
    """(m,) int64 stratum of each score.

    Lower edges belong to a stratum; the range ends 0.01 % above the maximum.
    """
    if not len(scores):
        return np.empty(0, np.int64)
    lower, upper = float(scores.min()), float(scores.max())
    upper += 1e-4 * abs(upper)
    if upper <= lower:
        return np.zeros(len(scores), np.int64)
    width = (upper - lower) / strata
    return np.clip(np.floor((scores - lower) / width), 0, strata - 1).astype(np.int64)
