"""ZCore's loop over draws, compiled by numba. See loop.scorers.zcore for the method.

All draws of one call share their first dimension. ``order`` are the rows in ascending order of it,
``values`` their values there; a position is an index into both. ``others`` holds the other
dimensions of a draw by position, filled once for consecutive draws of the same dimensions. So
everything near a winner is read, and written, in sequence.

No step may round differently depending on how it was compiled (this machine or another, alone or
inlined, loaded or compiled anew), so that the parts of an engine agree: no sum may be reordered.

The k nearest are never sorted: a radius whose ball holds exactly k rows is found by counting, which
takes a few vectorised passes over the positions that can be inside. Distances of the redundancy are
float32, as in the original. Weights are powers of (smallest distance / distance), at most 1, so
that no distance is too small or too large for them; sums are float64.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange


@njit(cache=True)
def _winner(order, values, others, point, scratch):  # type: ignore[no-untyped-def]
    """Position of the nearest row in L1 (float64), lowest row on ties. Widens the window around the
    point until the gap along the sorted dimension alone exceeds the best distance."""
    n = len(order)
    centre = np.searchsorted(values, point[0])
    start, stop = centre, centre
    best, width = np.inf, 32
    while True:
        new_start, new_stop = max(0, start - width), min(n, stop + width)
        best = min(best, _nearest(values, others, point, new_start, start, scratch))
        best = min(best, _nearest(values, others, point, stop, new_stop, scratch))
        start, stop = new_start, new_stop
        if (start == 0 or abs(np.float64(values[start]) - point[0]) > best) and (
            stop == n or abs(np.float64(values[stop - 1]) - point[0]) > best
        ):
            break
        width *= 2
    winner = -1
    for position in range(start, stop):
        if scratch[position] == best and (winner < 0 or order[position] < order[winner]):
            winner = position
    return winner


@njit(cache=True, error_model="numpy", fastmath={"nnan", "nsz"})
def _nearest(values, others, point, start, stop, scratch):  # type: ignore[no-untyped-def]
    """Fills ``scratch[start:stop]`` with L1 distances to a point; returns the least of them."""
    first, distances = values[start:stop], scratch[start:stop]
    for i in range(len(distances)):
        distances[i] = abs(np.float64(first[i]) - point[0])
    for j in range(len(others)):
        second, coordinate = others[j, start:stop], point[j + 1]
        for i in range(len(distances)):
            distances[i] += abs(np.float64(second[i]) - coordinate)
    least = np.inf
    for i in range(len(distances)):
        least = min(least, distances[i])
    return least


@njit(cache=True)
def _measure(values, others, winner, start, stop, all_distances):  # type: ignore[no-untyped-def]
    """Fills ``all_distances[start:stop]`` with L1 distances to the winner; its own is infinite."""
    distances, first = all_distances[start:stop], values[start:stop]
    coordinate = values[winner]
    for i in range(len(distances)):
        distances[i] = abs(first[i] - coordinate)
    for j in range(len(others)):
        other_coordinate, second = others[j, winner], others[j, start:stop]
        for i in range(len(distances)):
            distances[i] += abs(second[i] - other_coordinate)
    if start <= winner < stop:
        all_distances[winner] = np.inf


@njit(cache=True)
def _count(all_distances, start, stop, radius):  # type: ignore[no-untyped-def]
    """Number of rows within ``radius`` of the winner."""
    distances = all_distances[start:stop]
    inside = 0
    for i in range(len(distances)):
        inside += distances[i] <= radius
    return inside


@njit(cache=True, fastmath={"nnan", "nsz"})
def _least(all_distances, start, stop):  # type: ignore[no-untyped-def]
    distances = all_distances[start:stop]
    least = np.float32(np.inf)
    for i in range(len(distances)):
        least = min(least, distances[i])
    return least


@njit(cache=True)
def _reach(values, coordinate, radius, winner):  # type: ignore[no-untyped-def]
    """Positions [start, stop) whose distance along the first dimension is at most ``radius`` in
    float32 arithmetic; the search by value may be off by a rounding, which the loops correct."""
    n = len(values)
    start = np.searchsorted(values[:winner], np.float32(coordinate - radius))
    upper = np.float32(coordinate + radius)
    stop = winner + np.searchsorted(values[winner:], upper, side="right")
    while start > 0 and np.float32(coordinate - values[start - 1]) <= radius:
        start -= 1
    while stop < n and np.float32(values[stop] - coordinate) <= radius:
        stop += 1
    return start, stop


@njit(cache=True)
def _at_least(values, others, winner, k, width, distances):  # type: ignore[no-untyped-def]
    """A radius whose ball holds at least k other rows, their number, and the positions
    [start, stop) outside of which none of them lies; ``distances`` is filled there. Begins with
    ``width`` positions on each side."""
    n = len(values)
    coordinate = values[winner]
    start, stop = max(0, winner - width), min(n, winner + width + 1)
    radius = max(coordinate - values[start], values[stop - 1] - coordinate)
    start, stop = _reach(values, coordinate, radius, winner)
    _measure(values, others, winner, start, stop, distances)
    inside = _count(distances, start, stop, radius)
    while inside < k and (start > 0 or stop < n):
        if radius > 0:
            radius = np.float32(radius * 1.4)
        else:
            radius = np.float32((values[n - 1] - values[0]) / n)
        new_start, new_stop = _reach(values, coordinate, radius, winner)
        _measure(values, others, winner, new_start, start, distances)
        _measure(values, others, winner, stop, new_stop, distances)
        start, stop = new_start, new_stop
        inside = _count(distances, start, stop, radius)
    if inside < k:  # every row is measured, but some lie beyond the radius in other dimensions
        radius = np.float32(distances[:winner].max()) if winner > 0 else np.float32(0)
        if winner < n - 1:
            radius = max(radius, distances[winner + 1 :].max())
        inside = n - 1
    return radius, inside, start, stop


@njit(cache=True)
def _exactly(values, winner, k, radius, inside, start, stop, distances):  # type: ignore[no-untyped-def]
    """Radius of the ball of the k nearest, the share of the rows at that very distance that belongs
    to them (1 unless there are ties), and the positions outside of which none lies."""
    inner_radius, inner_count = np.float32(0), _count(distances, start, stop, np.float32(0))
    if inner_count >= k:
        return inner_radius, k / inner_count, start, stop
    tries = 0
    while inside > k:
        share = (k - inner_count) / (inside - inner_count)
        if tries % 4 == 3:
            guess = np.float32(0.5 * (np.float64(inner_radius) + radius))
        else:  # rows are spread about evenly over the area between two balls
            area = np.float64(inner_radius) * inner_radius
            guess = np.float32(np.sqrt(area + (np.float64(radius) * radius - area) * share))
        if not inner_radius < guess < radius:
            guess = np.float32(0.5 * (np.float64(inner_radius) + radius))
            if not inner_radius < guess < radius:  # adjacent float32 numbers: the rest are ties
                return radius, share, start, stop
        count = _count(distances, start, stop, guess)
        if count < k:
            inner_radius, inner_count = guess, count
        else:
            radius, inside = guess, count
            start, stop = _reach(values, values[winner], radius, winner)
        tries += 1
    return radius, 1.0, start, stop


@njit(cache=True)
def _total(weights, scratch):  # type: ignore[no-untyped-def]
    """Sum in float64 by folding halves onto each other: passes that a processor vectorises, in an
    order that is always the same. ``scratch`` is overwritten."""
    half = len(weights) // 2
    sums, first, second = scratch[:half], weights[:half], weights[half:]
    for i in range(half):
        sums[i] = np.float64(first[i]) + np.float64(second[i])
    total = np.float64(weights[-1]) if len(weights) % 2 else 0.0
    while half > 32:
        if half % 2:
            total += scratch[half - 1]
        half //= 2
        left, right = scratch[:half], scratch[half : 2 * half]
        for i in range(half):
            left[i] += right[i]
    for i in range(half):
        total += scratch[i]
    return total


@njit(cache=True, error_model="numpy", fastmath={"nnan", "nsz"})
def _spread(all_distances, start, stop, radius, tie, exponent, scratch, doubles, all_sums):  # type: ignore[no-untyped-def]
    """Subtracts 1 from the rows within ``radius``, in proportion to distance ** -exponent; from the
    rows that coincide with the winner alone, in equal parts, if there are any. Rows at ``radius``
    count with the share ``tie``."""
    distances, sums = all_distances[start:stop], all_sums[start:stop]
    weights = scratch[start:stop]
    least = _least(all_distances, start, stop)
    if least == 0:
        copies = _count(all_distances, start, stop, np.float32(0))
        for i in range(len(distances)):
            if distances[i] == 0:
                sums[i] -= 1.0 / copies
        return
    tie32 = np.float32(tie)
    full, none = np.float32(1), np.float32(0)
    if exponent == 4.0:
        for i in range(len(distances)):
            ratio = least / distances[i]
            square = ratio * ratio
            share = full if distances[i] < radius else (tie32 if distances[i] == radius else none)
            weights[i] = square * square * share
    else:
        for i in range(len(distances)):
            share = full if distances[i] < radius else (tie32 if distances[i] == radius else none)
            if share > 0:
                weights[i] = (least / distances[i]) ** np.float32(exponent) * share
            else:
                weights[i] = none
    scale = 1.0 / _total(weights, doubles[start:stop])
    for i in range(len(distances)):
        sums[i] -= np.float64(weights[i]) * scale


@njit(parallel=True, cache=True)
def run(columns, order, values, dims, points, starts, k, exponent, floats, doubles, sums, winners):  # type: ignore[no-untyped-def]
    """Adds the draws of block b, in their order, to ``sums[b]``; blocks run in parallel.

    Args:
        columns: (D, N) float32 embeddings, transposed.
        order, values: (N,) rows ascending in the draws' first dimension, and their values there.
        dims, points: (T, m) dimensions and coordinates of the draws.
        starts: (B + 1,) edges of the blocks of draws.
        k, exponent: neighbours that share the redundancy, and the power of the inverse distance.
        floats, doubles: (B, 1 + m, N) float32 and (B, N) float64 scratch space.
        sums: (B, N) float64 by position, changed in place.
        winners: (T,) int64 rows, filled.
    """
    n, m = len(order), dims.shape[1]
    for b in prange(len(starts) - 1):
        distances, scratch, others = floats[b, 0], floats[b, 1], floats[b, 2:]
        width = max(32, int(np.sqrt(1.0 * n * k)) // 2)
        for t in range(starts[b], starts[b + 1]):
            for j in range(1, m):
                if t == starts[b] or dims[t, j] != dims[t - 1, j]:
                    column = columns[dims[t, j]]
                    for position in range(n):
                        others[j - 1, position] = column[order[position]]
            winner = _winner(order, values, others, points[t], doubles[b])
            winners[t] = order[winner]
            sums[b, winner] += 1.0
            # well below the usual width: growing costs less than having measured too much
            start_width = 2 * width // 5
            radius, inside, start, stop = _at_least(
                values, others, winner, k, start_width, distances
            )
            radius, tie, start, stop = _exactly(
                values, winner, k, radius, inside, start, stop, distances
            )
            _spread(distances, start, stop, radius, tie, exponent, scratch, doubles[b], sums[b])
            width = (3 * width + (stop - start) // 2) // 4 + 1
