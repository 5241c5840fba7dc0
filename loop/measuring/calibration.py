"""Calibration of a model's probabilities by one number, the temperature, from held-out answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loop.train.kept import tempered
from loop.train.metrics import calibration_error

WIDEST = 20.0
"""The temperature lies between one over this and this."""
PRIOR = 1.0
"""Standard deviation of log T: few answers that are all right do not make the model certain."""
FOLDS = 5


@dataclass(frozen=True)
class Calibration:
    """The temperature and what it does to answers that it was not fitted to.

    Attributes:
        temperature: T of softmax(log p / T).
        error: expected calibration error before and after, in [0, 1].
        log_loss: mean negative log-probability of the true class before and after, in nats.
        n: images that it comes from.
    """

    temperature: float
    error: tuple[float, float]
    log_loss: tuple[float, float]
    n: int


def calibrate(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> Calibration:
    """Of (n, C) answers of models that did not learn these images, in random order, and their (n,)
    true classes; "after" is cross-fitted over ``FOLDS`` parts."""
    n = len(labels)
    after = np.empty_like(probabilities)
    part = np.arange(n) % min(FOLDS, n)
    for number in range(int(part.max()) + 1):
        rest = part != number
        fitted = fit_temperature(probabilities[rest], labels[rest])
        after[~rest] = tempered(probabilities[~rest], fitted)
    both = (probabilities, after)
    return Calibration(
        fit_temperature(probabilities, labels),
        (calibration_error(both[0], labels), calibration_error(both[1], labels)),
        (log_loss(both[0], labels), log_loss(both[1], labels)),
        n,
    )


def fit_temperature(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """T of the least log-loss, drawn towards 1 by ``PRIOR``; 1 without any answer."""
    from scipy.optimize import minimize_scalar

    if not len(labels):
        return 1.0

    def loss(log_t: float) -> float:
        answers = tempered(probabilities, float(np.exp(log_t)))
        return log_loss(answers, labels) * len(labels) + (log_t / PRIOR) ** 2 / 2

    bound = float(np.log(WIDEST))
    return float(np.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x))


def log_loss(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean negative log-probability of the true class, in nats."""
    true = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(true, 1e-12)).mean())
