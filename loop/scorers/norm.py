"""Feature norms: images with long feature vectors first, randomly, and in new directions.

Four modes. ``rank``: longest first. ``sample``: drawn without replacement in proportion to |f_i|
(keys u^(1/|f_i|), one order for all budgets). ``gram_schmidt``: drawn in proportion to the length
of what is left of f_i after projecting out the earlier picks. ``greedy``: the same, but always the
longest rest (column-pivoted QR). A d-dimensional space is used up after rank(F) <= d picks; then a
new orthogonal block begins over the unpicked rows. Zero rows come last, at random. All nested.

Only squared lengths r_i are kept: with q the unit rest of the pick, r_i -= (f_i . q)^2, clamped at
0; q is orthogonalised twice against the block's basis. Raw features, since lengths are the signal.

Source: Bar & Giryes 2024, arXiv 2406.01086 (abstract and formula p_i = |f_i| / sum |f|). No code
is published: ``gram_schmidt`` is a reconstruction and marked experimental.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.geometry import squared_norms, transform
from loop.scorers.base import Inputs, Scorer, rank_scores

MODES = ("rank", "sample", "gram_schmidt", "greedy")
LEFT = 1e-6
"""A block ends when the longest rest is below this part of the block's longest row."""


@dataclass(frozen=True)
class Norm(Scorer):
    """Norm-based selection.

    Attributes:
        mode: rank, sample, gram_schmidt (experimental) or greedy.
        geometry: raw, or standard and unit, in which only directions are left.
    """

    mode: str = "gram_schmidt"
    geometry: str = "raw"
    cost: ClassVar[str] = "nd (rank, sample); nd per pick (gram_schmidt, greedy); memory n + d^2"
    source: ClassVar[str] = "Bar & Giryes 2024, arXiv 2406.01086; no code, reconstructed"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {self.mode!r}")

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        x = transform(inputs.embeddings, self.geometry)
        if self.mode in ("rank", "sample"):
            return self._in_one_pass(x, inputs)
        budget = min(inputs.budget, int(inputs.available.sum()))
        rng = inputs.rng if self.mode == "gram_schmidt" else None
        order = new_directions(x, budget, inputs.available, rng)
        if len(order) < budget:  # only zero rows are left
            rest = np.setdiff1d(np.flatnonzero(inputs.available), order)
            order = np.concatenate([order, inputs.rng.permutation(rest)[: budget - len(order)]])
        return rank_scores(order, inputs.n)

    def _in_one_pass(self, x: NDArray[np.float32], inputs: Inputs) -> NDArray[np.float64]:
        lengths = np.sqrt(squared_norms(x))
        if self.mode == "rank":
            return lengths
        draws = 1.0 - inputs.rng.random(inputs.n)  # (0, 1]
        keys = np.full(inputs.n, -np.inf)
        np.divide(np.log(draws), lengths, out=keys, where=lengths > 0)
        return rank_scores(np.lexsort((draws, -keys)), inputs.n)


def new_directions(
    x: NDArray[np.float32],
    k: int,
    available: NDArray[np.bool_],
    rng: np.random.Generator | None,
) -> NDArray[np.int64]:
    """Up to k rows in order (fewer when only zero rows are left). ``rng`` None: longest rest first,
    lowest row on ties; otherwise drawn in proportion to the length of the rest."""
    lengths = squared_norms(x)
    lengths[~available] = 0.0
    order: list[int] = []
    rest, basis, longest = lengths, np.empty((0, x.shape[1])), 0.0
    while len(order) < k:
        if not len(basis) or len(basis) >= x.shape[1] or rest.max() <= LEFT**2 * longest:
            rest, basis, longest = lengths.copy(), np.empty((0, x.shape[1])), float(lengths.max())
            if longest == 0.0:
                break
        row = _choose(rest, rng)
        order.append(row)
        lengths[row] = rest[row] = 0.0
        direction = x[row].astype(np.float64)
        for _ in range(2):
            direction -= basis.T @ (basis @ direction)
        direction /= np.linalg.norm(direction)
        basis = np.vstack([basis, direction])
        rest -= (x @ direction.astype(x.dtype)).astype(np.float64) ** 2
        np.maximum(rest, 0.0, out=rest)
        rest[lengths == 0.0] = 0.0
    return np.array(order, np.int64)


def _choose(rest: NDArray[np.float64], rng: np.random.Generator | None) -> int:
    if rng is None:
        return int(np.argmax(rest))
    steps = np.cumsum(np.sqrt(rest))
    row = int(np.searchsorted(steps, rng.random() * steps[-1], side="right"))
    return min(row, int(np.flatnonzero(rest)[-1]))
