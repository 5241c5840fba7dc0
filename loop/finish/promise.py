"""Probably approximately correct labels: a confidence above which the model's labels are kept.

The goal is at most ``allowed`` wrong labels among those kept, with probability 1 - alpha, for any
model and any confidence (Candes, Ilyas and Zrnic 2025, arXiv 2506.10908). The model is frozen, and
people label n images drawn uniformly without replacement from the U that nobody labelled. Wrong
images in such a sample are hypergeometric, so the bound is exact for a finite collection, where
Clopper and Pearson's binomial one is for an endless one.

Let K(t) be the wrong ones among the U at or above a threshold t, and k(t) those in the sample,
which people have corrected. For one t the bound on K is the largest K with
P(Hypergeom(U, K, n) <= k) > alpha. k* is the largest k at which this bound minus k is at most
``allowed``, and the threshold is the loosest t with k(t) <= k*. Choosing it after looking costs
nothing:

    Put the U images in a row before the draw: the wrong ones by falling confidence, then the right
    ones. H, the sample's share of the first allowed + k* + 1, is Hypergeom(U, allowed + k* + 1, n),
    so that P(H <= k*) <= alpha. If K(t) - k(t) > allowed at any t with k(t) <= k*, either all these
    lie at or above t and H <= k(t) <= k*, or more than ``allowed`` of them are not in the sample
    and H <= k*.

The argument holds for all thresholds at once, whatever the order of the confidences and their ties.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from loop.errors import DataError

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Bound:
    """From which confidence on the model's labels are kept, and how many of them may be wrong.

    Attributes:
        threshold: labels at or above it are kept; infinity: none is.
        accepted: unlabelled images that get the model's label, those of the sample not counted.
        sample: n, images that people labelled for the calibration.
        wrong: of the sample at or above the threshold.
        upper: most wrong labels among ``accepted``, with probability 1 - alpha.
        allowed: most wrong labels that the goal allows.
    """

    threshold: float
    accepted: int
    sample: int
    wrong: int
    upper: int
    allowed: int


def promise(
    confidence: NDArray[np.floating],
    sample: Ints,
    right: NDArray[np.bool_],
    allowed: int,
    alpha: float,
) -> Bound:
    """The loosest threshold that keeps the promise.

    Args:
        confidence: (U,) of the frozen model, of all images that nobody labelled before the sample.
        sample: (n,) int64 rows of these, drawn uniformly without replacement.
        right: (n,) whether the model's label is the people's.
        allowed: see ``allowed_wrong``.
        alpha: probability in (0, 1) of a broken promise.

    Raises:
        DataError: no image, a confidence that is not finite, rows twice or outside, lengths that do
            not fit, ``allowed`` below 0, or alpha outside (0, 1).
    """
    values, rows, answers = checked(confidence, sample, right)
    check_alpha(alpha)
    if allowed < 0:
        raise DataError(f"the number of wrong labels allowed is {allowed}; it must be 0 or more")
    population, n = len(values), len(rows)
    of_wrong = values[rows[~answers]]
    most = most_seen(population, n, allowed, alpha)
    threshold = loosest(values, of_wrong, most)
    accepted = int((values >= threshold).sum() - (values[rows] >= threshold).sum())
    # where ties or the end of the pool stop the threshold short of k*, the bound stays that of k*
    seen = min(most, len(of_wrong))
    upper = most_wrong(population, n, seen, alpha) - seen if accepted else 0
    return Bound(
        threshold=threshold,
        accepted=accepted,
        sample=n,
        wrong=int((of_wrong >= threshold).sum()),
        upper=min(upper, accepted),
        allowed=allowed,
    )


def loosest(confidence: NDArray[np.float64], of_wrong: NDArray[np.float64], most: int) -> float:
    """The lowest confidence at or above which at most so many wrong images of the sample lie.

    Args:
        confidence: (U,) of all images.
        of_wrong: confidences of the sample's wrong images.
        most: of these; below 0: no threshold will do.
    """
    if most < 0:
        return math.inf
    if len(of_wrong) <= most:
        return float(confidence.min())
    barrier = np.sort(of_wrong)[::-1][most]  # it and its ties have to stay below
    return float(confidence.min(where=confidence > barrier, initial=math.inf))


@lru_cache(maxsize=4096)
def most_wrong(population: int, sample: int, seen_wrong: int, alpha: float) -> int:
    """Upper bound on the wrong images among the population, those seen included: the largest K with
    P(Hypergeom(population, K, sample) <= seen_wrong) > alpha."""
    lower, upper = seen_wrong, population - sample + seen_wrong
    while lower < upper:
        middle = (lower + upper + 1) // 2
        if _at_most(seen_wrong, population, middle, sample) > alpha:
            lower = middle
        else:
            upper = middle - 1
    return lower


@lru_cache(maxsize=4096)
def most_seen(population: int, sample: int, allowed: int, alpha: float) -> int:
    """k*: the most wrong images in the sample at which at most ``allowed`` are left with
    probability 1 - alpha; -1: a sample without any wrong one does not suffice."""
    if allowed >= population - sample:
        return sample
    lower, upper = -1, sample
    while lower < upper:  # the bound minus what was seen never falls when more are seen
        middle = (lower + upper + 1) // 2
        if _at_most(middle, population, allowed + middle + 1, sample) <= alpha:
            lower = middle
        else:
            upper = middle - 1
    return lower


def _at_most(seen: int, population: int, marked: int, sample: int) -> float:
    """P(at most ``seen`` of ``marked`` images of the population are in the sample)."""
    from scipy.stats import hypergeom

    return float(hypergeom.cdf(seen, population, marked, sample))


def allowed_wrong(max_error: float, images: int) -> int:
    """Wrong labels that a collection of so many images may hold: floor(max_error * images), with
    max_error as it is written (0.29 of 100 images are 29).

    Raises:
        DataError: max_error outside (0, 1), or no images.
    """
    if max_error == 0:
        raise DataError(
            "an error of 0 can only be promised when people label every image; give a --max-error "
            "above 0, such as 0.02"
        )
    if not 0 < max_error < 1:  # NaN as well
        raise DataError(
            f"the largest error must be a share between 0 and 1, such as 0.02; it is {max_error}"
        )
    if images < 1:
        raise DataError("there is no image to promise anything about; type: coreloop scan")
    return int(Fraction(str(max_error)) * images)


def labels_needed(population: int, allowed: int, alpha: float, seen: int = 0) -> int:
    """Fewest calibration labels that can promise at most ``allowed`` wrong ones when the model errs
    on ``seen`` of them. Up to the size for one more, further labels buy nothing."""
    lower, upper = seen, max(population - allowed, seen)
    while lower < upper:
        middle = (lower + upper) // 2
        if most_seen(population, middle, allowed, alpha) >= seen:
            upper = middle
        else:
            lower = middle + 1
    return lower


def smallest_error(population: int, sample: int, images: int, alpha: float) -> float:
    """Smallest max_error that so many calibration labels can promise for the collection, if the
    model errs on none of them; rounded up to three digits.

    Args:
        population: images that nobody had labelled before the sample.
        images: of the whole collection.
    """
    share = Fraction(most_wrong(population, sample, 0, alpha), images)
    if share == 0:
        return 0.0
    digits = 2 - math.floor(math.log10(share))
    return float(Fraction(math.ceil(share * 10**digits), 10**digits))


def check_possible(
    population: int, sample: int, images: int, max_error: float, alpha: float
) -> None:
    """Can so many calibration labels promise anything, were the model right on all of them?

    Args:
        population: images that nobody had labelled before the sample.
        images: of the whole collection.

    Raises:
        DataError: they cannot, and how many could, and what these can promise; or a bad value.
    """
    check_alpha(alpha)
    if population < 1:
        raise DataError("every image is labelled; there is nothing to label automatically")
    allowed = allowed_wrong(max_error, images)
    if most_seen(population, sample, allowed, alpha) >= 0:
        return
    if allowed == 0:
        raise DataError(
            f"an error of {100 * max_error:g} % of {images:,} images allows no wrong label at all, "
            "which can only be promised when people label every image; give a --max-error of at "
            f"least {1 / images:.2g}"
        )
    smallest = smallest_error(population, sample, images, alpha)
    raise DataError(
        f"{sample:,} calibration labels cannot promise an error of at most {100 * max_error:g} % "
        f"with confidence {1 - alpha:g}, even if the model is right on all of them: they can "
        f"promise {100 * smallest:g} %, and {100 * max_error:g} % takes "
        f"{labels_needed(population, allowed, alpha):,} calibration labels"
    )


def spent(alpha: float, look: int) -> float:
    """alpha / (look (look + 1)) for look 1, 2, ...: what a look may break of the promise, so that
    all looks together break it with probability alpha at most.

    Each look draws fresh images from those that nobody labelled by then, for the model frozen by
    then, so it is exact given all that came before; the shares add up to alpha.
    """
    if look < 1:
        raise ValueError(f"looks count from 1, not {look}")
    return alpha / (look * (look + 1))


def check_alpha(alpha: float) -> None:
    """Raises DataError: alpha is no probability strictly between 0 and 1."""
    if not 0 < alpha < 1:
        raise DataError(
            "the confidence of a promise must lie between 0 and 1, such as 0.95; it is "
            f"{1 - alpha:g}"
        )


def checked(
    confidence: NDArray[np.floating], sample: Ints, right: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], Ints, NDArray[np.bool_]]:
    """The arrays as float64, int64 and bool. Raises DataError: see ``promise``."""
    values = np.asarray(confidence, np.float64)
    if not len(values):
        raise DataError("every image is labelled; there is nothing to label automatically")
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(f"the model's confidence in row {row} is {values[row]}; train again")
    rows, answers = np.asarray(sample), np.asarray(right)
    if not len(rows):  # an empty list has no integers
        rows, answers = rows.astype(np.int64), answers.astype(bool)
    if rows.dtype.kind not in "iu":
        raise DataError(f"rows of the calibration sample are of type {rows.dtype}, not integers")
    if len(answers) != len(rows) or answers.dtype != bool:
        raise DataError(
            f"{len(rows)} calibration images have {len(answers)} answers of type {answers.dtype}; "
            "each needs one, true or false"
        )
    outside = rows[(rows < 0) | (rows >= len(values))]
    if len(outside):
        raise DataError(
            f"row {outside[0]} of the calibration sample is outside 0 to {len(values) - 1}"
        )
    unique, counts = np.unique(rows, return_counts=True)
    if (counts > 1).any():
        raise DataError(f"row {unique[counts > 1][0]} is in the calibration sample more than once")
    return values, rows.astype(np.int64), answers.astype(np.bool_)
