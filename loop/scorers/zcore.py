"""ZCore: coverage of random points in random sub-spaces, minus redundancy. Label-free.

One draw: choose ``sample_dim`` dimensions; draw a point, each coordinate from
Triangular(min, median, max) of its dimension; the image nearest in L1 gets +1 (ties: lowest row);
the winner's ``neighbours`` nearest images share -1 in proportion to distance ** -exponent. If some
coincide with the winner, they alone share the -1. Every draw adds and subtracts exactly 1, so raw
scores sum to 0. Finally U(0, 1) is added (it orders images that no draw touched) and the scores are
scaled to [0, 1].

Source: Griffin et al., arXiv 2411.15349 (WACV 2026); voxel51/zcore core/coreset/zcore.py.
Different on purpose: independent random streams (the published workers share one stream, so that 10
workers repeat 100,000 draws ten times: ``replicas`` = 10 reproduces that); weights are powers of
(smallest distance / distance), where the original's float32 powers underflow to NaN; constant
dimensions are never drawn (they crash the original); NaN is refused; rows that coincide with the
winner, or tie for the last of the nearest, share, where the original leaves the choice to an
unstable sort.

Exactness of the fast path: along one sorted dimension |x_a - q_a| is a lower bound of the L1
distance, so looking both ways until the bound exceeds the best is exact; and rows within L1 radius
r all lie in the strip |x_a - c_a| <= r. The weights depend only on which rows are the k nearest, so
counting replaces sorting. Scores are sums over draws: their order does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.device import resolve
from loop.engine import LOCAL, Engine, in_order
from loop.errors import DataError
from loop.scorers.base import Inputs, Scorer, check_finite

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PIECES = 64
"""Parts of the draws that an engine may compute separately."""
BLOCKS = 16
"""Accumulators of a piece; both numbers are fixed, so that sums depend on no thread or engine."""
MOST_DRAWS = 1_000_000
"""The published number of draws; the upper bound of ``draws_per_item`` times images."""
RELIABILITY_DRAWS = 100_000


@dataclass(frozen=True)
class ZCore(Scorer):
    """ZCore: images that cover random subspaces of the embeddings.

    Attributes:
        draws: number of distinct draws; 0: ``draws_per_item`` per image, at most a million.
        draws_per_item: draws per image, for ``draws`` = 0.
        sample_dim: dimensions per draw.
        neighbours: number of images that share the redundancy of a winner.
        exponent: power of the inverse distance.
        replicas: each draw counts this many times (10 reproduces the published worker bug).
        scale: "none" as published, or "rms": divide each encoder's block of dimensions by its
            root mean square, so that no encoder dominates by its numeric range.
        blocks: widths of the concatenated encoders, for ``scale``; empty: one block.
    """

    draws: int = 0
    draws_per_item: int = 100
    sample_dim: int = 2
    neighbours: int = 1000
    exponent: float = 4.0
    replicas: int = 1
    scale: str = "none"
    blocks: tuple[int, ...] = ()
    cost: ClassVar[str] = "draws x window of n; memory nd + 16n"
    source: ClassVar[str] = "Griffin et al. 2026, arXiv 2411.15349; voxel51/zcore"

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(self.blocks))
        if self.scale not in ("none", "rms"):
            raise ValueError(f"scale must be 'none' or 'rms', got {self.scale!r}")
        if min(self.sample_dim, self.neighbours, self.replicas) < 1:
            raise ValueError("sample_dim, neighbours and replicas must be at least 1")

    def score(self, inputs: Inputs) -> Floats:
        if inputs.n <= 1:
            return np.full(inputs.n, 0.5)
        x = self._scaled(inputs.embeddings)
        raw = self._raw(x, self._draws(inputs.n), inputs) * self.replicas
        raw += inputs.rng.random(inputs.n)
        return (raw - raw.min()) / max(float(np.ptp(raw)), 1e-300)

    def explain(self, inputs: Inputs) -> dict[str, Any]:
        """Split-half reliability of the order: Spearman's correlation between two independent
        halves, extrapolated to the full number of draws by the Spearman-Brown formula."""
        if inputs.n <= 2:
            return {}
        from scipy.stats import spearmanr

        x = self._scaled(inputs.embeddings)
        draws = self._draws(inputs.n)
        half = max(1, min(draws // 2, RELIABILITY_DRAWS))
        first_half = self._raw(x, half, inputs)
        second_half = self._raw(x, half, inputs)
        if not np.ptp(first_half) or not np.ptp(second_half):
            return {"draws": draws, "reliability": None}
        correlation = float(spearmanr(first_half, second_half).statistic)
        return {"draws": draws, "reliability": round(spearman_brown(correlation, draws / half), 3)}

    def _draws(self, n: int) -> int:
        return self.draws or min(self.draws_per_item * n, MOST_DRAWS)

    def _raw(self, x: NDArray[np.float32], draws: int, inputs: Inputs) -> Floats:
        """(N,) sums over so many fresh draws."""
        dims = varying_dims(x)
        if not len(dims):
            return np.zeros(len(x))
        chosen, points = sample_draws(x, dims, draws, min(self.sample_dim, len(dims)), inputs.rng)
        device = resolve(inputs.device)
        if device.startswith("cuda"):
            from loop.scorers.zcore_torch import accumulate as on_device

            return on_device(x, chosen, points, self.neighbours, self.exponent, device=device)[0]
        return accumulate(x, chosen, points, self.neighbours, self.exponent, engine=inputs.engine)

    def _scaled(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Each block of dimensions divided by its root mean square, for ``scale`` "rms"."""
        if self.scale == "none":
            return x
        widths = self.blocks or (x.shape[1],)
        if sum(widths) != x.shape[1]:
            raise DataError(f"blocks {widths} do not add up to the {x.shape[1]} dimensions")
        scaled = []
        for block in np.split(x, np.cumsum(widths)[:-1], axis=1):
            root_mean_square = float(np.sqrt(np.mean(block.astype(np.float64) ** 2)))
            scaled.append(block / max(root_mean_square, 1e-30))
        return np.concatenate(scaled, axis=1, dtype=np.float32)


