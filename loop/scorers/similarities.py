"""Similarities of candidate rows to reference rows, kept while coverage is maximised.

All of them, or only those above what earlier rounds cover already: a similarity below that adds
nothing, whatever is picked later. Of L rows covered earlier each reference row has its nearest, and
another row comes nearer with a chance of about 1 / (L + 1), so that few remain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Rows = NDArray[np.int64]

BATCH = 512
"""Candidates whose similarities are computed at once."""
SPARSE = 0.25
"""Share above the floor up to which only those are kept; each takes the room of two or three."""


class Similarities(Protocol):
    """Of M candidates to R reference rows."""

    def of(self, candidates: Rows) -> Floats:
        """(len(candidates), R); 0 where it is not above the floor."""
        ...

    def gains(self, candidates: Rows, covered: Floats, weights: Floats) -> NDArray[np.float64]:
        """(len(candidates),) sum_j weights_j max(similarity_j - covered_j, 0)."""
        ...

    def exchange(
        self,
        candidates: Rows,
        picks: Rows,
        floor: Floats,
        weights: Floats,
        passes: int,
        least: float,
    ) -> int:
        """Improves ``picks`` in place, see ``coverage_kernel.exchange``."""
        ...


def stored(compute: Callable[[Rows], Floats], rows: Rows, floor: Floats) -> Similarities:
    """Those of ``rows``: all, or where that takes less room only those above ``floor`` (R,).

    Args:
        compute: rows -> (len(rows), R) similarities.
    """
    first = compute(rows[:BATCH])
    if not first.size or (first > floor).mean() > SPARSE:
        return _all(compute, rows, floor)
    return _above(compute, rows, floor)


def _all(compute: Callable[[Rows], Floats], rows: Rows, floor: Floats) -> AllSimilarities:
    values = np.empty((len(rows), len(floor)), floor.dtype)
    for start in range(0, len(rows), BATCH):
        values[start : start + BATCH] = compute(rows[start : start + BATCH])
    return AllSimilarities(values)


def _above(compute: Callable[[Rows], Floats], rows: Rows, floor: Floats) -> SimilaritiesAbove:
    counts, columns, values = [], [], []
    for start in range(0, len(rows), BATCH):
        similarity = compute(rows[start : start + BATCH])
        above = similarity > floor
        counts.append(above.sum(axis=1))
        columns.append((np.flatnonzero(above) % len(floor)).astype(np.int32))
        values.append(similarity[above])
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    return SimilaritiesAbove(starts, np.concatenate(columns), np.concatenate(values), len(floor))


@dataclass(frozen=True)
class AllSimilarities:
    """``values`` (M, R)."""

    values: Floats

    def of(self, candidates: Rows) -> Floats:
        return self.values[candidates]

    def gains(self, candidates: Rows, covered: Floats, weights: Floats) -> NDArray[np.float64]:
        from loop.scorers import coverage_kernel

        gains = np.empty(len(candidates))
        coverage_kernel.gains(self.values, candidates, covered, weights, gains)
        return gains

    def exchange(
        self,
        candidates: Rows,
        picks: Rows,
        floor: Floats,
        weights: Floats,
        passes: int,
        least: float,
    ) -> int:
        from loop.scorers import coverage_kernel

        nothing = np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, self.values.dtype)
        exchanges: int = coverage_kernel.exchange(
            self.values, nothing, candidates, picks, self.of(picks), floor, weights, passes, least
        )
        return exchanges


@dataclass(frozen=True)
class SimilaritiesAbove:
    """Compressed rows: those of candidate i are ``values[starts[i] : starts[i + 1]]``, of the
    reference rows ``columns`` at the same places.

    Attributes:
        starts: (M + 1,) int64.
        columns: (K,) int32.
        values: (K,).
        references: R.
    """

    starts: Rows
    columns: NDArray[np.int32]
    values: Floats
    references: int

    def of(self, candidates: Rows) -> Floats:
        similarity = np.zeros((len(candidates), self.references), self.values.dtype)
        for row, candidate in enumerate(candidates):
            kept = slice(self.starts[candidate], self.starts[candidate + 1])
            similarity[row, self.columns[kept]] = self.values[kept]
        return similarity

    def gains(self, candidates: Rows, covered: Floats, weights: Floats) -> NDArray[np.float64]:
        from loop.scorers import coverage_kernel

        gains = np.empty(len(candidates))
        coverage_kernel.gains_above(
            self.starts, self.columns, self.values, candidates, covered, weights, gains
        )
        return gains

    def exchange(
        self,
        candidates: Rows,
        picks: Rows,
        floor: Floats,
        weights: Floats,
        passes: int,
        least: float,
    ) -> int:
        from loop.scorers import coverage_kernel

        nothing = np.empty((0, self.references), self.values.dtype)
        above = self.starts, self.columns, self.values
        exchanges: int = coverage_kernel.exchange(
            nothing, above, candidates, picks, self.of(picks), floor, weights, passes, least
        )
        return exchanges
