"""Linear heads on frozen embeddings: what ``linear`` and ``propagate`` deliver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.softmax import softmax
from loop.train.base import Classifier, Task

Matrix = NDArray[np.float64]

BLOCK = 4096
"""Rows that are predicted at once."""
LEAST = 1e-6
"""Probability below which a head's answer counts as this, where two are blended."""


@dataclass(frozen=True)
class Head:
    """A fitted linear probe on standardised embeddings: softmax((x - mean) weights + bias).

    Attributes:
        weights: (D, C) float64.
        mean: (D,) float64 of the labelled rows.
        bias: (C,) float64.
        notes: see ``Trained.notes``.
        held_out: (k, C) probabilities of each labelled row by folds without it; NaN for a row that
            was never held out, None without cross-validation.
    """

    weights: Matrix
    mean: Matrix
    bias: Matrix
    notes: dict[str, Any]
    held_out: Matrix | None = None


@dataclass(frozen=True)
class Probe(Classifier):
    """P heads on standardised embeddings of D dimensions; their answers are blended.

    Attributes:
        mean, std: (D,) float64 of the pool's embeddings.
        weights: (P, D, C) float64.
        bias: (P, C) float64.
        shares: (P,) float64 of each head in the blend, their sum is 1.
    """

    mean: Matrix
    std: Matrix
    weights: Matrix
    bias: Matrix
    shares: Matrix
    wants: ClassVar[str] = "embeddings"

    @classmethod
    def of(cls, task: Task, heads: Sequence[tuple[float, Head]]) -> Probe:
        """Of (share, head) pairs on embeddings standardised as ``task.standardised`` does."""
        return cls(
            *task.statistics,
            np.stack([head.weights for _, head in heads]),
            np.stack([head.bias - head.mean @ head.weights for _, head in heads]),
            np.array([share for share, _ in heads]),
        )

    @property
    def dim(self) -> int:
        """D, columns of the embeddings."""
        return len(self.mean)

    def probabilities(self, rows: NDArray[Any], device: str = "cpu") -> Matrix:
        """(M, D) embeddings as they are -> (M, C) float64; the CPU is used on every device."""
        predicted = np.empty((len(rows), self.bias.shape[1]))
        for start in range(0, len(rows), BLOCK):
            block = slice(start, start + BLOCK)
            x = (rows[block] - self.mean) / self.std
            predicted[block] = self._blended(x)
        return predicted

    def _blended(self, x: Matrix) -> Matrix:
        """(M, D) standardised rows -> (M, C)."""
        each = [
            softmax(x @ weights + bias, axis=-1)
            for weights, bias in zip(self.weights, self.bias, strict=True)
        ]
        return each[0] if len(each) == 1 else blend(self.shares.tolist(), each)

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {
            "mean": self.mean,
            "std": self.std,
            "weights": self.weights,
            "bias": self.bias,
            "shares": self.shares,
        }

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Probe:
        return cls(**{name: np.asarray(value, np.float64) for name, value in tensors.items()})


def blend(shares: Sequence[float], probabilities: Sequence[Matrix]) -> Matrix:
    """(M, C) normalised geometric mean of (M, C) probabilities, weighted by ``shares``."""
    pairs = zip(shares, probabilities, strict=True)
    logits = np.sum([share * np.log(np.maximum(p, LEAST)) for share, p in pairs], axis=0)
    return softmax(logits, axis=-1)
