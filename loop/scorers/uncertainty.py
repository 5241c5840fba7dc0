"""Uncertainty of the current model: entropy, margin, least confidence.

P is the model's (N, C) class probabilities, P1 >= P2 its two largest entries of a row.
Source: the standard definitions (Settles 2009); DeepCore's version without class balance keeps the
most certain images instead (its issue 11), which is a reversed sign, not a variant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.errors import DataError
from loop.scorers.base import Inputs, Scorer


def probabilities_of(inputs: Inputs) -> NDArray[np.float64]:
    """(N, C) float64.

    Raises:
        DataError: there is no model, or its rows are no probabilities.
    """
    if inputs.probabilities is None:
        raise DataError("this scorer needs a model's probabilities; label a first round")
    p = np.asarray(inputs.probabilities, dtype=np.float64)
    if len(p) != inputs.n or not np.isfinite(p).all():
        raise DataError(f"probabilities must be finite, one row per image; got shape {p.shape}")
    return p


@dataclass(frozen=True)
class Entropy(Scorer):
    """-sum P log P."""

    needs: ClassVar[frozenset[str]] = frozenset({"probabilities"})
    cost: ClassVar[str] = "nC"
    source: ClassVar[str] = "Settles 2009, Active Learning Literature Survey"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        p = probabilities_of(inputs)
        return -np.sum(p * np.log(np.maximum(p, 1e-300)), axis=1)


@dataclass(frozen=True)
class Margin(Scorer):
    """Minus (P1 - P2): the smaller the lead of the best class, the sooner."""

    needs: ClassVar[frozenset[str]] = frozenset({"probabilities"})
    cost: ClassVar[str] = "nC"
    source: ClassVar[str] = "Scheffer et al. 2001; Settles 2009"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        p = probabilities_of(inputs)
        if p.shape[1] < 2:
            return np.zeros(inputs.n)
        top = np.partition(p, -2, axis=1)[:, -2:]
        return top[:, 0] - top[:, 1]


@dataclass(frozen=True)
class LeastConfidence(Scorer):
    """1 - P1."""

    needs: ClassVar[frozenset[str]] = frozenset({"probabilities"})
    cost: ClassVar[str] = "nC"
    source: ClassVar[str] = "Lewis and Gale 1994; Settles 2009"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        return 1 - probabilities_of(inputs).max(axis=1)
