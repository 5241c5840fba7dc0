"""ZCore's loop over draws, compiled by numba. See loop.scorers.zcore for the method.

Names: ``order`` are the rows in ascending order of the draw's first dimension, ``values`` their
values there; a place is an index into both. ``far[place]`` is the L1 distance to the winner.
Distances of the redundancy are float32, as in the original; weights are float64.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange


@njit(cache=True)
def _winner(columns, dims, point, order, values):  # type: ignore[no-untyped-def]
    """Nearest row in L1 (float64), lowest row on ties; expands along the sorted dimension."""
    n, m = len(order), len(dims)
    right = np.searchsorted(values, point[0])
    left = right - 1
    best, win = np.inf, -1
    gap_left = abs(np.float64(values[left]) - point[0]) if left >= 0 else np.inf
    gap_right = abs(np.float64(values[right]) - point[0]) if right < n else np.inf
    while True:
        if gap_left <= gap_right:
            d = gap_left
            if d > best or left < 0:
                break
            row = order[left]
            left -= 1
            gap_left = abs(np.float64(values[left]) - point[0]) if left >= 0 else np.inf
        else:
            d = gap_right
            if d > best:
                break
            row = order[right]
            right += 1
            gap_right = abs(np.float64(values[right]) - point[0]) if right < n else np.inf
        for j in range(1, m):
            d += abs(np.float64(columns[dims[j], row]) - point[j])
        if d < best or (d == best and row < win):
            best, win = d, row
    return win


@njit(cache=True, error_model="numpy")
def _measure(columns, dims, order, values, win, start, stop, far):  # type: ignore[no-untyped-def]
    """Fills ``far`` at the places [start, stop)."""
    a = columns[dims[0], win]
    for place in range(start, stop):
        far[place] = abs(values[place] - a)
    for j in range(1, len(dims)):
        column = columns[dims[j]]
        b = column[win]
        for place in range(start, stop):
            far[place] += abs(column[order[place]] - b)


@njit(cache=True)
def _count(far, start, stop, gap):  # type: ignore[no-untyped-def]
    inside = 0
    for place in range(start, stop):
        inside += far[place] <= gap
    return inside


@njit(cache=True)
def _window(columns, dims, order, values, win, k, width, far):  # type: ignore[no-untyped-def]
    """Places [low, high) that hold the winner and its k nearest, and the distance ``gap`` within
    which nothing lies outside of them."""
    n = len(order)
    a = columns[dims[0], win]
    centre = np.searchsorted(values, a)
    low, high = max(0, centre - width), min(n, centre + width)
    _measure(columns, dims, order, values, win, low, high, far)
    while True:
        gap = np.float32(np.inf)
        if low > 0:
            gap = min(gap, a - values[low - 1])
        if high < n:
            gap = min(gap, values[high] - a)
        if (low == 0 and high == n) or _count(far, low, high, gap) > k:  # the winner counts too
            return low, high, gap
        grow = max(64, (high - low) // 6)
        new_low, new_high = max(0, low - grow), min(n, high + grow)
        _measure(columns, dims, order, values, win, new_low, low, far)
        _measure(columns, dims, order, values, win, high, new_high, far)
        low, high = new_low, new_high


@njit(cache=True)
def _spread(order, far, low, high, gap, win, k, exponent, near, who, sums):  # type: ignore[no-untyped-def]
    """Takes 1 from the k rows nearest to the winner, in proportion to distance ** -exponent; or
    from its lowest exact copy."""
    kept, twin = 0, -1
    for place in range(low, high):
        d = far[place]
        if d <= gap:
            row = order[place]
            if row != win:
                near[kept], who[kept] = d, row
                kept += 1
                if d == 0 and (twin < 0 or row < twin):
                    twin = row
    if twin >= 0:
        sums[twin] -= 1.0
        return
    edge = np.float32(np.inf)
    spare = 0
    if kept > k:
        edge = np.partition(near[:kept], k - 1)[k - 1]
        spare = k
        for i in range(kept):
            spare -= near[i] < edge
    total = 0.0
    for i in range(kept):  # ties at the edge are filled up in the order of places
        inside = near[i] < edge or spare > 0
        if not near[i] < edge:
            spare -= 1
        if inside:
            d = np.float64(near[i])
            total += 1.0 / ((d * d) * (d * d)) if exponent == 4.0 else d**-exponent
        else:
            near[i] = np.float32(np.inf)
    for i in range(kept):
        if near[i] < np.inf:
            d = np.float64(near[i])
            weight = 1.0 / ((d * d) * (d * d)) if exponent == 4.0 else d**-exponent
            sums[who[i]] -= weight / total


@njit(parallel=True, cache=True)
def run(columns, dims, points, starts, k, exponent, sums, winners):  # type: ignore[no-untyped-def]
    """Adds the draws of block b, in their order, to ``sums[b]``; blocks run in parallel."""
    n = columns.shape[1]
    for b in prange(len(starts) - 1):
        far, near = np.empty(n, np.float32), np.empty(n, np.float32)
        who = np.empty(n, np.int32)
        order, values = np.empty(0, np.int32), np.empty(0, np.float32)
        current = -1
        width = max(64, k)
        for t in range(starts[b], starts[b + 1]):
            if dims[t, 0] != current:
                current = dims[t, 0]
                order = np.argsort(columns[current], kind="mergesort").astype(np.int32)
                values = columns[current][order]
            win = _winner(columns, dims[t], points[t], order, values)
            winners[t] = win
            sums[b, win] += 1.0
            low, high, gap = _window(columns, dims[t], order, values, win, k, width, far)
            _spread(order, far, low, high, gap, win, k, exponent, near, who, sums[b])
            width = max(64, (width * 3 + (high - low) // 2) // 4)
