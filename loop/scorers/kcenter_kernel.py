"""Farthest-first traversal that measures only the distances it needs (numba).

A row's distance to its nearest centre only falls while centres are added, so an old value is an
upper bound. A row is measured against further centres only while its bound exceeds the best row of
this turn; most rows drop out after a few centres.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, fastmath={"reassoc", "nnan", "nsz"})
def _squared_distance(first, second):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for j in range(len(first)):
        difference = first[j] - second[j]
        total += difference * difference
    return total


@njit(cache=True)
def traverse(x, centres, known, k, is_open, radii):  # type: ignore[no-untyped-def]
    """Fills ``centres[known : known + k]``, and the squared radius after each of them.

    Args:
        x: (N, D) float32.
        centres: (known + k,) int64 rows, the first ``known`` of them given.
        is_open: (N,) bool, rows that may be picked; picks are closed in place.
        radii: (k,) float64, filled.
    """
    n = len(x)
    bound = np.full(n, np.float32(np.inf))
    measured = np.zeros(n, np.int64)  # centres against which each row has been measured
    for turn in range(k + 1):
        count = known + turn
        best, row = np.float32(-1), -1
        highest = -1
        for j in range(n):
            if is_open[j] and (highest < 0 or bound[j] > bound[highest]):
                highest = j
        for step in range(-1, n):  # the highest bound first, since it is likely to be the best
            j = highest if step < 0 else step
            if j < 0 or not is_open[j]:
                continue
            while measured[j] < count and (bound[j] > best or (bound[j] == best and j < row)):
                distance = _squared_distance(x[j], x[centres[measured[j]]])
                bound[j] = min(bound[j], distance)
                measured[j] += 1
            if bound[j] > best or (bound[j] == best and j < row):
                best, row = bound[j], j
        if turn > 0:
            radii[turn - 1] = max(best, np.float32(0))
        if turn < k:
            centres[count] = row
            is_open[row] = False
