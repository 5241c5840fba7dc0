"""Facility location: the set whose nearest member is most similar to every image.

Greedy maximisation of sum_j max_{i in S} (0.5 + 0.5 cos(x_i, x_j)); the maximum over an empty set
is 0, and rows picked in earlier rounds belong to S. Nested; deterministic up to the sample of
reference rows.

Source: DeepCore (74ec709), submodular, on last-layer gradients of a model trained on labels; here
on embeddings, so label-free. Different on purpose: no N x N matrix; zero rows have cosine 0 with
everything (NaN in the original); picks keep their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.scorers.base import Inputs, Scorer, rank_scores
from loop.scorers.coverage import Coverage, Floats, greedy, products, references


@dataclass(frozen=True)
class Facility(Scorer):
    """Facility location: each image gets a pick like it.

    Attributes:
        geometry: unit (as published) or standard.
        references: rows whose similarity to the set is summed; 0: all.
    """

    geometry: str = "unit"
    references: int = 10_000
    cost: ClassVar[str] = "n r d once, then lazily (r reference rows); memory n r up to 2 GiB"
    source: ClassVar[str] = "facility location; DeepCore, on embeddings"

    def __post_init__(self) -> None:
        if self.geometry not in ("unit", "standard"):
            raise ValueError(f"geometry must be unit or standard, got {self.geometry!r}")

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        x = inputs.rows(self.geometry)
        refs = references(inputs.n, self.references, inputs.rng)
        state = Coverage(x, half_cosine, refs=refs, products=products(inputs, self.geometry))
        state.add(np.flatnonzero(inputs.covered))
        return rank_scores(greedy(state, inputs.budget, inputs.available), inputs.n)


def half_cosine(dots: Floats) -> Floats:
    """0.5 + 0.5 cos of unit rows from their dot products; works in place."""
    dots *= 0.5
    dots += 0.5
    return dots
