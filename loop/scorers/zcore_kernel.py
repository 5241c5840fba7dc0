"""ZCore's loop over draws, compiled by numba. See loop.scorers.zcore for the method.

All draws of one call share their first dimension. ``order`` are the rows in ascending order of it,
``values`` their values there; a place is an index into both. ``side`` holds the other dimensions of
a draw in the order of places, filled once for all draws of the same dimensions, which stand
together. So everything near a winner is read, and written, in sequence.

No step may round differently for how it was compiled (this machine or another, alone or inlined,
loaded or compiled anew), so that an engine's parts agree: no sum is left to be reordered.

The k nearest are never sorted: a radius whose ball holds exactly k rows is found by counting, which
takes a few vectorised passes over the strip of places that can be inside. Distances of the
redundancy are float32, as in the original. Weights are powers of (smallest distance / distance),
at most 1, so that no distance is too small or too large for them; sums are float64.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange


@njit(cache=True)
def _winner(order, values, side, point, work):  # type: ignore[no-untyped-def]
    """Place of the nearest row in L1 (float64), lowest row on ties. Looks at twice as many places
    around the point until the gap along the sorted dimension alone exceeds the best distance."""
    n = len(order)
    centre = np.searchsorted(values, point[0])
    low, high = centre, centre
    best, width = np.inf, 32
    while True:
        new_low, new_high = max(0, low - width), min(n, high + width)
        best = min(best, _nearest(values, side, point, new_low, low, work))
        best = min(best, _nearest(values, side, point, high, new_high, work))
        low, high = new_low, new_high
        if (low == 0 or abs(np.float64(values[low]) - point[0]) > best) and (
            high == n or abs(np.float64(values[high - 1]) - point[0]) > best
        ):
            break
        width *= 2
    win = -1
    for place in range(low, high):
        if work[place] == best and (win < 0 or order[place] < order[win]):
            win = place
    return win


@njit(cache=True, error_model="numpy", fastmath={"nnan", "nsz"})
def _nearest(values, side, point, low, high, work):  # type: ignore[no-untyped-def]
    """Fills ``work[low:high]`` with L1 distances to a point; the least of them."""
    here, out = values[low:high], work[low:high]
    for i in range(len(out)):
        out[i] = abs(np.float64(here[i]) - point[0])
    for j in range(len(side)):
        other, b = side[j, low:high], point[j + 1]
        for i in range(len(out)):
            out[i] += abs(np.float64(other[i]) - b)
    least = np.inf
    for i in range(len(out)):
        least = min(least, out[i])
    return least


@njit(cache=True)
def _measure(values, side, win, low, high, far):  # type: ignore[no-untyped-def]
    """Fills ``far[low:high]`` with L1 distances to the winner, whose own is infinite."""
    out, here = far[low:high], values[low:high]
    a = values[win]
    for i in range(len(out)):
        out[i] = abs(here[i] - a)
    for j in range(len(side)):
        b, other = side[j, win], side[j, low:high]
        for i in range(len(out)):
            out[i] += abs(other[i] - b)
    if low <= win < high:
        far[win] = np.inf


@njit(cache=True)
def _count(far, low, high, radius):  # type: ignore[no-untyped-def]
    here = far[low:high]
    inside = 0
    for i in range(len(here)):
        inside += here[i] <= radius
    return inside


@njit(cache=True, fastmath={"nnan", "nsz"})
def _least(far, low, high):  # type: ignore[no-untyped-def]
    here = far[low:high]
    least = np.float32(np.inf)
    for i in range(len(here)):
        least = min(least, here[i])
    return least


@njit(cache=True)
def _reach(values, a, radius, win):  # type: ignore[no-untyped-def]
    """Places [low, high) whose distance along the first dimension is at most ``radius`` in
    float32 arithmetic; the search by value may err by a rounding, which the loops mend."""
    n = len(values)
    low = np.searchsorted(values[:win], np.float32(a - radius))
    high = win + np.searchsorted(values[win:], np.float32(a + radius), side="right")
    while low > 0 and np.float32(a - values[low - 1]) <= radius:
        low -= 1
    while high < n and np.float32(values[high] - a) <= radius:
        high += 1
    return low, high


@njit(cache=True)
def _enough(values, side, win, k, width, far):  # type: ignore[no-untyped-def]
    """A radius whose ball holds at least k other rows, their number, and the places [low, high)
    outside of which none of them lies; ``far`` is filled there. Starts at ``width`` places."""
    n = len(values)
    a = values[win]
    low, high = max(0, win - width), min(n, win + width + 1)
    radius = max(a - values[low], values[high - 1] - a)
    low, high = _reach(values, a, radius, win)
    _measure(values, side, win, low, high, far)
    inside = _count(far, low, high, radius)
    while inside < k and (low > 0 or high < n):
        if radius > 0:
            radius = np.float32(radius * 1.4)
        else:
            radius = np.float32((values[n - 1] - values[0]) / n)
        new_low, new_high = _reach(values, a, radius, win)
        _measure(values, side, win, new_low, low, far)
        _measure(values, side, win, high, new_high, far)
        low, high = new_low, new_high
        inside = _count(far, low, high, radius)
    if inside < k:  # every row is measured, but some lie beyond the radius in other dimensions
        radius = np.float32(far[:win].max()) if win > 0 else np.float32(0)
        if win < n - 1:
            radius = max(radius, far[win + 1 :].max())
        inside = n - 1
    return radius, inside, low, high


@njit(cache=True)
def _exactly(values, win, k, radius, inside, low, high, far):  # type: ignore[no-untyped-def]
    """Radius of the ball of the k nearest, the part of the rows at that very distance which
    belongs to them (1 unless there are ties), and the places outside of which none lies."""
    under, below = np.float32(0), _count(far, low, high, np.float32(0))
    if below >= k:
        return under, k / below, low, high
    tries = 0
    while inside > k:
        share = (k - below) / (inside - below)
        if tries % 4 == 3:
            guess = np.float32(0.5 * (np.float64(under) + radius))
        else:  # rows are about even over the area between two balls
            inner = np.float64(under) * under
            guess = np.float32(np.sqrt(inner + (np.float64(radius) * radius - inner) * share))
        if not under < guess < radius:
            guess = np.float32(0.5 * (np.float64(under) + radius))
            if not under < guess < radius:  # neighbouring numbers: all in between are ties
                return radius, share, low, high
        found = _count(far, low, high, guess)
        if found < k:
            under, below = guess, found
        else:
            radius, inside = guess, found
            low, high = _reach(values, values[win], radius, win)
        tries += 1
    return radius, 1.0, low, high


@njit(cache=True)
def _total(weight, work):  # type: ignore[no-untyped-def]
    """Sum in float64, halves folded onto each other: passes that a processor takes several
    numbers of at once, in an order that is always the same. ``work`` is overwritten."""
    half = len(weight) // 2
    out, one, two = work[:half], weight[:half], weight[half:]
    for i in range(half):
        out[i] = np.float64(one[i]) + np.float64(two[i])
    rest = np.float64(weight[-1]) if len(weight) % 2 else 0.0
    while half > 32:
        if half % 2:
            rest += work[half - 1]
        half //= 2
        left, right = work[:half], work[half : 2 * half]
        for i in range(half):
            left[i] += right[i]
    for i in range(half):
        rest += work[i]
    return rest


@njit(cache=True, error_model="numpy", fastmath={"nnan", "nsz"})
def _spread(far, low, high, radius, part, exponent, work, doubles, sums):  # type: ignore[no-untyped-def]
    """Takes 1 from the rows within ``radius``, in proportion to distance ** -exponent; from the
    rows that coincide with the winner alone, in equal parts, if there are any."""
    here, weight, out = far[low:high], work[low:high], sums[low:high]
    least = _least(far, low, high)
    if least == 0:
        twins = _count(far, low, high, np.float32(0))
        for i in range(len(here)):
            if here[i] == 0:
                out[i] -= 1.0 / twins
        return
    tie = np.float32(part)
    one, zero = np.float32(1), np.float32(0)
    if exponent == 4.0:
        for i in range(len(here)):
            ratio = least / here[i]
            square = ratio * ratio
            keep = one if here[i] < radius else (tie if here[i] == radius else zero)
            weight[i] = square * square * keep
    else:
        for i in range(len(here)):
            keep = one if here[i] < radius else (tie if here[i] == radius else zero)
            weight[i] = (least / here[i]) ** np.float32(exponent) * keep if keep > 0 else zero
    scale = 1.0 / _total(weight, doubles[low:high])
    for i in range(len(here)):
        out[i] -= np.float64(weight[i]) * scale


@njit(parallel=True, cache=True)
def run(columns, order, values, dims, points, starts, k, exponent, floats, doubles, sums, winners):  # type: ignore[no-untyped-def]
    """Adds the draws of block b, in their order, to ``sums[b]``, by place; blocks run in parallel.

    ``floats`` (B, 1 + m, N) and ``doubles`` (B, N) are working space. Winners are rows.
    """
    n, m = len(order), dims.shape[1]
    for b in prange(len(starts) - 1):
        far, work, side = floats[b, 0], floats[b, 1], floats[b, 2:]
        width = max(32, int(np.sqrt(1.0 * n * k)) // 2)
        for t in range(starts[b], starts[b + 1]):
            for j in range(1, m):
                if t == starts[b] or dims[t, j] != dims[t - 1, j]:
                    column = columns[dims[t, j]]
                    for place in range(n):
                        side[j - 1, place] = column[order[place]]
            win = _winner(order, values, side, points[t], doubles[b])
            winners[t] = order[win]
            sums[b, win] += 1.0
            # well below the usual width: growing is cheaper than having measured too much
            near = 2 * width // 5
            radius, inside, low, high = _enough(values, side, win, k, near, far)
            radius, part, low, high = _exactly(values, win, k, radius, inside, low, high, far)
            _spread(far, low, high, radius, part, exponent, work, doubles[b], sums[b])
            width = (3 * width + (high - low) // 2) // 4 + 1
