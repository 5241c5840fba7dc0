"""Uncertainty sampling by the current model: entropy, margin, least confidence.

P is the model's (N, C) class probabilities, P1 >= P2 its two largest entries of a row.
Source: the standard definitions (Settles 2009); DeepCore's version without class balance keeps the
most certain images instead (its issue 11): a reversed sign, not a variant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.errors import DataError
from loop.scorers.base import Inputs, Scorer


def probabilities_of(inputs: Inputs) -> NDArray[np.float64]:
    """The current model's class probabilities, (N, C) float64.

    Raises:
        DataError: there is no model, or its rows are not finite or not one per image.
    """
    if inputs.probabilities is None:
        raise DataError("this scorer needs a model's probabilities; label a first round")
    probabilities = np.asarray(inputs.probabilities, dtype=np.float64)
    if len(probabilities) != inputs.n or not np.isfinite(probabilities).all():
        shape = probabilities.shape
        raise DataError(f"probabilities must be finite, one row per image; got shape {shape}")
    return probabilities


@dataclass(frozen=True)
class Entropy(Scorer):
    """Entropy -sum P log P: the model is torn between classes."""

    needs: ClassVar[frozenset[str]] = frozenset({"probabilities"})
    cost: ClassVar[str] = "nC"
    source: ClassVar[str] = "Settles 2009, Active Learning Literature Survey"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        probabilities = probabilities_of(inputs)
        return -np.sum(probabilities * np.log(np.maximum(probabilities, 1e-300)), axis=1)


@dataclass(frozen=True)
class Margin(Scorer):
    """Minus the margin P1 - P2: the best class leads by little."""

    needs: ClassVar[frozenset[str]] = frozenset({"probabilities"})
    cost: ClassVar[str] = "nC"
    source: ClassVar[str] = "Scheffer et al. 2001; Settles 2009"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        probabilities = probabilities_of(inputs)
        if probabilities.shape[1] < 2:
            return np.zeros(inputs.n)
        second, first = np.partition(probabilities, -2, axis=1)[:, -2:].T
        return second - first


@dataclass(frozen=True)
class LeastConfidence(Scorer):
    """Least confidence 1 - P1: no class is likely."""

    needs: ClassVar[frozenset[str]] = frozenset({"probabilities"})
    cost: ClassVar[str] = "nC"
    source: ClassVar[str] = "Lewis and Gale 1994; Settles 2009"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        return 1 - probabilities_of(inputs).max(axis=1)
