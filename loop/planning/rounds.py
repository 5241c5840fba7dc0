"""How many labels to buy in which round, when nobody knows how many are needed.

A small round wastes little if the target comes early, but there are only so many rounds. As in
Learn-Optimize-Collect (Mahmood et al., NeurIPS 2022), round sizes minimise the expected number of
labels over the distribution of the number needed; instead of their penalty for falling short, the
last round ends where the target is reached with a given confidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loop.planning.curves import Floats

POINTS = 60
"""Candidates for where a round may end: quantiles of the labels needed."""


@dataclass(frozen=True)
class Rounds:
    """Round sizes, the labels they are expected to take, and what one round at once would take.

    ``confidence``: chance that the target is reached by their end.
    """

    sizes: list[int]
    expected: float
    at_once: int
    confidence: float


def cheapest(needed: Floats, rounds: int, confidence: float = 0.9) -> Rounds | None:
    """Sizes of at most ``rounds`` rounds, from (B,) draws of the labels needed (inf: never).

    Round t is bought only if the target was not reached before, so its size counts with the share
    of draws that still need it. None if no draw needs a label, or less than half of them end.
    """
    finite = np.sort(needed[np.isfinite(needed)])
    if len(finite) * 2 < len(needed) or not finite.any():
        return None
    ends = np.unique(np.ceil(np.quantile(finite, np.linspace(0, confidence, POINTS))))
    ends = ends[ends > 0]
    stops = np.concatenate([[0.0], ends])
    # while the target is not reached, given that it will be
    open_ = 1 - np.searchsorted(finite, stops, side="right") / len(finite)
    size = stops[None] - stops[:, None]
    step = np.where(size > 0, size * open_[:, None], np.inf)
    cost = np.where(stops == stops[-1], 0.0, np.inf)
    choices = []
    for _ in range(min(rounds, len(ends))):
        through = step + cost
        choices.append(through.argmin(axis=1))
        cost = through.min(axis=1)
        cost[-1] = 0.0
    sizes, place = [], 0
    for best in reversed(choices):
        if place == len(stops) - 1:
            break
        sizes.append(int(stops[best[place]] - stops[place]))
        place = int(best[place])
    reached = np.searchsorted(finite, stops[-1], side="right") / len(needed)
    return Rounds(sizes, float(cost[0]), int(stops[-1]), float(reached))
