"""Maximisation of generalised coverage: the engine of maxherding, uherding, facility and kmedoids.

Coverage of a set S: sum_j w_j max_{i in S} k(i, j) over reference rows j, with a similarity k >= 0
that is a function of the dot product of rows. With m_j = the similarity to S so far, the gain of a
candidate i is sum_j w_j max(k(i, j) - m_j, 0). Gains only fall while S grows (submodularity), so an
old gain is an upper bound: candidates are evaluated again in batches, best bound first, until no
bound exceeds the best gain. The picks are those of the plain greedy, which is within 1 - 1/e of the
best set. Similarities to the reference rows are stored where they fit into ``MATRIX_BYTES``, and
computed again for each batch of candidates otherwise.

Gains that agree to ``TIE`` (relative) are a tie; the lowest row wins.

``exchanged`` goes on from the greedy's set: one pick for one other row, while coverage grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Rows = NDArray[np.int64]
Kernel = Callable[[Floats], Floats]
"""(A, B) dot products -> (A, B) similarities; may work in place."""

TIE = 1e-9
BATCH = 512
MATRIX_BYTES = 2 << 30
PASSES, GAIN = 20, 1e-6
"""Exchanges end after so many passes over the candidates, or when none gains this (relative)."""
SMALL = 2000
"""Pools up to this size are computed in float64."""


def references(n: int, most: int, rng: np.random.Generator, rows: Rows | None = None) -> Rows:
    """Rows on which coverage is measured: all, or a uniform sample of ``most`` (0: no limit)."""
    rows = np.arange(n) if rows is None else rows
    if most and len(rows) > most:
        return np.sort(rng.choice(rows, size=most, replace=False))
    return rows


class Coverage:
    """The state of one greedy run: which reference rows are how well covered.

    Args:
        x: (N, D) rows in the geometry of the method.
        kernel: similarity of dot products.
        weights: (N,) >= 0, how much each row counts; default 1.
        refs: rows on which coverage is measured; default all.
    """

    def __init__(
        self,
        x: NDArray[np.float32],
        kernel: Kernel,
        *,
        weights: NDArray[np.float64] | None = None,
        refs: Rows | None = None,
    ) -> None:
        dtype: type[np.floating] = np.float64 if len(x) <= SMALL else np.float32
        self.n = len(x)
        refs = np.arange(len(x)) if refs is None else refs
        self.x: Floats = np.asarray(x, dtype=dtype)
        self.targets: Floats = self.x if len(refs) == len(x) else self.x[refs]
        self.kernel = kernel
        weights = np.ones(len(x)) if weights is None else weights
        self.weights: Floats = np.asarray(weights[refs], dtype=dtype)
        self.covered: Floats = np.zeros(len(refs), dtype)
        self.stored: Floats | None = None
        self.places: Rows = np.full(self.n, -1)
        if self.n <= self.fitting():
            self.hold(np.arange(self.n))

    def fitting(self) -> int:
        """How many rows' similarities fit into ``MATRIX_BYTES``."""
        return MATRIX_BYTES // max(1, len(self.targets) * self.x.dtype.itemsize)

    def hold(self, rows: Rows) -> Floats:
        """Stores the similarities of ``rows``; from now on no others may be asked for.

        ``places`` tells where in it each row stands.
        """
        if self.stored is None:
            stored = np.empty((len(rows), len(self.targets)), self.x.dtype)
            for start in range(0, len(rows), BATCH):
                stored[start : start + BATCH] = self._similarity(rows[start : start + BATCH])
            self.places[rows] = np.arange(len(rows))
            self.stored = stored
        return self.stored

    def _similarity(self, rows: Rows) -> Floats:
        if self.stored is not None:
            return self.stored[self.places[rows]]
        return self.kernel(self.x[rows] @ self.targets.T)

    def add(self, rows: Rows) -> None:
        """Counts ``rows`` as picked."""
        for part in batches(rows):
            np.maximum(self.covered, self._similarity(part).max(axis=0), out=self.covered)

    def gains(self, rows: Rows) -> NDArray[np.float64]:
        """(len(rows),) what each of the rows would add now."""
        out = np.empty(len(rows))
        if self.stored is not None:
            from loop.scorers import coverage_kernel

            coverage_kernel.gains(self.stored, self.places[rows], self.covered, self.weights, out)
            return out
        start = 0
        for part in batches(rows):
            similarity = self._similarity(part)
            similarity -= self.covered
            np.maximum(similarity, 0, out=similarity)
            out[start : start + len(part)] = similarity @ self.weights
            start += len(part)
        return out


def greedy(state: Coverage, budget: int, available: NDArray[np.bool_]) -> list[int]:
    """Picks in order, at most ``budget``."""
    bounds = np.full(state.n, -np.inf)
    open_ = np.flatnonzero(available)
    bounds[open_] = state.gains(open_)
    order: list[int] = []
    while len(order) < min(budget, len(open_)):
        row = _best(state, bounds, fresh=not order)
        order.append(row)
        bounds[row] = -np.inf
        state.add(np.array([row]))
    return order


def exchanged(
    state: Coverage, budget: int, available: NDArray[np.bool_], rng: np.random.Generator
) -> list[int]:
    """The greedy's picks after exchanges, ordered by what each adds to those before it.

    Candidates are the available rows, or as many of them, drawn at random, as ``fitting`` allows.
    They are tried central ones first, so that their order in the pool does not matter.
    """
    from loop.scorers import coverage_kernel

    before, rows = state.covered.copy(), np.flatnonzero(available)
    most = max(state.fitting(), budget)
    if len(rows) > most:
        rows = np.sort(rng.choice(rows, most, replace=False))
    stored, candidates = state.hold(rows), np.zeros(state.n, bool)
    candidates[rows] = True
    picks = np.array(greedy(state, budget, candidates), np.int64)
    state.covered = before
    if len(picks) in (0, len(rows)):
        return [int(row) for row in picks]
    central = rows[np.argsort(-state.gains(rows), kind="stable")]
    where = state.places[picks]
    coverage_kernel.exchange(
        stored, state.places[central], where, before, state.weights, PASSES, GAIN
    )
    chosen = np.isin(state.places, where) & candidates
    return greedy(state, budget, chosen)


def _best(state: Coverage, bounds: NDArray[np.float64], *, fresh: bool) -> int:
    """The row of the largest gain now; ``bounds`` of the rows looked at become their gains."""
    if fresh:
        best = float(bounds.max())
        return int(np.flatnonzero(bounds >= best - TIE * abs(best))[0])
    best, size = -np.inf, 8
    stale = bounds > -np.inf
    while True:
        limit = best - TIE * abs(best) if best > -np.inf else -np.inf
        rows = np.flatnonzero(stale & (bounds >= limit))
        if not len(rows):
            break
        if len(rows) > size:
            rows = rows[np.argpartition(bounds[rows], len(rows) - size)[len(rows) - size :]]
        rows.sort()
        bounds[rows] = state.gains(rows)
        stale[rows] = False
        best = max(best, float(bounds[rows].max()))
        size = min(2 * size, BATCH)
    looked_at = ~stale & (bounds >= best - TIE * abs(best))
    return int(np.flatnonzero(looked_at & (bounds > -np.inf))[0])


def batches(rows: Rows, size: int = BATCH) -> Iterator[Rows]:
    """``rows`` in parts of at most ``size``."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
