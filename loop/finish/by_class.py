"""Probably approximately correct labels for each class: the share of wrong labels among the images
given a name is at most max_error, for all names at once with probability 1 - alpha.

Each name has alpha / C of its own, and is a population of its own: the U images that the model
gives this name, of which n were drawn uniformly. Images given the name are the people's and the
model's, so the number of wrong ones allowed depends on how many are kept. It is therefore fixed
before the draw for each of a few floors: with ``given`` images of the name before, and at least f
more by people in the sample or by the model, floor(max_error (given + f)) wrong ones, and the
loosest threshold for that (``loop.finish.promise``). A floor counts where this threshold reaches
it; of those that do the one that keeps the most is taken.

Trying J floors need not cost alpha / J each. With k_j and allowed_j of floor j, the argument of
``loop.finish.promise`` says that floor j fails only where the sample holds at most k_j of the first
W_j = allowed_j + k_j + 1 images of a row that is fixed before the draw and the same for all floors.
So the probability that any fails is that of a hypergeometric walk along the row under a boundary,
whatever the model: the level of each floor is the largest at which this is alpha / C.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from loop.errors import DataError
from loop.finish.promise import (
    Bound,
    Ints,
    allowed_wrong,
    check_alpha,
    checked,
    loosest,
    most_seen,
)

FLOORS = 10
"""Shares of a name's images that are tried: a tenth, two tenths, ..., all."""


def promise_by_class(
    confidence: NDArray[np.floating],
    predicted: Ints,
    sample: Ints,
    right: NDArray[np.bool_],
    given: Ints,
    max_error: float,
    alpha: float,
) -> list[Bound]:
    """The loosest threshold of each of C names.

    Args:
        confidence: (U,) of the frozen model, of all images that nobody labelled before the sample.
        predicted: (U,) int64 the name that it gives each, 0 to C - 1.
        sample: (n,) int64 rows of these, drawn uniformly within each name, see ``draw``.
        right: (n,) whether the model's label is the people's.
        given: (C,) int64 images that people gave each name before the sample.
        max_error: in (0, 1).
        alpha: in (0, 1), for all names together.

    Returns:
        C promises, ``allowed`` by the number of images that are given the name in the end.

    Raises:
        DataError: see ``loop.finish.promise.promise``; names outside 0 to C - 1.
    """
    values, rows, answers = checked(confidence, sample, right)
    predicted, given = np.asarray(predicted), np.asarray(given)
    _check_names(predicted, given, len(values))
    check_alpha(alpha)
    allowed_wrong(max_error, len(values))  # raises where max_error is no share
    left = np.bincount(predicted, minlength=len(given))
    left -= np.bincount(predicted[rows], minlength=len(given))
    share = alpha / max(int((left > 0).sum()), 1)  # a name with no image left promises nothing
    promises = []
    for name in range(len(given)):
        drawn = predicted[rows] == name
        promises.append(
            _promise_of_name(
                values[predicted == name],
                values[rows[drawn]],
                answers[drawn],
                int(given[name]),
                max_error,
                share,
            )
        )
    return promises


def _promise_of_name(
    confidence: NDArray[np.float64],
    of_sample: NDArray[np.float64],
    right: NDArray[np.bool_],
    given: int,
    max_error: float,
    alpha: float,
) -> Bound:
    """Of one name with (U,) confidences, (n,) of them drawn."""
    n, left = len(of_sample), len(confidence) - len(of_sample)
    best = Bound(math.inf, 0, n, 0, 0, allowed_wrong(max_error, max(given, 1)))
    if left == 0:
        return best
    floors = sorted({math.ceil(len(confidence) * k / FLOORS) for k in range(1, FLOORS + 1)})
    allowed = tuple(allowed_wrong(max_error, given + floor) for floor in floors)
    bars = boundary(len(confidence), n, allowed, alpha)
    by_people = int(right.sum())  # that people gave this name in the sample
    for floor, most_wrong, most in zip(floors, allowed, bars, strict=True):
        threshold = loosest(confidence, of_sample[~right], most)
        accepted = int((confidence >= threshold).sum() - (of_sample >= threshold).sum())
        if accepted + by_people >= floor and accepted > best.accepted:
            best = Bound(
                threshold=threshold,
                accepted=accepted,
                sample=n,
                wrong=int((of_sample[~right] >= threshold).sum()),
                upper=min(most_wrong, accepted),
                allowed=allowed_wrong(max_error, given + by_people + accepted),
            )
    return best


