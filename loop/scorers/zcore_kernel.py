"""ZCore's loop over draws, compiled by numba. See loop.scorers.zcore for the method.

All draws of one call share their first dimension. ``order`` are the rows in ascending order of it,
``values`` their values there; a place is an index into both. ``side`` holds the other dimensions of
a draw in the order of places, so that everything near a winner is read in sequence: it is filled
once for all draws of the same dimensions, which stand together.

Distances of the redundancy are float32, as in the original; weights are float64.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange


@njit(cache=True)
def _winner(order, values, side, point):  # type: ignore[no-untyped-def]
    """Place of the nearest row in L1 (float64), lowest row on ties; expands along the sorted
    dimension until its gap alone exceeds the best distance."""
    n, m = len(order), len(point)
    right = np.searchsorted(values, point[0])
    left = right - 1
    best, win = np.inf, -1
    while left >= 0 or right < n:
        gap_left = point[0] - np.float64(values[left]) if left >= 0 else np.inf
        gap_right = np.float64(values[right]) - point[0] if right < n else np.inf
        if min(gap_left, gap_right) > best:
            break
        if gap_left <= gap_right:
            place, d = left, abs(gap_left)
            left -= 1
        else:
            place, d = right, abs(gap_right)
            right += 1
        for j in range(1, m):
            d += abs(np.float64(side[j - 1, place]) - point[j])
        if d < best or (d == best and order[place] < order[win]):
            best, win = d, place
    return win


@njit(cache=True)
def _measure(values, side, win, low, high, far):  # type: ignore[no-untyped-def]
    """Fills ``far[low:high]`` with L1 distances to the winner."""
    out, here = far[low:high], values[low:high]
    a = values[win]
    if len(side) == 1:
        b, other = side[0, win], side[0, low:high]
        for i in range(len(out)):
            out[i] = abs(here[i] - a) + abs(other[i] - b)
        return
    for i in range(len(out)):
        out[i] = abs(here[i] - a)
    for j in range(len(side)):
        b, other = side[j, win], side[j, low:high]
        for i in range(len(out)):
            out[i] += abs(other[i] - b)


@njit(cache=True)
def _count(far, low, high, radius):  # type: ignore[no-untyped-def]
    here = far[low:high]
    inside = 0
    for i in range(len(here)):
        inside += here[i] <= radius
    return inside


@njit(cache=True)
def _ball(values, side, win, k, width, far):  # type: ignore[no-untyped-def]
    """A radius whose ball holds more than k rows (the winner counts), few more if possible, and
    the places [low, high) outside of which no row of the ball lies. ``far`` is filled there."""
    n = len(values)
    a = values[win]
    low, high = max(0, win - width), min(n, win + width + 1)
    radius = max(a - values[low], values[high - 1] - a)
    low, high = _reach(values, a, radius, win)
    _measure(values, side, win, low, high, far)
    inside = _count(far, low, high, radius)
    while inside <= k and (low > 0 or high < n):
        radius = np.float32(radius * 1.4) if radius > 0 else (values[n - 1] - values[0]) / n
        new_low, new_high = _reach(values, a, radius, win)
        _measure(values, side, win, new_low, low, far)
        _measure(values, side, win, high, new_high, far)
        low, high = new_low, new_high
        inside = _count(far, low, high, radius)
    if inside <= k:  # all rows are in reach: the radius along the first dimension says nothing
        return np.float32(np.inf), 0, n
    while inside > k + k // 4 + 16:
        tighter = np.float32(radius * np.sqrt(1.12 * (k + 8) / inside))
        fewer = _count(far, low, high, tighter)
        if fewer <= k:
            break
        radius, inside = tighter, fewer
        low, high = _reach(values, a, radius, win)
    return radius, low, high


@njit(cache=True)
def _reach(values, a, radius, win):  # type: ignore[no-untyped-def]
    """Places [low, high) whose distance along the first dimension is at most ``radius`` in
    float32 arithmetic; the search by value may err by one rounding, the loops mend that."""
    n = len(values)
    low = np.searchsorted(values[:win], np.float32(a - radius))
    high = win + np.searchsorted(values[win:], np.float32(a + radius), side="right")
    while low > 0 and np.float32(a - values[low - 1]) <= radius:
        low -= 1
    while high < n and np.float32(values[high] - a) <= radius:
        high += 1
    return low, high


@njit(cache=True)
def _select(values, k):  # type: ignore[no-untyped-def]
    """The k-th smallest (k from 1), by quickselect; reorders ``values``."""
    low, high, want = 0, len(values) - 1, k - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if want <= j:
            high = j
        elif want >= i:
            low = i
        else:
            break
    return values[want]


@njit(cache=True, error_model="numpy")
def _spread(order, far, low, high, radius, win, k, exponent, near, who, work, sums):  # type: ignore[no-untyped-def]
    """Takes 1 from the k rows nearest to the winner, in proportion to distance ** -exponent; or
    from the rows that coincide with it, in equal parts. Rows that tie for the k-th place share."""
    kept = 0
    here = far[low:high]
    for i in range(len(here)):  # without a branch: the place is overwritten unless it counts
        near[kept] = here[i]
        who[kept] = low + i
        kept += here[i] <= radius
    twins = 0
    for i in range(kept):
        twins += near[i] == 0
    if twins > 1:
        for i in range(kept):
            if near[i] == 0 and who[i] != win:
                sums[order[who[i]]] -= 1.0 / (twins - 1)
        return
    edge = np.float32(np.inf)
    part = 1.0
    if kept > k + 1:  # the winner itself is among them, at distance 0
        work[:kept] = near[:kept]
        edge = _select(work[:kept], k + 1)
        inner, tied = 0, 0
        for i in range(kept):
            inner += near[i] < edge
            tied += near[i] == edge
        part = (k + 1 - inner) / tied
    total = 0.0
    shortest = np.float32(np.inf)
    for i in range(kept):
        if who[i] != win:
            shortest = min(shortest, near[i])
    unit = np.float64(shortest)
    for i in range(kept):
        ratio = unit / np.float64(near[i])  # at most 1, so no power overflows
        square = ratio * ratio
        work[i] = square * square if exponent == 4.0 else ratio**exponent
        if near[i] >= edge:
            work[i] *= part if near[i] == edge else 0.0
        if who[i] == win:
            work[i] = 0.0
        total += work[i]
    for i in range(kept):
        sums[order[who[i]]] -= work[i] / total


@njit(parallel=True, cache=True)
def run(columns, order, values, dims, points, starts, k, exponent, floats, doubles, places, sums, winners):  # type: ignore[no-untyped-def]  # fmt: skip
    """Adds the draws of block b, in their order, to ``sums[b]``; blocks run in parallel.

    ``floats`` (B, 1 + m, N), ``doubles`` (B, N) and ``places`` (B, N) are working space.
    """
    n, m = len(order), dims.shape[1]
    for b in prange(len(starts) - 1):
        far, near, side = floats[b, 0], floats[b, 1], floats[b, 2:]
        width = max(32, int(np.sqrt(1.0 * n * k)) // 2)
        for t in range(starts[b], starts[b + 1]):
            if t == starts[b] or (dims[t] != dims[t - 1]).any():
                for j in range(1, m):
                    column = columns[dims[t, j]]
                    for place in range(n):
                        side[j - 1, place] = column[order[place]]
            win = _winner(order, values, side, points[t])
            winners[t] = order[win]
            sums[b, order[win]] += 1.0
            radius, low, high = _ball(values, side, win, k, width, far)
            _spread(
                order, far, low, high, radius, win, k, exponent,
                near, places[b], doubles[b], sums[b],
            )  # fmt: skip
            width = (3 * width + (high - low) // 2) // 4 + 1