def spearman_brown(reliability: float, factor: float) -> float:
    """Reliability of a measurement ``factor`` times as long; a reliability below 0 is kept."""
    if reliability <= 0:
        return reliability
    return factor * reliability / (1 + (factor - 1) * reliability)


def varying_dims(x: NDArray[np.float32]) -> Ints:
    """Dimensions that are not constant, ascending int64."""
    return np.flatnonzero(x.min(axis=0) < x.max(axis=0)).astype(np.int64)


def sample_draws(
    x: NDArray[np.float32], dims: Ints, draws: int, m: int, rng: np.random.Generator
) -> tuple[Ints, Floats]:
    """(T, m) distinct dimensions per draw and (T, m) points from the triangular distributions.

    Args:
        dims: dimensions to draw from.
        draws: T.
        m: dimensions per draw.
    """
    lower = x[:, dims].min(axis=0).astype(np.float64)
    upper = x[:, dims].max(axis=0).astype(np.float64)
    mode = np.median(x[:, dims], axis=0).astype(np.float64)
    d = len(dims)
    if m == 2:  # distinct pairs without rejection
        first = rng.integers(d, size=draws)
        second = (first + 1 + rng.integers(d - 1, size=draws)) % d
        chosen = np.stack([first, second], axis=1)
    else:  # Floyd's sampling, all draws at once: j is chosen where the number drawn is taken
        chosen = np.empty((draws, m), np.int64)
        for i, j in enumerate(range(d - m, d)):
            drawn = rng.integers(j + 1, size=draws)
            taken = (chosen[:, :i] == drawn[:, None]).any(axis=1)
            chosen[:, i] = np.where(taken, j, drawn)
    points = rng.triangular(lower[chosen], mode[chosen], upper[chosen])
    return dims[chosen], points


def accumulate(
    embeddings: NDArray[np.float32],
    dims: Ints,
    points: Floats,
    neighbours: int = 1000,
    exponent: float = 4.0,
    *,
    engine: Engine = LOCAL,
) -> Floats:
    """Raw scores of given draws.

    Args:
        embeddings: (N, D) float32, finite.
        dims: (T, m) int, the dimensions of each draw.
        points: (T, m) float64, the drawn coordinates.

    Returns:
        (N,) float64; sums to 0 for N >= 2. Independent of the number of threads and the engine.

    Raises:
        DataError: a row is not finite.
    """
    return replay(embeddings, dims, points, neighbours, exponent, engine=engine)[0]


