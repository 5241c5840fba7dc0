"""Scores and a budget -> picks. The budget is an exact integer; equal scores are ordered by a
second key, so that the order is stable and never favours the order of files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from loop.errors import ConfigError, DataError
from loop.seeds import generator

Rows = NDArray[np.int64]


def picks(
    rule: str,
    scores: NDArray[np.float64],
    available: NDArray[np.bool_],
    budget: int,
    seed: int,
    *,
    skip: float = 0.1,
) -> Rows:
    """The picks of the rule that ``[selection] rule`` names: top, middle, window or strata."""
    ties = tiebreak(len(scores), seed)
    if rule == "top":
        return top(scores, available, budget, ties)
    if rule == "middle":
        return middle_band(scores, available, budget, ties)
    if rule == "window":
        return double_end_window(scores, available, budget, ties, skip=skip)
    if rule == "strata":
        return stratified(scores, available, budget, generator(seed, "strata"))
    raise ConfigError(f"rule {rule!r} is unknown; one of top, middle, window, strata")


def tiebreak(n: int, seed: int) -> Rows:
    """(n,) second sort key: a permutation that depends on the seed alone."""
    return generator(seed, "ties").permutation(n).astype(np.int64)


def ordered(scores: NDArray[np.float64], available: NDArray[np.bool_], ties: Rows) -> Rows:
    """Available rows, highest score first."""
    rows = np.flatnonzero(available)
    return rows[np.lexsort((ties[rows], -scores[rows]))]


def top(scores: NDArray[np.float64], available: NDArray[np.bool_], budget: int, ties: Rows) -> Rows:
    """The ``budget`` highest scores, best first. A prefix is the selection for a smaller budget.

    Raises:
        DataError: fewer rows are available.
    """
    _check(available, budget)
    rows = np.flatnonzero(available)
    if budget == 0:
        return rows[:0]
    if budget < len(rows):  # sort only what can win
        edge = np.partition(scores[rows], len(rows) - budget)[len(rows) - budget]
        rows = rows[scores[rows] >= edge]
    return rows[np.lexsort((ties[rows], -scores[rows]))][:budget]


def middle_band(
    scores: NDArray[np.float64], available: NDArray[np.bool_], budget: int, ties: Rows
) -> Rows:
    """The band around the median score, from the middle outwards (nested). Moderate's rule:
    positions round(m/2 - k/2) .. of the ascending order."""
    _check(available, budget)
    order = ordered(scores, available, ties)
    start = round(len(order) / 2 - budget / 2)
    middle = len(order) / 2 - 0.5
    band = np.arange(start, start + budget)
    return order[band[np.argsort(np.abs(band - middle), kind="stable")]]


def double_end_window(
    scores: NDArray[np.float64],
    available: NDArray[np.bool_],
    budget: int,
    ties: Rows,
    *,
    skip: float,
) -> Rows:
    """Skips the ``skip`` fraction with the highest scores, then takes the next ``budget``.

    With scores that are high for hard images this is ELFS' double-end pruning (its beta); the
    easy end is whatever is left. A window that would run over the end is moved back inside.
    """
    _check(available, budget)
    if not 0 <= skip < 1:
        raise DataError(f"skip must be in [0, 1), got {skip}")
    order = ordered(scores, available, ties)
    start = min(int(skip * len(order)), len(order) - budget)
    return order[start : start + budget]


def stratified(
    scores: NDArray[np.float64],
    available: NDArray[np.bool_],
    budget: int,
    rng: np.random.Generator,
    *,
    strata: int = 50,
) -> Rows:
    """Equal-width strata of the score range; the smallest are emptied first, the rest is shared
    evenly, and inside a stratum the draw is uniform (CCS). Equal scores form one stratum."""
    _check(available, budget)
    rows = np.flatnonzero(available)
    place = strata_of(scores[rows], strata)
    sizes = np.bincount(place, minlength=strata)
    share = strata_budgets(sizes, budget)
    chosen = [
        rng.choice(rows[place == s], size=int(share[s]), replace=False)
        for s in range(strata)
        if share[s]
    ]
    return rng.permutation(np.concatenate(chosen)) if chosen else rows[:0]


def strata_of(values: NDArray[np.float64], strata: int) -> Rows:
    """(m,) stratum of each value: equal widths from the lowest to the highest value."""
    if not len(values):
        return np.empty(0, np.int64)
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(len(values), np.int64)
    return np.minimum((values - low) / (high - low) * strata, strata - 1).astype(np.int64)


def strata_budgets(sizes: NDArray[np.int64], budget: int) -> Rows:
    """How many to take from each stratum: ascending by size, each gets
    min(size, floor(rest / strata left)). All of the budget is used while there are rows."""
    share = np.zeros(len(sizes), np.int64)
    rest = budget
    for i, s in enumerate(np.argsort(sizes, kind="stable")):
        share[s] = min(int(sizes[s]), rest // (len(sizes) - i))
        rest -= int(share[s])
    return share


def balanced(
    scores: NDArray[np.float64],
    available: NDArray[np.bool_],
    budget: int,
    ties: Rows,
    groups: Rows,
) -> Rows:
    """The best of each group in turn, so that groups (classes, clusters) get equal shares until
    they run out. A prefix of any length is balanced too."""
    _check(available, budget)
    order = ordered(scores, available, ties)
    labels = groups[order]
    turn = np.empty(len(order), np.int64)
    for group in np.unique(labels):
        mine = labels == group
        turn[mine] = np.arange(mine.sum())
    # inside one turn the order of scores decides, so that the last, partial turn is not biased
    return order[np.lexsort((np.arange(len(order)), turn))][:budget]


def _check(available: NDArray[np.bool_], budget: int) -> None:
    count = int(available.sum())
    if budget < 0 or budget > count:
        raise DataError(f"the budget is {budget}, but {count} images are available")
