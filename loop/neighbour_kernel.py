"""The k smallest distances of each row, kept while tiles of dot products pass by (numba).

``near`` (M, k) are sorted values |b|^2 - 2 ab (the distance without |a|^2) of the M rows of which a
tile speaks, ``who`` the rows they lead to. A new value is compared with the last one kept; few get
in, so a tile costs little more than being read. Rows arrive in ascending order and only smaller
values enter: ties keep the lowest row.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

LANES = 16


@njit(cache=True)
def _enter(near, who, value, row):  # type: ignore[no-untyped-def]
    i = len(near) - 1
    while i > 0 and near[i - 1] > value:
        near[i], who[i] = near[i - 1], who[i - 1]
        i -= 1
    near[i], who[i] = value, row


@njit(parallel=True, cache=True)
def along_rows(dots, norms, first_row, first_column, near, who):  # type: ignore[no-untyped-def]
    """Offers ``dots[i, j]`` to the tile's row i, ``first_row + i`` of the pool, as its distance to
    ``first_column + j``."""
    other = norms[first_column : first_column + dots.shape[1]]
    for i in prange(dots.shape[0]):
        row = first_row + i
        mine, names, here = near[i], who[i], dots[i]
        last = len(mine) - 1
        for start in range(0, len(here), LANES):
            part, lengths = here[start : start + LANES], other[start : start + LANES]
            hits = 0
            for j in range(len(part)):
                hits += lengths[j] - 2 * part[j] < mine[last]
            if hits == 0:
                continue
            for j in range(len(part)):
                value = lengths[j] - 2 * part[j]
                column = first_column + start + j
                if value < mine[last] and column != row:
                    _enter(mine, names, value, column)


@njit(parallel=True, cache=True)
def along_columns(dots, norms, first_row, near, who):  # type: ignore[no-untyped-def]
    """Offers ``dots[i, j]`` to the tile's column j as its distance to ``first_row + i``."""
    width = dots.shape[1]
    last = near.shape[1] - 1
    for tile in prange((width + LANES - 1) // LANES):
        start = tile * LANES
        stop = min(start + LANES, width)
        edge = near[start:stop, last].copy()
        for i in range(dots.shape[0]):
            part = dots[i, start:stop]
            length = norms[first_row + i]
            hits = 0
            for j in range(len(part)):
                hits += length - 2 * part[j] < edge[j]
            if hits == 0:
                continue
            for j in range(len(part)):
                value = length - 2 * part[j]
                if value < edge[j]:
                    column = start + j
                    _enter(near[column], who[column], value, first_row + i)
                    edge[j] = near[column, last]


@njit(parallel=True, cache=True)
def measure(x, first_row, who, distance):  # type: ignore[no-untyped-def]
    """Euclidean distances of the rows from ``first_row`` on to those found, from differences (exact
    for copies), ascending."""
    m, k = who.shape
    for i in prange(m):
        mine = x[first_row + i]
        for t in range(k):
            total = 0.0
            for j in range(x.shape[1]):
                step = np.float64(mine[j]) - np.float64(x[who[i, t], j])
                total += step * step
            distance[i, t] = np.sqrt(total)
        for t in range(1, k):
            value, row = distance[i, t], who[i, t]
            s = t
            while s > 0 and (
                distance[i, s - 1] > value or (distance[i, s - 1] == value and who[i, s - 1] > row)
            ):
                distance[i, s], who[i, s] = distance[i, s - 1], who[i, s - 1]
                s -= 1
            distance[i, s], who[i, s] = value, row
