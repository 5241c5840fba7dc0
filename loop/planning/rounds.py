"""How many labels to buy in which round, when nobody knows how many are needed.

A small round wastes little if the target comes early, but there are only so many rounds. As in
Learn-Optimize-Collect (Mahmood et al., NeurIPS 2022), round sizes minimise the expected number of
labels over the distribution of the number needed; instead of their penalty for falling short, the
last round ends where the target is reached with a given confidence. A round may cost something
beside its labels, the days in which people are waited for, say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from loop.planning.curves import Floats
from loop.wording import counted

POINTS = 60
"""Candidates for where a round may end: quantiles of the labels needed."""
FIRST = 5
"""Labels per class up to which several rounds were no better than one (docs/planning.md)."""


@dataclass(frozen=True)
class Rounds:
    """Round sizes.

    Attributes:
        sizes: labels of each round.
        expected: labels bought on average, as later rounds are not always needed.
        at_once: labels of a single round with the same confidence.
        confidence: probability that the target is reached by the end of the last.
    """

    sizes: list[int]
    expected: float
    at_once: int
    confidence: float


def cheapest(
    needed: Floats, rounds: int, confidence: float = 0.9, round_cost: float = 0.0
) -> Rounds | None:
    """Sizes of at most ``rounds`` rounds, from (B,) draws of the labels needed (inf: never).

    Round t is bought only if the target was not reached before, so its size counts with the share
    of draws that still need it. None if no draw needs a label, or less than half of them end.

    Args:
        round_cost: of one more round, in labels.
    """
    finite = np.sort(needed[np.isfinite(needed)])
    if len(finite) * 2 < len(needed) or not finite.any():
        return None
    ends = np.unique(np.ceil(np.quantile(finite, np.linspace(0, confidence, POINTS))))
    stops = np.concatenate([[0.0], ends[ends > 0]])
    path, expected = _cheapest_path(stops, finite, rounds, round_cost)
    sizes = [int(end - start) for start, end in pairwise(stops[path])]
    reached = np.searchsorted(finite, stops[-1], side="right") / len(needed)
    return Rounds(sizes, expected, at_once=int(stops[-1]), confidence=float(reached))


def _cheapest_path(
    stops: Floats, finite: Floats, rounds: int, round_cost: float
) -> tuple[list[int], float]:
    """Shortest path from the first stop to the last in at most ``rounds`` steps.

    A step costs its size and ``round_cost``, times the share of the draws ``finite`` that its start
    does not satisfy.

    Returns:
        Indices of the stops on the path, and the expected number of labels.
    """
    last = len(stops) - 1
    unsatisfied = 1 - np.searchsorted(finite, stops, side="right") / len(finite)
    size = stops[None] - stops[:, None]
    step = np.where(size > 0, (size + round_cost) * unsatisfied[:, None], np.inf)
    cost = np.where(np.arange(len(stops)) == last, 0.0, np.inf)  # from each stop to the last
    next_stops = []
    for _ in range(min(rounds, last)):
        through = step + cost
        next_stops.append(through.argmin(axis=1))
        cost = through.min(axis=1)
        cost[last] = 0.0
    path = [0]
    for next_stop in reversed(next_stops):
        if path[-1] == last:
            break
        path.append(int(next_stop[path[-1]]))
    return path, sum(float(size[i, j] * unsatisfied[i]) for i, j in pairwise(path))


def advice(budgets: Sequence[int], n_classes: int) -> str:
    """What to know of planned rounds before the first label; empty where nothing is to be said.

    Args:
        budgets: labels of each round.
        n_classes: C.
    """
    ends = list(accumulate(budgets))
    early = sum(end < FIRST * n_classes for end in ends)
    if ends[-1] < n_classes:
        return (
            f"{counted(ends[-1], 'label')} for {counted(n_classes, 'class')}: some classes will "
            f"have none; {FIRST * n_classes} would be {FIRST} per class"
        )
    if early < 2:
        return ""
    return (
        f"{counted(early, 'round')} of them end below {FIRST} per class; one round of "
        f"{min(ends[-1], FIRST * n_classes)} gave no worse a model on four sets, and people are "
        "waited for once"
    )
