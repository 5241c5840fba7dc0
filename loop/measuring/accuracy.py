"""The accuracy of the delivered model, from a random sample and from what is not labelled.

Prediction-powered inference (Angelopoulos, Bates, Fannjiang, Jordan and Zrnic, Science 2023; with
the weight of PPI++, Angelopoulos, Duchi and Zrnic, arXiv 2311.01453) with models fitted across
folds (Zrnic and Candes, PNAS 2024, arXiv 2309.16598): with c = right or wrong and f = confidence,
over n sample images and N that nobody labelled,

    accuracy = mean(c) + w (mean over N of f - mean over n of f),
    w = Cov(c, f) / (Var(f) (1 + n / N)).

Where the confidence tells right from wrong the sample counts as if it were larger. Images that were
not as likely to be drawn as others have weights (``loop.measuring.active``); means, covariance and
variance are then weighted, and N is the whole that they were drawn from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loop.statistics import score_interval

INFLATION = 1.1
"""Standard deviation of the error over the binomial's: the folds share most of their labels, and
the delivered model learned more than each of them. Measured: docs/measuring.md."""


@dataclass(frozen=True)
class SampleAccuracy:
    """An accuracy in [0, 1] and its 95 % interval.

    Attributes:
        weight: w above; 0: the confidence says nothing about right and wrong.
        worth: images that a sample drawn at random would need for the same width without the
            confidences, over n.
    """

    accuracy: float
    lower: float
    upper: float
    n: int
    weight: float
    worth: float


def estimate(
    right: NDArray[np.bool_],
    confidence: NDArray[np.float64],
    unlabelled: NDArray[np.float64],
    inflation: float = INFLATION,
    weights: NDArray[np.float64] | None = None,
) -> SampleAccuracy:
    """The accuracy over the images that nobody labelled.

    Args:
        right: (n,) whether held-out sample images were classified correctly.
        confidence: (n,) of these predictions.
        unlabelled: (N,) confidences for the images that nobody labelled.
        inflation: of the standard deviation.
        weights: (n,) what each sample image counts for, adding up to 1; None: all the same.
    """
    n, n_unlabelled = len(right), len(unlabelled)
    c = right.astype(np.float64)
    counted = np.full(n, 1 / n) if weights is None else weights
    share, mean_confidence = float(counted @ c), float(counted @ confidence)
    if n <= 2 or n_unlabelled <= 1 or not 0 < c.mean() < 1:
        return _with_interval(share, n, 0.0, 1.0, inflation)
    centred, doubt = c - share, confidence - mean_confidence
    spread = float(counted**2 @ doubt**2)
    weight = 0.0
    if spread > 0:
        effective = 1 / float(counted @ counted)  # n where all count the same
        weight = float(counted**2 @ (centred * doubt)) / (spread * (1 + effective / n_unlabelled))
        weight = float(np.clip(weight, 0.0, 1.0))
    plain = 1.0  # what it is by definition where all count the same
    if weights is not None:
        plain = _worth(share, n, float(counted**2 @ centred**2) * n / (n - 1))
    residual = float(counted**2 @ (centred - weight * doubt) ** 2) * n / (n - 2)
    powered = _worth(share, n, residual + weight**2 * float(unlabelled.var()) / n_unlabelled)
    if powered <= plain:
        return _with_interval(share, n, 0.0, plain, inflation)
    accuracy = share + weight * (float(unlabelled.mean()) - mean_confidence)
    return _with_interval(accuracy, n, weight, powered, inflation)


def _worth(share: float, n: int, variance: float) -> float:
    """Images drawn at random whose share has this variance, over ``n``."""
    return share * (1 - share) / (n - 1) / variance


def _with_interval(
    accuracy: float, n: int, weight: float, worth: float, inflation: float
) -> SampleAccuracy:
    accuracy = min(max(accuracy, 0.0), 1.0)
    lower, upper = score_interval(accuracy, n * worth / inflation**2)
    return SampleAccuracy(accuracy, lower, upper, n, weight, worth)


def images_for(width: float, accuracy: float, worth: float, inflation: float = INFLATION) -> int:
    """Sample images for an interval at most so wide, at an accuracy as it is now.

    Args:
        width: in (0, 1), of the 95 % interval.
        worth: see ``SampleAccuracy``.
    """
    from scipy.optimize import brentq

    def too_wide(log_n: float) -> float:
        lower, upper = score_interval(accuracy, float(np.exp(log_n)))
        return upper - lower - width

    exact = float(np.exp(brentq(too_wide, -5.0, 30.0)))  # of images that are worth one each
    return int(np.ceil(exact * inflation**2 / worth))
