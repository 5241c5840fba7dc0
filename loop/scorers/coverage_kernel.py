"""Coverage from stored similarities: what candidates would add, and exchanges (numba)."""

from __future__ import annotations

import numpy as np
from numba import njit, prange


@njit(parallel=True, cache=True, fastmath={"reassoc", "nnan", "nsz"})
def gains(similarity, rows, covered, weights, out):  # type: ignore[no-untyped-def]
    """out[i] = sum_j weights_j max(similarity[rows[i], j] - covered_j, 0), summed in float64."""
    for i in prange(len(rows)):
        mine = similarity[rows[i]]
        total = 0.0
        for j in range(len(mine)):
            total += weights[j] * max(mine[j] - covered[j], 0)
        out[i] = total


@njit(cache=True)
def exchange(similarity, candidates, picks, floor, weights, passes, least):  # type: ignore[no-untyped-def]
    """Eager exchanges (FasterPAM): changes ``picks`` in place, returns how many there were.

    A candidate is measured against all picks in one pass over its row: with the best and second
    best similarity of each column known, taking pick i away costs only the columns nearest to i.
    ``floor`` is what is covered anyhow. Picks and candidates are rows of ``similarity``.
    """
    columns, k = similarity.shape[1], len(picks)
    nearest, second = np.full(columns, -1), np.full(columns, -1)
    first, other = floor.copy(), floor.copy()
    for j in range(columns):
        _two_best(similarity, picks, floor, j, nearest, second, first, other)
    used = np.zeros(len(similarity), np.bool_)
    used[picks] = True
    total = 0.0
    for j in range(columns):
        total += weights[j] * first[j]
    loss, count, idle = np.empty(k), 0, 0
    for step in range(passes * len(candidates)):
        if idle >= len(candidates):
            break
        idle += 1
        candidate = candidates[step % len(candidates)]
        if used[candidate]:
            continue
        mine = similarity[candidate]
        gain = 0.0
        loss[:] = 0.0
        for j in range(columns):
            if mine[j] > first[j]:
                gain += weights[j] * (mine[j] - first[j])
            elif nearest[j] >= 0:
                loss[nearest[j]] += weights[j] * (first[j] - max(mine[j], other[j]))
        worst = np.argmin(loss)
        if gain - loss[worst] <= least * total:
            continue
        total += gain - loss[worst]
        used[picks[worst]], used[candidate] = False, True
        picks[worst] = candidate
        for j in range(columns):
            if nearest[j] == worst or second[j] == worst:
                _two_best(similarity, picks, floor, j, nearest, second, first, other)
            elif mine[j] > first[j]:
                second[j], other[j] = nearest[j], first[j]
                nearest[j], first[j] = worst, mine[j]
            elif mine[j] > other[j]:
                second[j], other[j] = worst, mine[j]
        count, idle = count + 1, 0
    return count


@njit(cache=True)
def _two_best(similarity, picks, floor, j, nearest, second, first, other):  # type: ignore[no-untyped-def]
    """The pick most similar to column j and the next one; -1 stands for the floor."""
    nearest[j] = second[j] = -1
    first[j] = other[j] = floor[j]
    for i in range(len(picks)):
        s = similarity[picks[i], j]
        if s > first[j]:
            second[j], other[j] = nearest[j], first[j]
            nearest[j], first[j] = i, s
        elif s > other[j]:
            second[j], other[j] = i, s