def replay(
    embeddings: NDArray[np.float32],
    dims: Ints,
    points: Floats,
    neighbours: int = 1000,
    exponent: float = 4.0,
    *,
    engine: Engine = LOCAL,
) -> tuple[Floats, Ints]:
    """``accumulate``, and the (T,) winner of each draw."""
    check_finite(embeddings)
    n = len(embeddings)
    if n < 2 or not len(dims):
        return np.zeros(n), np.zeros(len(dims), np.int64)
    columns = np.ascontiguousarray(np.asarray(embeddings, dtype=np.float32).T)
    dims, points = _thin_dimension_first(columns, dims.astype(np.int64), points.astype(np.float64))
    by_dims = np.lexsort(dims.T[::-1])
    dims, points = dims[by_dims], points[by_dims]
    shared = (columns, min(neighbours, n - 1), float(exponent))
    edges = _piece_edges(dims[:, 0])
    pieces = [(dims[start:stop], points[start:stop]) for start, stop in pairwise(edges)]
    total, winners = np.zeros(n), []
    for piece_sums, piece_winners in in_order(engine.map(_piece, shared, pieces)):
        total += piece_sums
        winners.append(piece_winners)
    winners_of_draws = np.empty(len(dims), np.int64)
    winners_of_draws[by_dims] = np.concatenate(winners)
    return total, winners_of_draws


def _thin_dimension_first(
    columns: NDArray[np.float32], dims: Ints, points: Floats
) -> tuple[Ints, Floats]:
    """Draws of two dimensions with the thinly populated one first; others as they are.

    The strip of rows that a draw looks at is narrow where the dimension that is sorted is thinly
    populated, and a sum of two distances is the same in both orders.
    """
    if dims.shape[1] == 2:
        first, second = (_density(columns, dims[:, j], points[:, j]) for j in (0, 1))
        swap = first > second
        dims[swap], points[swap] = dims[swap, ::-1], points[swap, ::-1]
    return dims, points


def _piece_edges(first_dims: Ints) -> Ints:
    """Edges of the pieces of draws, which are sorted by their first dimension: pieces of about the
    same size that never separate the draws of one dimension."""
    edges = np.flatnonzero(np.diff(first_dims, prepend=-1, append=-1))
    even = np.linspace(0, len(first_dims), PIECES + 1)
    return np.unique(edges[np.searchsorted(edges, even)])


def _density(columns: NDArray[np.float32], dims: Ints, points: Floats) -> Floats:
    """(T,) rough marginal density of each point in its dimension, from a histogram of quantiles."""
    step = max(1, columns.shape[1] // 4096)
    shares = np.linspace(0, 1, 65)
    density = np.zeros(len(dims))
    by_dim = np.argsort(dims, kind="stable")
    edges = np.searchsorted(dims[by_dim], np.arange(len(columns) + 1))
    for dim in np.unique(dims):
        draws = by_dim[edges[dim] : edges[dim + 1]]
        quantiles = np.quantile(columns[dim, ::step], shares)
        heights = 1.0 / np.maximum(np.diff(quantiles), 1e-300)
        bins = np.searchsorted(quantiles, points[draws], side="right") - 1
        density[draws] = heights[np.clip(bins, 0, len(heights) - 1)]
    return density


def _piece(
    shared: tuple[NDArray[np.float32], int, float], draws: tuple[Ints, Floats]
) -> tuple[Floats, Ints]:
    """Sums (N,) and winners (T,) of draws in lexicographic order of their dimensions."""
    from loop.scorers import zcore_kernel

    columns, k, exponent = shared
    columns, dims, points = _read_only(columns), _read_only(draws[0]), _read_only(draws[1])
    n, m = columns.shape[1], dims.shape[1]
    total = np.zeros(n)
    floats, doubles = np.empty((BLOCKS, 1 + m, n), np.float32), np.empty((BLOCKS, n))
    winners = np.empty(len(dims), np.int64)
    edges = np.flatnonzero(np.diff(dims[:, 0], prepend=-1, append=-1))
    for start, stop in pairwise(edges):
        order = np.argsort(columns[dims[start, 0]]).astype(np.int32)
        sums = np.zeros((BLOCKS, n))
        zcore_kernel.run(
            columns,
            order,
            columns[dims[start, 0]][order],
            dims,
            points,
            np.linspace(start, stop, BLOCKS + 1).astype(np.int64),
            k,
            exponent,
            floats,
            doubles,
            sums,
            winners,
        )
        total[order] += sums.sum(axis=0)
    return total, winners


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view, as an engine hands arrays over: numba would compile the kernel a second
    time for writable arrays."""
    view = array.view()
    view.flags.writeable = False
    return view
