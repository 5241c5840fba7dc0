"""What finishing will take, said before the calibration sample is drawn.

Simulated: in each draw the model has an accuracy from the estimate's distribution, and every image
is right with its confidence, whose logit is stretched by a random slope (confidences are calibrated
only so far) and shifted until the mean is that accuracy; a calibration sample is drawn and
``loop.finish.promise`` chooses the threshold. Human labels are the sample's and, as a last round,
those of all images under the threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loop.errors import DataError
from loop.finish.promise import allowed_wrong, check_alpha, labels_needed, most_seen

SEEN = (0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 26, 32, 40, 52, 64, 80, 104, 128, 160, 208, 256)
"""Wrong images that a sample may hold. A sample is as large as that takes: sizes in between are
dearer and allow no more."""
LARGEST = 20_000
DRAWS = 200
QUANTILES = 200
"""Of the confidences, that stand for all where only a mean is needed."""
SLOPE = 0.35
"""Standard deviation of the logarithm of the slope. With 0 the 90 % interval held 73 % of what
finishing took, with 0.3 89 %, with 0.45 94 %: docs/finishing.md."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cost:
    """Human labels from now on with a calibration sample of this size.

    Attributes:
        sample: calibration labels.
        median: labels in all, the sample's and the last round's.
        lower, upper: 90 % interval of these.
        accepted: images that the model labels, median.
    """

    sample: int
    median: int
    lower: int
    upper: int
    accepted: int


def costs(
    confidence: NDArray[np.floating],
    accuracy: tuple[float, float, float],
    images: int,
    max_error: float,
    alpha: float,
    rng: np.random.Generator,
) -> list[Cost]:
    """Human labels by the size of the calibration sample, from the smallest that can promise
    anything up to where the sample alone takes more than a smaller one does in all.

    Args:
        confidence: (U,) of the frozen model, calibrated, of the images that nobody labelled.
        accuracy: of the model over these images, and the ends of its 95 % interval.
        images: of the whole collection.
        max_error, alpha: see ``loop.finish.promise``.

    Returns:
        Sizes ascending, at least one.

    Raises:
        DataError: no image, a confidence that is not finite, or a value outside (0, 1).
    """
    values = np.sort(np.asarray(confidence, np.float64))
    if not len(values) or not np.isfinite(values).all():
        raise DataError(f"{len(values)} confidences, of which some are not finite or there is none")
    check_alpha(alpha)
    allowed = allowed_wrong(max_error, images)
    largest = max(labels_needed(len(values), allowed, alpha), min(LARGEST, len(values)))
    draws = _draws(values, accuracy, largest, rng)
    by_size: list[Cost] = []
    for seen in SEEN:
        size = labels_needed(len(values), allowed, alpha, seen)
        if by_size and size >= min(cheapest(by_size).median, largest):
            break
        by_size.append(_cost(values, draws, size, most_seen(len(values), size, allowed, alpha)))
    return by_size


def cheapest(by_size: list[Cost]) -> Cost:
    """The size with the fewest human labels in the median."""
    return min(by_size, key=lambda cost: cost.median)


@dataclass(frozen=True)
class _Draw:
    """One calibration sample as large as any size takes: smaller ones are its beginning.

    Attributes:
        confidence: (n,) float64.
        right: (n,) whether the model is.
    """

    confidence: Floats
    right: NDArray[np.bool_]


def _draws(
    values: Floats, accuracy: tuple[float, float, float], size: int, rng: np.random.Generator
) -> list[_Draw]:
    """Samples of this size, of models whose accuracies follow the estimate.

    Args:
        values: (U,) ascending.
    """
    from scipy.special import expit

    likely = _logits(values[np.linspace(0, len(values) - 1, QUANTILES).astype(np.int64)])
    shifts = np.linspace(-40.0, 40.0, 321)[:, None]
    draws = []
    for _ in range(DRAWS):
        slope = np.exp(SLOPE * rng.standard_normal())
        means = expit(slope * likely + shifts).mean(axis=1)
        shift = np.interp(_accuracy(*accuracy, rng), means, shifts[:, 0])
        confidence = values[rng.choice(len(values), size, replace=False)]
        right = rng.uniform(size=size) < expit(slope * _logits(confidence) + shift)
        draws.append(_Draw(confidence, right))
    return draws


def _accuracy(accuracy: float, lower: float, upper: float, rng: np.random.Generator) -> float:
    """Drawn from two halves of a normal distribution whose 95 % interval is that of the estimate,
    between 0.001 and 0.999."""
    z = float(rng.standard_normal())
    width = upper - accuracy if z > 0 else accuracy - lower
    return min(max(accuracy + z * width / 1.959964, 0.001), 0.999)


def _logits(confidence: Floats) -> Floats:
    from scipy.special import logit

    return np.asarray(logit(np.clip(confidence, 1e-6, 1 - 1e-6)))


def _cost(values: Floats, draws: list[_Draw], size: int, most: int) -> Cost:
    """Over all draws of samples of this size, of which at most ``most`` may be wrong.

    Args:
        values: (U,) ascending.
    """
    below = np.empty(len(draws))  # unlabelled images under the threshold, the sample's not counted
    for number, draw in enumerate(draws):
        confidence = draw.confidence[:size]
        wrong = np.sort(confidence[~draw.right[:size]])
        barrier = wrong[-1 - most] if len(wrong) > most else -math.inf
        below[number] = np.searchsorted(values, barrier, "right") - (confidence <= barrier).sum()
    labels = np.quantile(size + below, [0.05, 0.5, 0.95])
    lower, median, upper = (round(value) for value in labels)
    return Cost(size, median, lower, upper, len(values) - median)
