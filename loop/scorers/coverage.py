"""Greedy maximisation of generalised coverage, for maxherding, uherding, facility and kmedoids.

Coverage of a set S: sum_j w_j max_{i in S} k(i, j) over reference rows j, with a similarity k >= 0
that is a function of the dot product of rows. With m_j the similarity of j to S so far, the gain of
a candidate i is sum_j w_j max(k(i, j) - m_j, 0). Gains only fall while S grows (submodularity), so
an old gain is an upper bound: candidates are evaluated again in batches, best bound first, until no
bound exceeds the best gain (lazy greedy, Minoux 1978). The picks are those of the plain greedy,
whose coverage is at least 1 - 1/e of the best. Similarities to the reference rows are stored where
all would fit into ``MATRIX_BYTES``, and computed again for each batch of candidates otherwise.

Gains that agree to ``TIE`` (relative) are a tie; the lowest row wins.

``exchanged`` improves the greedy's set: it exchanges one pick for one other row while coverage
grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from loop.scorers.base import Inputs
from loop.scorers.similarities import BATCH, Floats, Rows, Similarities, stored

Kernel = Callable[[Floats], Floats]
"""(A, B) dot products -> (A, B) similarities; may work in place."""

TIE = 1e-9
IN_CACHE = 16
"""Rows of products that a kernel, which goes over them several times, is given at once."""
MATRIX_BYTES = 2 << 30
"""Decides how many rows are candidates for an exchange, so a change of it changes picks."""
PASSES, LEAST_GAIN = 20, 1e-6
"""Exchanges end after so many passes over the candidates, or when none gains this (relative)."""
KEPT_BYTES = 512 << 20
"""Products of a pool are kept for later rounds if they take no more."""
SMALL = 2000
"""Pools of at most this many rows are computed in float64."""


def references(n: int, most: int, rng: np.random.Generator, rows: Rows | None = None) -> Rows:
    """Reference rows, ascending: all, or a uniform sample of ``most`` of them (0: no limit)."""
    rows = np.arange(n) if rows is None else rows
    if most and len(rows) > most:
        return np.sort(rng.choice(rows, size=most, replace=False))
    return rows


class Coverage:
    """How well each of the R reference rows is covered by the picks so far.

    Args:
        x: (N, D) rows in the geometry of the method.
        kernel: dot products -> similarities.
        weights: (N,) >= 0, how much each row counts; default 1.
        refs: (R,) rows on which coverage is measured; default all.
        products: (N, N) dot products of ``x``, where they are at hand; not changed.
    """

    def __init__(
        self,
        x: NDArray[np.float32],
        kernel: Kernel,
        *,
        weights: NDArray[np.float64] | None = None,
        refs: Rows | None = None,
        products: Floats | None = None,
    ) -> None:
        dtype = _dtype(len(x))
        self.n = len(x)
        refs = np.arange(len(x)) if refs is None else refs
        self.x: Floats = np.asarray(x, dtype=dtype)
        self.targets: Floats = self.x if len(refs) == len(x) else self.x[refs]
        self.products = products if len(refs) == len(x) else None
        self.kernel = kernel
        weights = np.ones(len(x)) if weights is None else weights
        self.weights: Floats = np.asarray(weights[refs], dtype=dtype)
        self.covered: Floats = np.zeros(len(refs), dtype)
        self.stored: Similarities | None = None
        self.stored_index: Rows = np.full(self.n, -1)
        if self.n <= self.capacity():
            self.store(np.arange(self.n))

    def capacity(self) -> int:
        """Number of rows whose similarities fit into ``MATRIX_BYTES``."""
        return MATRIX_BYTES // max(1, len(self.targets) * self.x.dtype.itemsize)

    def store(self, rows: Rows) -> Similarities:
        """Stores the similarities of ``rows``; from then on no other rows may be asked for, and no
        row picked so far may be taken back. ``stored_index`` (N,) maps rows of the pool to them, or
        -1."""
        if self.stored is None:
            self.stored = stored(self._similarity, rows, self.covered)
            self.stored_index[rows] = np.arange(len(rows))
        return self.stored

    def _similarity(self, rows: Rows) -> Floats:
        """(len(rows), R)."""
        if self.stored is not None:
            return self.stored.of(self.stored_index[rows])
        if self.products is None:
            similarity: Floats = self.x[rows] @ self.targets.T
        else:
            similarity = self.products[rows]
        for start in range(0, len(rows), IN_CACHE):
            similarity[start : start + IN_CACHE] = self.kernel(similarity[start : start + IN_CACHE])
        return similarity

    def add(self, rows: Rows) -> None:
        """Counts ``rows`` as picked."""
        for batch in batches(rows):
            np.maximum(self.covered, self._similarity(batch).max(axis=0), out=self.covered)

    def gains(self, rows: Rows) -> NDArray[np.float64]:
        """(len(rows),) coverage that each of the rows would add to the picks so far."""
        if self.stored is not None:
            return self.stored.gains(self.stored_index[rows], self.covered, self.weights)
        parts: list[Floats] = [np.empty(0)]
        for batch in batches(rows):
            similarity = self._similarity(batch)
            similarity -= self.covered
            np.maximum(similarity, 0, out=similarity)
            parts.append(similarity @ self.weights)
        return np.concatenate(parts, dtype=np.float64)


def products(inputs: Inputs, geometry: str) -> Floats | None:
    """(N, N) dot products of a pool's rows, which its rounds and methods have in common; None where
    nothing is kept for further rounds, or these would take too much room."""
    dtype = _dtype(inputs.n)
    if inputs.once is None or inputs.n**2 * np.dtype(dtype).itemsize > KEPT_BYTES:
        return None

    def computed() -> Floats:
        x = np.asarray(inputs.rows(geometry), dtype=dtype)
        together = np.empty((len(x), len(x)), dtype)
        for batch in batches(np.arange(len(x))):
            together[batch] = x[batch] @ x.T
        return together

    kept: Floats = inputs.once(("products", geometry), computed)
    return kept


def _dtype(n: int) -> type[np.floating]:
    return np.float64 if n <= SMALL else np.float32


def greedy(state: Coverage, budget: int, available: NDArray[np.bool_]) -> list[int]:
    """Picks in order, at most ``budget``; nested."""
    rows = np.flatnonzero(available)
    bounds = np.full(state.n, -np.inf)
    bounds[rows] = state.gains(rows)
    order: list[int] = []
    while len(order) < min(budget, len(rows)):
        row = _best(state, bounds, fresh=not order)
        order.append(row)
        bounds[row] = -np.inf
        state.add(np.array([row]))
    return order


def exchanged(
    state: Coverage, budget: int, available: NDArray[np.bool_], rng: np.random.Generator
) -> list[int]:
    """The greedy's picks after exchanges, ordered by what each adds to those before it.

    Candidates are the available rows, or a random sample as large as ``capacity`` allows. They are
    tried central ones first, so that their order in the pool does not matter.
    """
    covered_before = state.covered.copy()
    rows = _candidates(state, budget, available, rng)
    similarities = state.store(rows)
    is_candidate = np.zeros(state.n, bool)
    is_candidate[rows] = True
    picks = greedy(state, budget, is_candidate)
    state.covered = covered_before
    if len(picks) in (0, len(rows)):
        return picks
    central_first = rows[np.argsort(-state.gains(rows), kind="stable")]
    candidates = state.stored_index[central_first]
    chosen = state.stored_index[np.array(picks)]
    similarities.exchange(candidates, chosen, covered_before, state.weights, PASSES, LEAST_GAIN)
    is_chosen = np.isin(state.stored_index, chosen) & is_candidate
    return greedy(state, budget, is_chosen)


def _candidates(
    state: Coverage, budget: int, available: NDArray[np.bool_], rng: np.random.Generator
) -> Rows:
    """The available rows, ascending, or a uniform sample of them that fits into memory."""
    rows = np.flatnonzero(available)
    most = max(state.capacity(), budget)
    return np.sort(rng.choice(rows, most, replace=False)) if len(rows) > most else rows


def _best(state: Coverage, bounds: NDArray[np.float64], *, fresh: bool) -> int:
    """The row of the largest gain; ``bounds`` of the rows evaluated become their gains.

    ``fresh``: the bounds are the gains already.
    """
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
            highest = np.argpartition(bounds[rows], len(rows) - size)[len(rows) - size :]
            rows = rows[highest]
        rows.sort()
        bounds[rows] = state.gains(rows)
        stale[rows] = False
        best = max(best, float(bounds[rows].max()))
        size = min(2 * size, BATCH)
    tied = ~stale & (bounds >= best - TIE * abs(best)) & (bounds > -np.inf)
    return int(np.flatnonzero(tied)[0])


def batches(rows: Rows, size: int = BATCH) -> Iterator[Rows]:
    """``rows`` in consecutive parts of at most ``size``."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
