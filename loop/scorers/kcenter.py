"""k-center greedy: each pick is the row farthest from everything picked or covered so far.

With m_i the distance of row i to the nearest pick, the next pick is argmax m (lowest row on ties);
the radius after k picks is at most twice the best possible. m only falls, so old values are upper
bounds, and a row is measured again only while it may win. Memory O(N) besides the embeddings;
nested. It picks outliers: at small budgets usually worse than random.

Source: Sener & Savarese 2018, arXiv 1708.00489; DeepCore (74ec709). Different on purpose: picks
keep their order (DeepCore returns them sorted), no (k, N) matrix is kept, and an empty start is
allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.scorers.base import Inputs, Scorer, rank_scores

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class KCenter(Scorer):
    """Farthest first: each pick is the farthest from all picks. Without covered rows the first
    pick is drawn uniformly.

    Attributes:
        geometry: raw (as published), unit or standard; see loop.geometry.
    """

    geometry: str = "raw"
    cost: ClassVar[str] = "at most nd per pick; memory n"
    source: ClassVar[str] = "Sener & Savarese 2018, arXiv 1708.00489; DeepCore (order kept)"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        x = inputs.rows(self.geometry)
        covered = np.flatnonzero(inputs.covered)
        rows = np.flatnonzero(inputs.available)
        budget = min(inputs.budget, len(rows))
        random_first: list[int] = []
        if budget and not len(covered):
            random_first = [int(inputs.rng.choice(rows))]
        start = np.concatenate([covered, np.asarray(random_first, np.int64)])
        picks, _ = farthest_first(x, start, budget - len(random_first), inputs.available)
        return rank_scores([*random_first, *picks.tolist()], inputs.n)


def farthest_first(
    x: NDArray[np.float32], start: Rows, k: int, available: NDArray[np.bool_]
) -> tuple[Rows, NDArray[np.float64]]:
    """Farthest-first traversal from the rows in ``start`` (at least one, unless k = 0).

    Returns:
        (k,) picks in order, ``start`` not among them, and (k,) float64: the largest distance of
        any available row to its nearest centre after each pick (the radius).
    """
    radii = np.empty(k)
    if k == 0:
        return np.empty(0, np.int64), radii
    from loop.scorers import kcenter_kernel

    centres = np.concatenate([start.astype(np.int64), np.empty(k, np.int64)])
    is_open = available.copy()
    is_open[start] = False
    x = np.ascontiguousarray(x, dtype=np.float32)
    kcenter_kernel.traverse(x, centres, len(start), k, is_open, radii)
    return centres[len(start) :], np.sqrt(radii)
