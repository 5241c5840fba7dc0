"""Coverage from stored similarities: what candidates would add, and exchanges (numba).

``similarity`` (M, R) holds the similarities of M candidate rows to R reference rows, or
``(starts, columns, values)`` those above what is covered, as compressed rows (see
``loop.scorers.similarities``); ``weights`` (R,) say how much each reference row counts.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange


@njit(parallel=True, cache=True, fastmath={"reassoc", "nnan", "nsz"})
def gains(similarity, rows, covered, weights, out):  # type: ignore[no-untyped-def]
    """out[i] = sum_j weights_j max(similarity[rows[i], j] - covered_j, 0), summed in float64."""
    for i in prange(len(rows)):
        row = similarity[rows[i]]
        total = 0.0
        for j in range(len(row)):
            total += weights[j] * max(row[j] - covered[j], 0)
        out[i] = total


@njit(cache=True)
def _gain(columns, values, weights, covered):  # type: ignore[no-untyped-def]
    """sum_j weights_j max(similarity_j - covered_j, 0) of one compressed row."""
    gain = 0.0
    for entry in range(len(columns)):
        j = columns[entry]
        if values[entry] > covered[j]:
            gain += weights[j] * (values[entry] - covered[j])
    return gain


@njit(cache=True)
def gains_above(starts, columns, values, rows, covered, weights, out):  # type: ignore[no-untyped-def]
    """``gains`` from compressed rows; too little work for threads."""
    for i in range(len(rows)):
        entries = slice(starts[rows[i]], starts[rows[i] + 1])
        out[i] = _gain(columns[entries], values[entries], weights, covered)


@njit(cache=True)
def exchange(similarity, above, candidates, picks, picked, floor, weights, passes, least):  # type: ignore[no-untyped-def]
    """Eager exchanges (FasterPAM): changes ``picks`` in place, returns the number of exchanges.

    A candidate is measured against all picks in one pass over its row: with the best and second
    best similarity of each reference row known, removing pick i costs only the reference rows whose
    nearest pick is i.

    Args:
        similarity: (M, R), or (0, R) where ``above`` has them.
        candidates, picks: int64 rows of the similarities; candidates are tried in this order.
        picked: (k, R) similarities of the picks, changed with them.
        floor: (R,) what earlier rounds cover.
        passes: at most so many passes over the candidates.
        least: relative gain in coverage below which an exchange is not made.
    """
    references, k = picked.shape[1], len(picks)
    starts, columns, values = above
    compressed = len(starts) > 0
    scratch = np.zeros(references, picked.dtype)
    nearest, runner_up = np.full(references, -1), np.full(references, -1)
    first, second = floor.copy(), floor.copy()
    for j in range(references):
        _two_best(picked, floor, j, nearest, runner_up, first, second)
    is_pick = np.zeros(max(len(similarity), len(starts)), np.bool_)
    is_pick[picks] = True
    total = 0.0
    for j in range(references):
        total += weights[j] * first[j]
    loss, exchanges, unchanged = np.empty(k), 0, 0
    for step in range(passes * len(candidates)):
        if unchanged >= len(candidates):
            break
        unchanged += 1
        candidate = candidates[step % len(candidates)]
        if is_pick[candidate]:
            continue
        if compressed:
            entries = slice(starts[candidate], starts[candidate + 1])
            # what is lost is never negative
            if _gain(columns[entries], values[entries], weights, first) <= least * total:
                continue
            _spread(columns[entries], values[entries], scratch)
        row = scratch if compressed else similarity[candidate]
        gain = _gain_and_losses(row, weights, nearest, first, second, loss)
        worst = np.argmin(loss)
        if gain - loss[worst] > least * total:
            total += gain - loss[worst]
            is_pick[picks[worst]], is_pick[candidate] = False, True
            picks[worst], picked[worst] = candidate, row
            for j in range(references):
                if nearest[j] == worst or runner_up[j] == worst:
                    _two_best(picked, floor, j, nearest, runner_up, first, second)
                elif row[j] > first[j]:
                    runner_up[j], second[j] = nearest[j], first[j]
                    nearest[j], first[j] = worst, row[j]
                elif row[j] > second[j]:
                    runner_up[j], second[j] = worst, row[j]
            exchanges, unchanged = exchanges + 1, 0
        if compressed:
            scratch[columns[entries]] = 0
    return exchanges


@njit(cache=True)
def _spread(columns, values, row):  # type: ignore[no-untyped-def]
    """Writes the entries of a compressed row into a row of zeros."""
    for entry in range(len(columns)):
        row[columns[entry]] = values[entry]


@njit(cache=True)
def _gain_and_losses(row, weights, nearest, first, second, loss):  # type: ignore[no-untyped-def]
    """What adding a candidate of these similarities gains; ``loss[i]``: what removing pick i costs
    then."""
    gain = 0.0
    loss[:] = 0.0
    for j in range(len(row)):
        if row[j] > first[j]:
            gain += weights[j] * (row[j] - first[j])
        elif nearest[j] >= 0:
            loss[nearest[j]] += weights[j] * (first[j] - max(row[j], second[j]))
    return gain


@njit(cache=True)
def _two_best(picked, floor, j, nearest, runner_up, first, second):  # type: ignore[no-untyped-def]
    """The two picks most similar to reference row j, and these similarities; pick -1: the floor."""
    nearest[j] = runner_up[j] = -1
    first[j] = second[j] = floor[j]
    for i in range(len(picked)):
        s = picked[i, j]
        if s > first[j]:
            runner_up[j], second[j] = nearest[j], first[j]
            nearest[j], first[j] = i, s
        elif s > second[j]:
            runner_up[j], second[j] = i, s
