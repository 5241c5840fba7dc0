"""An opinion pool: what a model learned from labels, and what the class names say of an image.

p (T, C) is the labels' model, t what the names say, h what a head learned that saw the names' say
spread over the neighbour graph of the pool, g = sqrt(t h) normalised. Candidates mix them; each has
a weight that comes from how well it predicts labels that its p did not learn:

    d_i = log candidate_i[y_i] - log none_i[y_i],  score = sum d - sqrt(sum d^2)

(less one standard deviation), weights proportional to a first weight times exp(score). Two rules:

* ``sample``: judged on a random sample of the pool, which judges without bias. Candidates: p alone;
  p q^w for q in t, g and w of ``EXPONENTS``; t, g and sqrt(t g) alone.
* ``picks``: judged on labels of picked images, which are typical ones and flatter the names; so the
  names alone are no candidate, and p q^w is held back.

Without a label the answer is g. docs/names.md has what this was measured to gain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loop.softmax import softmax

Matrix = NDArray[np.float64]

EXPONENTS = (0.25, 0.5, 1.0, 2.0, 4.0)
FLATTENED = 0.05
"""Share of the uniform distribution in a probability that is judged or multiplied."""
HELD_BACK = 0.4
"""Share of p in what the names multiply, by the rule of picks."""
HALF = 20.0
"""Labels per class at which the names count half, by the rule of picks."""
LEAST = 1e-9
FIRST_WEIGHTS = {
    "sample": np.array([0.5, *[0.25 / 10] * 10, *[0.25 / 3] * 3]),
    "picks": np.array([0.7, *[0.3 / 10] * 10]),
}


@dataclass(frozen=True)
class Trust:
    """How far the names are trusted.

    Attributes:
        rule: ``sample``, ``picks``, or ``names`` where there is no label.
        weights: (K,) float64 of the candidates, the labels' model first; their sum is 1.
        damping: of the exponents, by the rule of picks; else 1.
    """

    rule: str
    weights: Matrix
    damping: float = 1.0

    @property
    def in_names(self) -> float:
        """Weight of all candidates that listen to the names, in [0, 1]."""
        return 1.0 if self.rule == "names" else float(1 - self.weights[0])

    def probabilities(self, p: Matrix | None, t: Matrix, h: Matrix) -> Matrix:
        """(M, C) of the pool of opinions.

        Args:
            p, t, h: (M, C) each; p None by the rule ``names``.
        """
        if self.rule == "names" or p is None:
            return geometric(t, h)
        mixed = self.weights[0] * p
        base = flattened(p, 1 - HELD_BACK) if self.rule == "picks" else flattened(p)
        others = _candidates(base, t, h, self.rule, self.damping)
        for weight, candidate in zip(self.weights[1:], others, strict=True):
            if weight > LEAST:
                mixed = mixed + weight * candidate
        return normalised(mixed)


NAMES_ALONE = Trust("names", np.ones(1))


def advantages(b: Matrix, t: Matrix, h: Matrix, y: NDArray[np.int64], rule: str) -> Matrix:
    """(n, K) log of each candidate's probability of the label over that of b, b's own column 0.

    Args:
        b: (n, C) of the labels' model, each row predicted without its own label.
        t, h: (n, C) of the names; y: (n,) labels.
    """
    rows = np.arange(len(y))
    base = flattened(b)
    alone = np.log(base[rows, y])
    columns = [np.zeros(len(y))]
    for candidate in _candidates(base, t, h, rule, 1.0):
        columns.append(np.log(np.maximum(candidate[rows, y], LEAST)) - alone)
    return np.stack(columns, axis=1)


def trust(gained: Matrix, rule: str, labels_per_class: float) -> Trust:
    """The weights of the candidates by their (n, K) ``advantages``."""
    score = gained.sum(axis=0) - np.sqrt((gained**2).sum(axis=0))
    log_weights = np.log(FIRST_WEIGHTS[rule]) + score
    weights = np.exp(log_weights - log_weights.max())
    damping = 0.5 * HALF / (HALF + labels_per_class) if rule == "picks" else 1.0
    return Trust(rule, weights / weights.sum(), damping)


def _candidates(base: Matrix, t: Matrix, h: Matrix, rule: str, damping: float) -> Iterator[Matrix]:
    """(M, C) of each candidate but the labels' model alone, in the order of the first weights."""
    g = geometric(t, h)
    log_base = np.log(np.maximum(base, LEAST))
    for expert in (t, g):
        log_expert = np.log(np.maximum(expert, LEAST))
        for exponent in EXPONENTS:
            yield softmax(log_base + exponent * damping * log_expert, axis=1)
    if rule == "sample":
        for alone in (t, g, geometric(t, g)):
            yield flattened(alone)


def geometric(first: Matrix, second: Matrix) -> Matrix:
    """(M, C) normalised geometric mean."""
    log_mean = 0.5 * (np.log(np.maximum(first, LEAST)) + np.log(np.maximum(second, LEAST)))
    return softmax(log_mean, axis=1)


def flattened(p: Matrix, share: float = FLATTENED) -> Matrix:
    """(M, C) with this share of the uniform distribution."""
    return (1 - share) * p + share / p.shape[1]


def normalised(p: Matrix) -> Matrix:
    """Rows that sum to 1."""
    return np.asarray(p / p.sum(axis=1, keepdims=True))
