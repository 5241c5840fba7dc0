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
