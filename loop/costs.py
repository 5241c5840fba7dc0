"""Labelling time: robust means of lead times, pace, and the learning effect.

Lead times cannot be summed as they are: some are missing, some count a lunch break, and some
versions of Label Studio doubled them (label-studio pull request 6406). So a missing one counts like
the others, and nothing counts more than ``CAP`` medians.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loop.config import CostsSection

CAP = 5.0
"""Medians. Of log-normal times with sigma 0.65, as choices take, 0.7 % are above."""

LEARNING_FROM = 20
"""Times from which a learning effect is looked for."""


def usable(seconds: Sequence[float | None]) -> list[float]:
    """Times above zero."""
    return [time for time in seconds if time is not None and time > 0]


def typical(seconds: Sequence[float | None]) -> float | None:
    """Mean seconds per label after capping at ``CAP`` medians; None if no time is known."""
    known = usable(seconds)
    if not known:
        return None
    cap = CAP * median(known)
    return sum(min(time, cap) for time in known) / len(known)


def hours(seconds: Sequence[float | None]) -> float | None:
    """Hours for all of these labels, the missing times filled in; None if no time is known."""
    mean = typical(seconds)
    return None if mean is None else mean * len(seconds) / 3600


def money(costs: CostsSection, hours_: float | None, count: int) -> float | None:
    """What so many annotations cost, by the label and by the hour; None without a rate, and with
    one by the hour but no times: half a price is none."""
    if costs.hourly_rate and hours_ is None:
        return None
    return costs.per_label * count + costs.hourly_rate * (hours_ or 0.0) or None


@dataclass(frozen=True)
class Pace:
    """How fast one group of labels was given.

    Attributes:
        timed: labels with a known time.
        seconds: per label, see ``typical``; None if no time is known.
        per_hour: labels.
    """

    labels: int
    timed: int
    seconds: float | None
    per_hour: float | None


def pace(seconds: Sequence[float | None]) -> Pace:
    """Typical seconds per label and labels per hour of work, pauses left out."""
    mean = typical(seconds)
    return Pace(
        labels=len(seconds),
        timed=len(usable(seconds)),
        seconds=mean,
        per_hour=None if mean is None else 3600 / mean,
    )


def paces(timed: Sequence[tuple[Hashable, float | None]]) -> dict[Hashable, Pace]:
    """Pace per group (annotator, class, ...) of (group, seconds) pairs, in order of appearance."""
    groups: dict[Hashable, list[float | None]] = defaultdict(list)
    for group, seconds in timed:
        groups[group].append(seconds)
    return {group: pace(times) for group, times in groups.items()}


def learning(seconds: Sequence[float | None]) -> float:
    """Exponent b of the power law of practice, seconds ~ (n-th label) ** b; below 0: faster.

    Theil-Sen slope over medians of up to 50 consecutive blocks, so that pauses do not bend it; 0
    with fewer than ``LEARNING_FROM`` times, or where its 95 % interval holds 0.

    Args:
        seconds: of one person's labels, in order.
    """
    import numpy as np
    from scipy.stats import theilslopes

    known = usable(seconds)
    if len(known) < LEARNING_FROM:
        return 0.0
    blocks = np.array_split(np.array(known), min(50, len(known) // 4))
    sizes = np.array([len(block) for block in blocks])
    centres = np.cumsum(sizes) - sizes / 2 + 0.5
    medians = np.array([np.median(block) for block in blocks])
    fit = theilslopes(np.log(medians), np.log(centres), 0.95)
    significant = fit.low_slope > 0 or fit.high_slope < 0
    return float(fit.slope) if significant else 0.0


def upcoming(timed: Sequence[tuple[Hashable, float | None]]) -> float | None:
    """Seconds per label to expect next: what each person takes by now, weighted by their labels.

    After learning or tiring, that is; it is not extrapolated further. None if no time is known.

    Args:
        timed: (person, seconds) in order.
    """
    groups: dict[Hashable, list[float | None]] = defaultdict(list)
    for person, seconds in timed:
        groups[person].append(seconds)
    total = labels = 0.0
    for times in groups.values():
        mean = typical(times)
        if mean is None:
            continue
        n, exponent = len(usable(times)), learning(times)
        mean_of_curve = sum(i**exponent for i in range(1, n + 1)) / n
        total += len(times) * mean * n**exponent / mean_of_curve
        labels += len(times)
    return total / labels if labels else None
