"""Similarities of candidate rows to reference rows, kept while coverage is maximised.

All of them, or only those above what earlier rounds cover already: a similarity below that adds
nothing, whatever is picked later. Of L rows covered earlier each reference row has its nearest, and
another row comes nearer with a chance of about 1 / (L + 1), so that few remain.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Rows = NDArray[np.int64]
Compressed = tuple[Rows, NDArray[np.int32], Floats]
"""Starts, columns and values, see ``SimilaritiesAbove``."""

BATCH = 512
"""Candidates whose similarities are computed at once."""
SPARSE = 0.25
"""Share above the floor up to which only those are kept; each takes the room of two or three."""


class Similarities(ABC):
    """Of M candidates to R reference rows."""

    @abstractmethod
    def of(self, candidates: Rows) -> Floats:
        """(len(candidates), R); 0 where it is not above the floor."""

    @abstractmethod
    def gains(self, candidates: Rows, covered: Floats, weights: Floats) -> NDArray[np.float64]:
        """(len(candidates),) sum_j weights_j max(similarity_j - covered_j, 0)."""

    @abstractmethod
    def _arrays(self) -> tuple[Floats, Compressed]:
        """For the kernel: all values, or the compressed rows; the other is empty."""

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
        from loop.scorers import coverage_kernel

        own = self.of(picks)
        exchanges: int = coverage_kernel.exchange(
            *self._arrays(), candidates, picks, own, floor, weights, passes, least
        )
        return exchanges


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
class AllSimilarities(Similarities):
    """``values`` (M, R)."""

    values: Floats

    def of(self, candidates: Rows) -> Floats:
        return self.values[candidates]

    def gains(self, candidates: Rows, covered: Floats, weights: Floats) -> NDArray[np.float64]:
        from loop.scorers import coverage_kernel

        gains = np.empty(len(candidates))
        coverage_kernel.gains(self.values, candidates, covered, weights, gains)
        return gains

    def _arrays(self) -> tuple[Floats, Compressed]:
        nothing = np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, self.values.dtype)
        return self.values, nothing


@dataclass(frozen=True)
class SimilaritiesAbove(Similarities):
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

    def _arrays(self) -> tuple[Floats, Compressed]:
        nothing = np.empty((0, self.references), self.values.dtype)
        return nothing, (self.starts, self.columns, self.values)
