"""The cheapest way to a finished collection: how many more picks until the model labels the rest.

More picks are labels of people, and make a better model, which labels more of what is left with the
same promise. For each number of them the learning curve says how good the model will be, and
``loop.finish.cost`` what finishing takes then, with the newest model's confidences shifted to the
accuracy in the images left. That is not the curve's: picks that take the doubtful images leave
easier ones. By how much, the newest model's mean confidence in them says now, and it is taken to
stay so in log-odds. Confidences of the images then left are spread like those of all left now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loop.finish.cost import cheapest, costs
from loop.planning.curves import FARTHEST, Floats, Forecast, noise
from loop.planning.target import Estimate, estimate

MANY = 10**9
"""Test images whose choice does not show."""


@dataclass(frozen=True)
class Unfinished:
    """A collection before it is finished.

    Attributes:
        confidence: (U,) calibrated, of the newest model in the images that no round has picked.
        images: of the collection, the labelled ones too.
        max_error, alpha: see ``loop.finish.cost.costs``.
    """

    confidence: NDArray[np.floating]
    images: int
    max_error: float
    alpha: float


@dataclass(frozen=True)
class Way:
    """One way to finish.

    Attributes:
        picks: labelled by people, before the model is frozen.
        accuracy: of the model then, in random images.
        sample: images of the calibration sample.
        labels: of people from now on: picks, calibration sample and last round, median and 90 %.
        by_model: images that the model labels.
    """

    picks: int
    accuracy: Estimate
    sample: int
    labels: Estimate
    by_model: int


def ways(
    continued: Forecast,
    unfinished: Unfinished,
    picks: Iterable[int],
    make_rng: Callable[[], np.random.Generator],
) -> list[Way]:
    """A way for each number of further picks, ascending, up to where the picks alone take more than
    another way does in all.

    Args:
        continued: the learning curve from the newest model on.
        make_rng: gives the same generator for each way, so that their draws are paired.
    """
    some: list[Way] = []
    for count in picks:
        if some and count >= best(some).labels.median:
            break
        some.append(way(continued, unfinished, count, make_rng()))
    return some


def best(some: Iterable[Way]) -> Way:
    """The way with the fewest labels in the median."""
    return min(some, key=lambda way: way.labels.median)


def ladder(step: int, left: int, have: int) -> list[int]:
    """Numbers of further picks: none, then ``step`` times 1, 2, 4, ..., less than the images left
    and no farther than curves are followed."""
    picks, count = [0], step
    while count < left and count <= (FARTHEST - 1) * have:
        picks.append(count)
        count *= 2
    return picks


def way(continued: Forecast, unfinished: Unfinished, picks: int, rng: np.random.Generator) -> Way:
    """With one number of further picks, less than the images left. Draws are of ``rng``."""
    accuracy = _accuracy(continued, continued.grid[0] + picks, rng)
    in_left = _shifted(accuracy, lead(continued, unfinished))
    lower, median, upper = np.quantile(in_left, [0.025, 0.5, 0.975]).tolist()
    left = len(unfinished.confidence) - picks
    sizes = costs(
        thinned(unfinished.confidence, left),
        (median, lower, upper),
        unfinished.images,
        unfinished.max_error,
        unfinished.alpha,
        rng,
    )
    cost = cheapest(sizes)
    return Way(
        picks=picks,
        accuracy=estimate(accuracy),
        sample=cost.sample,
        labels=Estimate(picks + cost.median, picks + cost.lower, picks + cost.upper),
        by_model=cost.accepted,
    )


def lead(continued: Forecast, unfinished: Unfinished) -> float:
    """By how much the newest model is better in the images left than in random ones, in log-odds:
    its mean confidence there against the curve."""
    measured, left = np.median(continued.values[:, 0]), unfinished.confidence.mean()
    return float(_log_odds(left) - _log_odds(measured))


def _shifted(accuracy: Floats, log_odds: float) -> Floats:
    from scipy.special import expit

    return np.asarray(expit(_log_odds(accuracy) + log_odds))


def _log_odds(share: NDArray[np.floating] | np.floating) -> Floats:
    from scipy.special import logit

    return np.asarray(logit(np.clip(share, 0.001, 0.999)), np.float64)


def _accuracy(continued: Forecast, labels: float, rng: np.random.Generator) -> Floats:
    """(B,) draws of a model's true accuracy: the luck of its picks, but not of test images."""
    expected = continued.at(labels)
    deviation = np.sqrt(noise(1 - expected, np.array(labels), MANY))
    return np.clip(expected + deviation * rng.standard_normal(len(expected)), 0.0, 1.0)


def thinned(confidence: NDArray[np.floating], count: int) -> Floats:
    """(count,) confidences with the quantiles of these."""
    values: Floats = np.quantile(confidence, np.linspace(0, 1, count))
    return values
