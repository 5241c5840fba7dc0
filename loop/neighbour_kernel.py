"""The k smallest distances of each row, kept while tiles of dot products pass by (numba).

``kept`` (M, k) holds, ascending, the values |b|^2 - 2 ab (squared distance without |a|^2) of the M
rows that a tile is about; ``index`` (M, k) holds the rows b. A new value is compared with the
largest one kept; few enter, so a tile costs little more than reading it. Rows arrive in ascending
order and only smaller values enter, so ties keep the lowest row.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

LANES = 16
"""Values tested at a time; the loop over them is vectorised."""


@njit(cache=True)
def _insert(kept, index, value, row):  # type: ignore[no-untyped-def]
    """Replaces the largest value of one row's list and keeps the list sorted."""
    i = len(kept) - 1
    while i > 0 and kept[i - 1] > value:
        kept[i], index[i] = kept[i - 1], index[i - 1]
        i -= 1
    kept[i], index[i] = value, row


@njit(parallel=True, cache=True)
def along_rows(products, norms, first_row, first_column, kept, index):  # type: ignore[no-untyped-def]
    """Offers ``products[i, j]`` to row ``first_row + i`` as its distance to ``first_column + j``.

    Args:
        products: (A, B) float32 dot products of rows ``first_row``... and ``first_column``...
        norms: (N,) float32 squared lengths.
        kept, index: (A, k) lists of the tile's rows, changed in place.
    """
    column_norms = norms[first_column : first_column + products.shape[1]]
    for i in prange(products.shape[0]):
        row = first_row + i
        row_kept, row_index, row_products = kept[i], index[i], products[i]
        last = len(row_kept) - 1
        for start in range(0, len(row_products), LANES):
            lane = row_products[start : start + LANES]
            lane_norms = column_norms[start : start + LANES]
            smaller = 0
            for j in range(len(lane)):
                smaller += lane_norms[j] - 2 * lane[j] < row_kept[last]
            if smaller == 0:
                continue
            for j in range(len(lane)):
                value = lane_norms[j] - 2 * lane[j]
                column = first_column + start + j
                if value < row_kept[last] and column != row:
                    _insert(row_kept, row_index, value, column)


@njit(parallel=True, cache=True)
def along_columns(products, norms, first_row, kept, index):  # type: ignore[no-untyped-def]
    """Offers ``products[i, j]`` to the tile's column j as its distance to ``first_row + i``.

    ``kept`` and ``index`` (B, k) are the lists of the tile's columns, changed in place.
    """
    width = products.shape[1]
    last = kept.shape[1] - 1
    for tile in prange((width + LANES - 1) // LANES):
        start = tile * LANES
        stop = min(start + LANES, width)
        limits = kept[start:stop, last].copy()
        for i in range(products.shape[0]):
            lane = products[i, start:stop]
            norm = norms[first_row + i]
            smaller = 0
            for j in range(len(lane)):
                smaller += norm - 2 * lane[j] < limits[j]
            if smaller == 0:
                continue
            for j in range(len(lane)):
                value = norm - 2 * lane[j]
                if value < limits[j]:
                    column = start + j
                    _insert(kept[column], index[column], value, first_row + i)
                    limits[j] = kept[column, last]


@njit(parallel=True, cache=True)
def measure(x, first_row, index, distances):  # type: ignore[no-untyped-def]
    """Euclidean distances of the rows from ``first_row`` on to those in ``index``, ascending.

    Computed from differences in float64, so copies have distance 0 exactly. ``index`` (M, k) is
    sorted along with ``distances`` (M, k).
    """
    m, k = index.shape
    for i in prange(m):
        row = x[first_row + i]
        for t in range(k):
            total = 0.0
            for j in range(x.shape[1]):
                difference = np.float64(row[j]) - np.float64(x[index[i, t], j])
                total += difference * difference
            distances[i, t] = np.sqrt(total)
        for t in range(1, k):
            value, neighbour = distances[i, t], index[i, t]
            s = t
            while s > 0 and (
                distances[i, s - 1] > value
                or (distances[i, s - 1] == value and index[i, s - 1] > neighbour)
            ):
                distances[i, s], index[i, s] = distances[i, s - 1], index[i, s - 1]
                s -= 1
            distances[i, s], index[i, s] = value, neighbour
