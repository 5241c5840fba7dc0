"""Feature norms: images with long feature vectors f_i are preferred.

Four modes. ``rank``: longest first. ``sample``: drawn without replacement in proportion to |f_i|
(keys u^(1/|f_i|), one order for all budgets). ``gram_schmidt``: drawn in proportion to the length
of the residual of f_i after projecting out the earlier picks. ``greedy``: always the longest
residual (column-pivoted QR). A d-dimensional space is used up after rank(F) <= d picks; then a new
orthogonal block begins over the unpicked rows. Zero rows come last, at random. All are nested.

Only squared lengths r_i of residuals are kept: with q the unit residual of the pick,
r_i -= (f_i . q)^2, at least 0; q is orthogonalised twice against the block's basis. Raw features by
default, since lengths are the signal.

Source: Bar & Giryes 2024, arXiv 2406.01086 (abstract and formula p_i = |f_i| / sum |f|). No code
is published: ``gram_schmidt`` is a reconstruction and marked experimental.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.geometry import squared_norms
from loop.scorers.base import Inputs, Scorer, rank_scores

MODES = ("rank", "sample", "gram_schmidt", "greedy")
LEAST_RESIDUAL = 1e-6
"""A block ends when its longest residual is shorter than this times its longest row."""


@dataclass(frozen=True)
class Norm(Scorer):
    """Images whose embedding has a large norm.

    Attributes:
        mode: rank, sample, gram_schmidt (experimental) or greedy.
        geometry: raw, or standard or unit, in which rows differ by direction only.
    """

    mode: str = "gram_schmidt"
    geometry: str = "raw"
    cost: ClassVar[str] = "nd (rank, sample); nd per pick (gram_schmidt, greedy); memory n + d^2"
    source: ClassVar[str] = "Bar & Giryes 2024, arXiv 2406.01086; no code, reconstructed"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {self.mode!r}")

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        x = inputs.rows(self.geometry)
        if self.mode == "rank":
            return np.sqrt(squared_norms(x))
        if self.mode == "sample":
            return rank_scores(weighted_order(np.sqrt(squared_norms(x)), inputs.rng), inputs.n)
        budget = min(inputs.budget, int(inputs.available.sum()))
        rng = inputs.rng if self.mode == "gram_schmidt" else None
        order = new_directions(x, budget, inputs.available, rng)
        if len(order) < budget:  # only zero rows are left
            rest = np.setdiff1d(np.flatnonzero(inputs.available), order)
            order = np.concatenate([order, inputs.rng.permutation(rest)[: budget - len(order)]])
        return rank_scores(order, inputs.n)


def weighted_order(lengths: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """(N,) rows drawn without replacement in proportion to ``lengths``; zero lengths come last.

    Efraimidis and Spirakis 2006: descending keys log(u) / length.
    """
    draws = 1.0 - rng.random(len(lengths))  # (0, 1]
    keys = np.full(len(lengths), -np.inf)
    np.divide(np.log(draws), lengths, out=keys, where=lengths > 0)
    return np.lexsort((draws, -keys))


def new_directions(
    x: NDArray[np.float32], k: int, available: NDArray[np.bool_], rng: np.random.Generator | None
) -> NDArray[np.int64]:
    """Up to k rows in order; fewer when only zero rows are left.

    ``rng`` None: the longest residual, lowest row on ties; otherwise drawn in proportion to the
    length of the residual.
    """
    dims = x.shape[1]
    lengths = squared_norms(x)
    lengths[~available] = 0.0
    order: list[int] = []
    residuals, basis, longest = lengths, np.empty((0, dims)), 0.0
    while len(order) < k:
        used_up = residuals.max() <= LEAST_RESIDUAL**2 * longest
        if len(basis) in (0, dims) or used_up:
            residuals, basis, longest = lengths.copy(), np.empty((0, dims)), float(lengths.max())
            if longest == 0.0:
                break
        row = _choose(residuals, rng)
        order.append(row)
        lengths[row] = residuals[row] = 0.0
        direction = x[row].astype(np.float64)
        for _ in range(2):
            direction -= basis.T @ (basis @ direction)
        direction /= np.linalg.norm(direction)
        basis = np.vstack([basis, direction])
        residuals -= (x @ direction.astype(x.dtype)).astype(np.float64) ** 2
        np.maximum(residuals, 0.0, out=residuals)
        residuals[lengths == 0.0] = 0.0
    return np.array(order, np.int64)


def _choose(residuals: NDArray[np.float64], rng: np.random.Generator | None) -> int:
    """A row by its squared residual length, see ``new_directions``."""
    if rng is None:
        return int(np.argmax(residuals))
    cumulative = np.cumsum(np.sqrt(residuals))
    row = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
    return min(row, int(np.flatnonzero(residuals)[-1]))
