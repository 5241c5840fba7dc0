"""Selection rules: scores and a budget -> picks, as rows of the pool.

The budget is an exact number of picks. Equal scores are ordered by a second, random sort key, so
the order is reproducible and does not follow the order of files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from loop.errors import ConfigError, DataError
from loop.seeds import generator
from loop.wording import agreeing, counted

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
    """The picks of a rule: top, middle, window or strata (``rule`` under ``[selection]``).

    Args:
        scores: (N,) finite, larger = label sooner.
        available: (N,) rows that may be picked.
        seed: of the order of equal scores and of the draw inside strata.
        skip: share of the highest scores that ``window`` passes over.

    Returns:
        (budget,) int64 rows.

    Raises:
        ConfigError: unknown rule.
        DataError: the budget exceeds the available rows, or ``skip`` lies outside [0, 1).
    """
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
    """Available rows, highest score first, lowest ``ties`` first among equal scores."""
    rows = np.flatnonzero(available)
    return rows[np.lexsort((ties[rows], -scores[rows]))]


def top(scores: NDArray[np.float64], available: NDArray[np.bool_], budget: int, ties: Rows) -> Rows:
    """The ``budget`` highest scores, best first; nested: a prefix serves a smaller budget.

    Raises:
        DataError: fewer rows are available.
    """
    _check_budget(available, budget)
    rows = np.flatnonzero(available)
    if budget == 0:
        return rows[:0]
    if budget < len(rows):  # sort only what can win
        lowest = np.partition(scores[rows], len(rows) - budget)[len(rows) - budget]
        rows = rows[scores[rows] >= lowest]
    return rows[np.lexsort((ties[rows], -scores[rows]))][:budget]


def middle_band(
    scores: NDArray[np.float64], available: NDArray[np.bool_], budget: int, ties: Rows
) -> Rows:
    """The band around the median score, from the middle outwards; nested.

    The k positions from round(m/2 - k/2) on in the order of m scores, as in Moderate.

    Raises:
        DataError: fewer rows are available.
    """
    _check_budget(available, budget)
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
    """Double-end pruning: skips the share ``skip`` of highest scores, takes the next ``budget``.

    With scores that are high for hard images, ``skip`` is the beta of ELFS; the easy end is what
    is left. A window that would reach beyond the end is moved back inside.

    Raises:
        DataError: fewer rows are available, or ``skip`` lies outside [0, 1).
    """
    _check_budget(available, budget)
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
    """Stratified sampling over the score range, as in CCS; random order.

    Strata have equal width. The budget is shared by ``strata_budgets``, and inside a stratum the
    draw is uniform. Equal scores form one stratum.

    Raises:
        DataError: fewer rows are available.
    """
    _check_budget(available, budget)
    rows = np.flatnonzero(available)
    drawn = draw_from_strata(rows, strata_of(scores[rows], strata), strata, budget, rng)
    return rng.permutation(drawn)


def draw_from_strata(
    rows: Rows, stratum: Rows, strata: int, budget: int, rng: np.random.Generator
) -> Rows:
    """``budget`` of the ``rows``, whose strata are ``stratum``, by the shares of each stratum."""
    shares = strata_budgets(np.bincount(stratum, minlength=strata), budget)
    drawn = [
        rng.choice(rows[stratum == number], size=int(share), replace=False)
        for number, share in enumerate(shares)
        if share
    ]
    return np.concatenate(drawn) if drawn else rows[:0]


def strata_of(values: NDArray[np.float64], strata: int) -> Rows:
    """(m,) int64 stratum of each value; strata of equal width from the least to the largest."""
    if not len(values):
        return np.empty(0, np.int64)
    least, largest = float(values.min()), float(values.max())
    if largest <= least:
        return np.zeros(len(values), np.int64)
    relative = (values - least) / (largest - least)
    return np.minimum(relative * strata, strata - 1).astype(np.int64)


def strata_budgets(sizes: NDArray[np.int64], budget: int) -> Rows:
    """How many rows to take from each stratum, smallest stratum first.

    Each gets min(size, floor(budget left / strata left)), so the whole budget is used while there
    are rows.
    """
    shares = np.zeros(len(sizes), np.int64)
    left = budget
    for visited, stratum in enumerate(np.argsort(sizes, kind="stable")):
        shares[stratum] = min(int(sizes[stratum]), left // (len(sizes) - visited))
        left -= int(shares[stratum])
    return shares


def balanced(
    scores: NDArray[np.float64], available: NDArray[np.bool_], budget: int, ties: Rows, groups: Rows
) -> Rows:
    """The best row of each group in turn: groups (classes, clusters) get equal shares until they
    run out. Nested: a prefix of any length is balanced.

    Raises:
        DataError: fewer rows are available.
    """
    _check_budget(available, budget)
    order = ordered(scores, available, ties)
    ordered_groups = groups[order]
    turn = np.empty(len(order), np.int64)
    for group in np.unique(ordered_groups):
        members = ordered_groups == group
        turn[members] = np.arange(members.sum())
    # inside one turn the order of scores decides, so that the last, partial turn is not biased
    return order[np.lexsort((np.arange(len(order)), turn))][:budget]


def _check_budget(available: NDArray[np.bool_], budget: int) -> None:
    count = int(available.sum())
    if budget < 0 or budget > count:
        raise DataError(
            f"the budget is {budget}, but {counted(count, 'image')} {agreeing(count, 'is')} "
            "available"
        )
