"""What candidates would add to coverage, from stored similarities, in one pass (numba)."""

from __future__ import annotations

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
