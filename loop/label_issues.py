"""Label issues: labels that the other labels contradict.

Each label is judged by out-of-sample class probabilities, from a model that never saw it, and
confident learning (Northcutt, Jiang and Chuang, JAIR 2021, arXiv:1911.00068) decides which labels
to look at again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loop.softmax import softmax
from loop.train.linear import RowSpace

RIDGE_PENALTIES = 10.0 ** np.arange(-4, 3)
"""Candidates, times the mean squared norm of the centred embeddings."""
LOG_FACTORS = (0.0, 5.0)
"""Range of the logarithm of the factor on the scores."""
MIN_LABELS = 10
"""Below this number of labels none is judged."""


@dataclass(frozen=True)
class LabelIssue:
    """A label that a model of all other labels contradicts.

    Attributes:
        split: train or test; ``by``: people or model, whose label it is.
        confidence: probability of the predicted class.
        self_confidence: probability of the given label.
        label_margin: the first minus the second.
    """

    key: str
    uri: str
    split: str
    label: str
    predicted: str
    confidence: float
    self_confidence: float
    label_margin: float
    by: str = "people"


def left_out_probabilities(
    embeddings: NDArray[np.floating], labels: NDArray[np.int64], n_classes: int
) -> NDArray[np.float64]:
    """Leave-one-out class probabilities, each by a model of all labels but the image's own.

    Softmax of ``left_out_scores``, scaled by the one factor that makes the given labels likeliest
    (temperature scaling, Guo et al., ICML 2017): least-squares scores alone are far from 1 even
    where the model is nearly always right.

    Args:
        embeddings: (k, D) of the labelled images.
        labels: (k,) int64 classes in [0, C).

    Returns:
        (k, C) float64, rows that sum to 1.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    scores = left_out_scores(embeddings, labels, n_classes)

    def negative_log_likelihood(log_factor: float) -> float:
        log_probabilities = log_softmax(np.exp(log_factor) * scores, axis=1)
        return -float(log_probabilities[np.arange(len(labels)), labels].mean())

    fit = minimize_scalar(negative_log_likelihood, bounds=LOG_FACTORS, method="bounded")
    return softmax(np.exp(fit.x) * scores, axis=1)


def left_out_scores(
    embeddings: NDArray[np.floating], labels: NDArray[np.int64], n_classes: int
) -> NDArray[np.float64]:
    """(k, C) float64 leave-one-out predictions of a ridge regression on the one-hot labels.

    Leaving one out is exact and needs one fit: the residual divided by one minus the leverage
    (Allen, "The relationship between variable selection and data augmentation", 1974). The penalty
    is the one with the least squared leave-one-out error.
    """
    target = np.eye(n_classes)[labels]
    class_shares = target.mean(axis=0)
    space = RowSpace.of(np.asarray(embeddings, dtype=np.float64))
    u, moments = space.features / np.sqrt(space.moments), space.moments
    scale = float(moments.sum() / len(labels)) or 1.0
    projected = u.T @ (target - class_shares)
    best, least_error = target, np.inf
    for penalty in RIDGE_PENALTIES:
        shrinkage = moments / (moments + penalty * scale)
        fitted = class_shares + u @ (shrinkage[:, None] * projected)
        leverage = 1 / len(labels) + (u**2) @ shrinkage
        residual = (target - fitted) / np.maximum(1 - leverage, 1e-6)[:, None]
        error = float((residual**2).sum())
        if error < least_error:
            best, least_error = target - residual, error
    return best


def self_confidence(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Probability of the given label, (k,) float64 in [0, 1], from (k, C) ``probabilities``."""
    return probabilities[np.arange(len(labels)), labels]


def label_margin(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Margin of the predicted class over the given label, (k,) float64 in [0, 1].

    It is 0 where the label is the predicted class. Where it is not,
    cleanlab's normalised margin is minus this.
    """
    return probabilities.max(axis=1, initial=0.0) - self_confidence(labels, probabilities)


def find_label_issues(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Label issues by confident learning, the largest label margin first.

    A class is confident for an image whose probability reaches the class's threshold: the mean
    self-confidence of the images labelled so. An image whose likeliest confident class is not its
    label stands off the diagonal of the confident joint, and is an issue unless the model's
    prediction is the label.

    Args:
        labels: (k,) int64 given classes in [0, C).
        probabilities: (k, C) float64 out-of-sample, as ``left_out_probabilities`` gives them.

    Returns:
        (m,) int64 rows of ``labels``.

    Source:
        Northcutt, Jiang and Chuang, "Confident Learning", JAIR 2021, section 3.1; the same labels
        as cleanlab's ``find_label_issues(..., filter_by="confident_learning")``, except where no
        threshold is reached by the predicted class but two are by others: cleanlab then takes the
        predicted class, we the likelier of the two, as the paper does.
    """
    n_classes = probabilities.shape[1]
    confidence = self_confidence(labels, probabilities)
    counts = np.bincount(labels, minlength=n_classes)
    sums = np.bincount(labels, weights=confidence, minlength=n_classes)
    # no image can be confident of a class that nobody gave
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    confident = probabilities >= thresholds - 1e-6
    guess = np.where(confident, probabilities, -1.0).argmax(axis=1)
    margin = label_margin(labels, probabilities)
    issues = np.flatnonzero(confident.any(axis=1) & (guess != labels) & (margin > 0))
    return issues[np.argsort(-margin[issues], kind="stable")]
