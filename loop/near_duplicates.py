"""Images that are nearly the same: groups by the cosine of their embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loop.geometry import neighbours, transform

NEIGHBOURS = 10
"""Of each image are compared; larger groups are joined through their members."""


@dataclass(frozen=True)
class NearDuplicates:
    """One group.

    Attributes:
        rows: (m,) int64 array rows, ascending.
        cosine: of the two most alike.
    """

    rows: NDArray[np.int64]
    cosine: float


def near_duplicates(embeddings: NDArray[np.float32], cosine: float) -> list[NearDuplicates]:
    """Images joined by pairs whose cosine is at least ``cosine``, the most alike groups first.

    The cosine of the embeddings less their mean: encoders whose values are never negative, pixels
    say, would put everything together otherwise.

    Args:
        embeddings: (N, D).
        cosine: in [-1, 1]; 1 joins what is the same.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(embeddings)
    nearest, distances = neighbours(transform(embeddings, "centred"), NEIGHBOURS)
    cosines = 1 - distances.astype(np.float64) ** 2 / 2  # of rows of length 1
    first, column = np.nonzero(cosines >= cosine - 1e-6)
    second = nearest[first, column]
    pairs = coo_array((np.ones(len(first)), (first, second)), shape=(n, n))
    _, group = connected_components(pairs, directed=False)
    groups = []
    order = np.argsort(group, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        if len(rows) > 1:
            groups.append(NearDuplicates(rows, float(np.nanmax(cosines[rows, 0]))))
    return sorted(groups, key=lambda each: -each.cosine)
