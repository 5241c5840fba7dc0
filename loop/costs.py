"""What labelling costs in time, from lead times as labelling tools report them.

Lead times cannot be summed as they are: some are missing, some count a lunch break, and some
versions of Label Studio doubled them (label-studio pull request 6406). So a missing one counts like
the others, and nothing counts more than ``CAP`` medians.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import median

CAP = 5.0
"""Medians. Of log-normal times with sigma 0.65, as choices take, 0.7 % are above."""

LEARNING_FROM = 20
"""Times from which a learning effect is looked for."""


def usable(seconds: Sequence[float | None]) -> list[float]:
    """Times above zero."""
    return [s for s in seconds if s is not None and s > 0]


def typical(seconds: Sequence[float | None]) -> float | None:
    """Mean seconds per label after capping at ``CAP`` medians; None if no time is known."""
    known = usable(seconds)
    if not known:
        return None
    cap = CAP * median(known)
    return sum(min(s, cap) for s in known) / len(known)


def hours(seconds: Sequence[float | None]) -> float | None:
    """Hours for all of these labels, the missing times filled in; None if no time is known."""
    each = typical(seconds)
    return None if each is None else each * len(seconds) / 3600


@dataclass(frozen=True)
class Pace:
    """How fast one group of labels was given. ``timed`` of ``labels`` have a known time."""

    labels: int
    timed: int
    seconds: float | None
    per_hour: float | None


def pace(seconds: Sequence[float | None]) -> Pace:
    """Typical seconds per label and labels per hour of work, pauses left out."""
    each = typical(seconds)
    per_hour = None if each is None else 3600 / each
    return Pace(len(seconds), len(usable(seconds)), each, per_hour)


def paces(timed: Sequence[tuple[Hashable, float | None]]) -> dict[Hashable, Pace]:
    """Pace per group (annotator, class, ...) of (group, seconds) pairs, in order of appearance."""
    groups: dict[Hashable, list[float | None]] = defaultdict(list)
    for group, seconds in timed:
        groups[group].append(seconds)
    return {group: pace(mine) for group, mine in groups.items()}


def learning(seconds: Sequence[float | None]) -> float:
    """Exponent b of seconds ~ (n-th label) ** b for one person's times in order; below 0: faster.

    Theil-Sen slope over medians of up to 50 consecutive blocks, so that pauses do not bend it; 0
    with fewer than 20 times, or where its 95 % interval holds 0.
    """
    import numpy as np
    from scipy.stats import theilslopes

    known = usable(seconds)
    if len(known) < LEARNING_FROM:
        return 0.0
    blocks = np.array_split(np.array(known), min(50, len(known) // 4))
    ends = np.cumsum([len(block) for block in blocks])
    middle = ends - np.array([len(block) for block in blocks]) / 2 + 0.5
    slope = theilslopes(np.log([np.median(block) for block in blocks]), np.log(middle), 0.95)
    return float(slope.slope) if slope.low_slope > 0 or slope.high_slope < 0 else 0.0


def upcoming(timed: Sequence[tuple[Hashable, float | None]]) -> float | None:
    """Seconds per label to expect next from (person, seconds) pairs in order: what each person
    takes by now, after learning or tiring, weighted by their labels. Not extrapolated further."""
    groups: dict[Hashable, list[float | None]] = defaultdict(list)
    for person, seconds in timed:
        groups[person].append(seconds)
    total = labels = 0.0
    for mine in groups.values():
        each = typical(mine)
        if each is None:
            continue
        n, power = len(usable(mine)), learning(mine)
        total += len(mine) * each * n**power / (sum(i**power for i in range(1, n + 1)) / n)
        labels += len(mine)
    return total / labels if labels else None
