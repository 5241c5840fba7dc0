"""Where picks lie in a pool: how dense it is around each, how many images each stands for, and what
is nearest to it. Distances are those of the default geometry (loop.geometry, ``standard``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loop.geometry import squared_distances, transform

Rows = NDArray[np.int64]
NEIGHBOUR = 10
"""Density goes by the distance to this neighbour, as in TypiClust's typicality by some twenty."""
MOST = 50_000
"""Images of the pool that are looked at; larger pools by evenly spread ones."""
REFERENCES = 1000
"""Images whose density picks are compared with."""
CELLS = 50_000_000
"""Distances held at once: 200 MB."""


@dataclass(frozen=True)
class Surroundings:
    """What surrounds each of P picks.

    Attributes:
        density: (P,) float64 in [0, 1], share of the pool with fewer images nearby: 1 is the
            densest, 0 a loner.
        stands_for: (P,) float64 share of the pool to which this pick is the nearest of all P.
        nearest: (P,) int64 index of the nearest among the marked rows, -1 without any.
    """

    density: NDArray[np.float64]
    stands_for: NDArray[np.float64]
    nearest: Rows


def surroundings(
    embedded: NDArray[np.float32], pool: Rows, picks: Rows, marked: Rows
) -> Surroundings:
    """What surrounds picks.

    Args:
        embedded: (all images, D).
        pool: (N,) rows of the pool, among them the picks.
        picks: (P,) rows, P at least 1.
        marked: (L,) rows of images that the picks are compared with, such as those with a label;
            none of the picks.
    """
    spread = pool[:: max(1, -(-len(pool) // MOST))]
    rows = np.unique(np.concatenate([spread, picks, marked]))
    space = transform(np.asarray(embedded[rows]), "standard")
    around, chosen = space[np.searchsorted(rows, spread)], space[np.searchsorted(rows, picks)]
    references = around[:: max(1, len(around) // REFERENCES)]
    usual = np.sort(_to_neighbour(references, around))
    beyond = len(usual) - np.searchsorted(usual, _to_neighbour(chosen, around), side="right")
    nearest_pick = _nearest(around, chosen)
    return Surroundings(
        density=beyond / len(usual),
        stands_for=np.bincount(nearest_pick, minlength=len(picks)) / len(around),
        nearest=_nearest(chosen, space[np.searchsorted(rows, marked)]),
    )


def _to_neighbour(x: NDArray[np.float32], around: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) squared distance of each row to its tenth neighbour, itself the zeroth."""
    k = min(NEIGHBOUR, len(around) - 1)
    parts = [
        np.partition(squared_distances(part, around), k, axis=1)[:, k]
        for part in _parts(x, len(around))
    ]
    return np.concatenate(parts)


def _nearest(x: NDArray[np.float32], among: NDArray[np.float32]) -> Rows:
    """(n,) index of the nearest row of ``among``; -1 where that is empty."""
    if not len(among):
        return np.full(len(x), -1, dtype=np.int64)
    parts = [squared_distances(part, among).argmin(axis=1) for part in _parts(x, len(among))]
    return np.concatenate(parts).astype(np.int64)


def _parts(x: NDArray[np.float32], columns: int) -> Iterator[NDArray[np.float32]]:
    """Consecutive rows whose distances to ``columns`` others fit into memory."""
    size = max(1, CELLS // columns)
    for start in range(0, len(x), size):
        yield x[start : start + size]
