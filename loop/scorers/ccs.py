"""CCS: coverage-centric selection. Drop the hardest, then sample evenly over difficulty.

1. The int(beta n) rows with the lowest AUM go (mislabelled or hopeless). 2. The range of the score
[min, 1.0001 max] is cut into equal-width strata. 3. The budget is shared: strata by size ascending,
each gets min(size, floor(rest / strata left)). 4. Inside a stratum the draw is uniform.

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
from loop.select import strata_budgets

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Ccs(Scorer):
    """Coverage-centric coreset selection on AUM.

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
        place = strata_of(aum[kept], self.strata)
        share = strata_budgets(np.bincount(place, minlength=self.strata), budget)
        chosen = [
            inputs.rng.choice(kept[place == s], size=int(share[s]), replace=False)
            for s in range(self.strata)
            if share[s]
        ]
        order = np.concatenate(chosen) if chosen else np.empty(0, np.int64)
        return rank_scores(rows[inputs.rng.permutation(order).astype(np.int64)], inputs.n)


def hard_cut(aum: Floats, count: int) -> Ints:
    """Rows left, ascending, after the ``count`` lowest AUM are dropped."""
    return np.sort(np.argsort(aum, kind="stable")[count:]).astype(np.int64)


def strata_of(scores: Floats, strata: int) -> Ints:
    """(m,) stratum of each score; lower edge included, the range ends 0.01 % above the maximum."""
    if not len(scores):
        return np.empty(0, np.int64)
    low, high = float(scores.min()), float(scores.max())
    high += 1e-4 * abs(high)
    if high <= low:
        return np.zeros(len(scores), np.int64)
    step = (high - low) / strata
    return np.clip(np.floor((scores - low) / step), 0, strata - 1).astype(np.int64)
