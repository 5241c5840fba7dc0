"""Farthest-first traversal that measures only what it must (numba).

A row's distance to its nearest centre only falls while centres are added, so an old value is an
upper bound. A row is brought up to date, centre by centre, while its bound still exceeds the best
row of this turn; most rows drop out after a few centres.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, fastmath={"reassoc", "nnan", "nsz"})
def _squared(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for j in range(len(a)):
        step = a[j] - b[j]
        total += step * step
    return total


@njit(cache=True)
def traverse(x, centres, known, k, open_, radii):  # type: ignore[no-untyped-def]
    """Fills ``centres[known : known + k]`` and the radius after each of them (squared)."""
    n = len(x)
    bound, seen = np.full(n, np.float32(np.inf)), np.zeros(n, np.int64)
    for turn in range(k + 1):
        count = known + turn
        best, row = np.float32(-1), -1
        first = -1
        for j in range(n):
            if open_[j] and (first < 0 or bound[j] > bound[first]):
                first = j
        for step in range(-1, n):  # the highest bound first, since it is likely to be the best
            j = first if step < 0 else step
            if j < 0 or not open_[j]:
                continue
            while seen[j] < count and (bound[j] > best or (bound[j] == best and j < row)):
                bound[j] = min(bound[j], _squared(x[j], x[centres[seen[j]]]))
                seen[j] += 1
            if bound[j] > best or (bound[j] == best and j < row):
                best, row = bound[j], j
        if turn > 0:
            radii[turn - 1] = max(best, np.float32(0))
        if turn < k:
            centres[count] = row
            open_[row] = False