@lru_cache(maxsize=4096)
def boundary(
    population: int, sample: int, allowed: tuple[int, ...], alpha: float
) -> tuple[int, ...]:
    """Most wrong images in the sample for each number allowed, so that any of these promises is
    broken with probability alpha at most; -1: none suffices.

    Args:
        allowed: ascending.
    """
    from scipy.stats import hypergeom

    alone = tuple(most_seen(population, sample, each, alpha) for each in allowed)
    if failing(population, sample, allowed, alone) <= alpha:
        return alone
    can_fail = np.array(allowed) < population - sample
    seen = np.arange(max(np.array(alone)[can_fail]) + 1)[:, None]
    marked = np.minimum(np.array(allowed) + seen + 1, population)
    levels = hypergeom.cdf(seen, population, marked, sample)

    def bars(level: float) -> tuple[int, ...]:
        most = np.where(can_fail, (levels <= level).sum(axis=0) - 1, sample)
        return tuple(int(bar) for bar in most)

    lower, upper = alpha / len(allowed), alpha
    for _ in range(10):
        middle = (lower + upper) / 2
        if failing(population, sample, allowed, bars(middle)) <= alpha:
            lower = middle
        else:
            upper = middle
    return bars(lower)


def failing(population: int, sample: int, allowed: tuple[int, ...], bars: tuple[int, ...]) -> float:
    """Probability that for some j at most ``bars[j]`` of the first allowed[j] + bars[j] + 1 images
    of a row of the population are in the sample.

    Args:
        allowed, bars: ascending.
    """
    can_fail = [
        (left + bar + 1, bar)
        for left, bar in zip(allowed, bars, strict=True)
        if bar >= 0 and left < population - sample
    ]
    seen = np.arange(max((bar for _, bar in can_fail), default=0) + 1)  # more cannot fail later
    surviving, passed, failed = (seen == 0).astype(np.float64), 0, 0.0
    for end, bar in can_fail:
        gain = _hypergeometric(
            seen[None] - seen[:, None], population - passed, end - passed, sample - seen[:, None]
        )
        surviving, passed = surviving @ gain, end
        failed += float(surviving[: bar + 1].sum())
        surviving[: bar + 1] = 0.0
    return failed


def _hypergeometric(seen: Ints, population: int, marked: int, sample: Ints) -> NDArray[np.float64]:
    """P(so many of the marked images are in the sample); 0 where that cannot be. scipy's takes ten
    times as long."""
    from scipy.special import gammaln

    def log_choose(n: Ints | int, k: Ints | int) -> NDArray[np.float64]:
        return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(np.subtract(n, k) + 1))

    can_be = (seen >= np.maximum(0, sample - (population - marked))) & (
        seen <= np.minimum(marked, sample)
    )
    seen = np.where(can_be, seen, 0)
    others = np.clip(sample - seen, 0, population - marked)
    logs = log_choose(marked, np.minimum(seen, marked)) + log_choose(population - marked, others)
    return np.where(can_be, np.exp(logs - log_choose(population, sample)), 0.0)


def draw(predicted: Ints, size: int, rng: np.random.Generator) -> Ints:
    """(size,) int64 rows, equally many of each predicted name and uniform within it; a name with
    fewer images gives all, and the others make up for it. In random order.

    Args:
        predicted: (U,) int64.
    """
    names, counts = np.unique(predicted, return_counts=True)
    size = min(size, len(predicted))
    shares = np.zeros(len(names), np.int64)
    while shares.sum() < size:
        open_names = np.flatnonzero(shares < counts)
        missing = size - int(shares.sum())
        each = max(missing // len(open_names), 1)
        more = np.minimum(counts[open_names] - shares[open_names], each)
        shares[open_names] += np.where(np.cumsum(more) <= missing, more, 0)
    rows = [
        rng.choice(np.flatnonzero(predicted == name), share, replace=False)
        for name, share in zip(names, shares, strict=True)
    ]
    return np.asarray(rng.permutation(np.concatenate(rows)), np.int64)


def _check_names(predicted: Ints, given: Ints, population: int) -> None:
    """Raises DataError: a name for each image, and each of those that people use."""
    if len(predicted) != population:
        raise DataError(f"{population} images have {len(predicted)} predicted names")
    if predicted.min() < 0 or predicted.max() >= len(given):
        raise DataError(
            f"predicted names go from {predicted.min()} to {predicted.max()}, but there are "
            f"{len(given)} classes; the model was trained for other classes"
        )
    if given.min() < 0:
        raise DataError(f"people cannot have given a name to {given.min()} images")
