"""What a target takes, what a budget buys, and whether to go on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from loop.errors import ConfigError
from loop.planning.curves import Floats, Forecast, LearningCurve, noise

LEVELS = (0.5, 0.8, 0.9)
LONGEST = 36525
"""Days; a plan of more than a hundred years has no date."""


@dataclass(frozen=True)
class Price:
    """What the label of one image takes.

    Attributes:
        seconds: of work per annotation; None: not known.
        votes: annotations per labelled image, overlap and reviews counted.
        hourly_rate, per_label: money per hour of work and per annotation.
        per_day: images labelled per calendar day; None: not known.

    Raises:
        ConfigError: a negative number.
    """

    seconds: float | None = None
    votes: float = 1.0
    hourly_rate: float = 0.0
    per_label: float = 0.0
    per_day: float | None = None

    def __post_init__(self) -> None:
        for name in ("seconds", "votes", "hourly_rate", "per_label", "per_day"):
            if (getattr(self, name) or 0) < 0:
                raise ConfigError(
                    f"{name.replace('_', ' ')} cannot be negative, got {getattr(self, name)}"
                )

    @property
    def hours(self) -> float | None:
        """Of work per labelled image."""
        return self.seconds * self.votes / 3600 if self.seconds else None

    @property
    def money(self) -> float | None:
        """Per labelled image; None without a rate, or with one by the hour but no times."""
        if not (self.per_label or self.hourly_rate) or (self.hourly_rate and not self.hours):
            return None
        return self.per_label * self.votes + self.hourly_rate * (self.hours or 0.0)


@dataclass(frozen=True)
class Spread:
    """A median and intervals by level ("50%", ...); None: beyond what the curves are followed."""

    middle: float | None
    intervals: dict[str, tuple[float | None, float | None]]

    @classmethod
    def of(cls, values: Floats) -> Spread:
        """Of (B,) draws that may be infinite."""
        ordered = np.sort(values)

        def nearest(q: float) -> float | None:
            value = ordered[min(len(ordered) - 1, int(q * len(ordered)))]
            return float(value) if np.isfinite(value) else None

        return cls(
            nearest(0.5),
            {f"{v:.0%}": (nearest(0.5 - v / 2), nearest(0.5 + v / 2)) for v in LEVELS},
        )

    def times(self, each: float | None) -> Spread | None:
        """All numbers times ``each``; None if that is not known."""
        if each is None:
            return None

        def scaled(value: float | None) -> float | None:
            return None if value is None else value * each

        return Spread(
            scaled(self.middle), {k: (scaled(a), scaled(b)) for k, (a, b) in self.intervals.items()}
        )

    def dates(self, per_day: float | None, today: date) -> dict[str, list[str | None]] | None:
        """ISO dates by level, and under "median", at so many images a day."""
        if not per_day:
            return None

        def day(labels: float | None) -> str | None:
            days = np.inf if labels is None else np.ceil(labels / per_day)
            return (today + timedelta(days=int(days))).isoformat() if days < LONGEST else None

        return {
            "median": [day(self.middle)],
            **{k: [day(a), day(b)] for k, (a, b) in self.intervals.items()},
        }


@dataclass(frozen=True)
class Plan:
    """What a target takes.

    Attributes:
        verdict: reached, within reach, far (not within a hundred times the labels, though the
            curves rise that high in the end) or never (most curves level off below the target).
        reachable: share of the draws that reach the target within a hundred times the labels.
        never: share of the draws that level off below the target.
        now, have: accuracy measured last (None before the first round), and the labels that are
            there, those of a round that is not trained yet included.
        labels: further labelled images; ``hours`` and ``money`` for those.
        dates: when they are labelled, see Spread.dates.
    """

    target: float
    now: float | None
    have: int
    verdict: str
    reachable: float
    never: float
    labels: Spread
    hours: Spread | None
    money: Spread | None
    dates: dict[str, list[str | None]] | None


def plan(
    target: float,
    now: float | None,
    have: int,
    more: Floats,
    limit: Floats,
    price: Price,
    today: date,
) -> Plan:
    """What ``target`` takes, from (B,) draws of further labels and of the accuracy's limit."""
    reachable = float(np.isfinite(more).mean())
    never = float((np.isinf(more) & (limit < target)).mean())
    verdict = "within reach" if reachable > 0.5 else "never" if never > 0.5 else "far"
    if now is not None and now >= target:
        verdict = "reached"
    labels = Spread.of(more)
    return Plan(
        target,
        now,
        have,
        verdict,
        reachable,
        never,
        labels,
        labels.times(price.hours),
        labels.times(price.money),
        labels.dates(price.per_day, today),
    )


def further(curve: LearningCurve, found: Forecast, target: float) -> Floats:
    """(B,) labels needed beyond those of the last point; all zero if that reached the target.

    Raises:
        ConfigError: target outside (0, 1].
    """
    check_target(target)
    if curve.now >= target:
        return np.zeros(len(found.values))
    return np.ceil(np.maximum(found.labels_for(target) - curve.have, 0))


def needed(
    curve: LearningCurve, found: Forecast, target: float, rng: np.random.Generator
) -> Floats:
    """(B,) labels in all, for a simulated curve, which may reach the target where it was measured.

    There a draw is one seed's curve, moved by the luck of one run: without that a method that
    chooses without chance would seem certain. Where most draws do not reach it, as forecast.
    """
    check_target(target)
    count = len(found.values)
    rows = curve.accuracy[rng.integers(len(curve.accuracy), size=count)]
    luck = np.sqrt(noise(1 - rows, curve.labels, curve.test_images))
    rows = np.maximum.accumulate(rows + luck * rng.standard_normal((count, 1)), axis=1)
    crossed = np.full(count, np.inf)
    for i, row in enumerate(rows):
        if row[-1] >= target:
            k = max(1, int(np.argmax(row >= target)))
            crossed[i] = np.exp(
                np.interp(target, row[k - 1 : k + 1], np.log(curve.labels[k - 1 : k + 1]))
            )
    if np.isfinite(crossed).mean() > 0.5:
        return np.ceil(np.round(crossed, 6))
    return np.ceil(found.labels_for(target))


def check_target(target: float) -> None:
    """Raises ConfigError outside (0, 1]."""
    if not 0 < target <= 1:
        raise ConfigError(f"the target must be between 0 and 1, e.g. 0.9; got {target:g}")


def buys(
    found: Forecast, totals: Sequence[float], rng: np.random.Generator
) -> list[tuple[int, float, float, float]]:
    """(labels, median, 5 %, 95 %) accuracy that will be measured at total numbers of labels."""
    rows = []
    for n in totals:
        low, middle, high = np.quantile(found.measured(n, rng), [0.05, 0.5, 0.95])
        rows.append((int(n), float(middle), float(low), float(high)))
    return rows


def affordable(price: Price, *, money: float | None, hours: float | None) -> int:
    """Images that a budget pays for; the smaller number if both are given.

    Raises:
        ConfigError: the budget is not positive, or no price is known.
    """
    counts = []
    for name, budget, each, fix in (
        ("money", money, price.money, "--per-label, or --hourly-rate with --seconds-per-label"),
        ("hours", hours, price.hours, "--seconds-per-label (no labelling times are known)"),
    ):
        if budget is None:
            continue
        if not 0 < budget < math.inf:
            raise ConfigError(f"a budget must be a number above 0, got --budget-{name} {budget:g}")
        if not each:
            raise ConfigError(f"--budget-{name} needs to know what a label takes; give {fix}")
        counts.append(int(budget / each))
    return min(counts)


def gain(curve: LearningCurve, found: Forecast, labels: int = 100) -> tuple[float, float, float]:
    """(median, 5 %, 95 %) expected gain in accuracy of ``labels`` more."""
    gains = found.at(min(curve.have + labels, found.grid[-1])) - found.at(curve.have)
    low, middle, high = np.quantile(gains, [0.05, 0.5, 0.95])
    return float(middle), float(low), float(high)


def advice(per_100: tuple[float, float, float], threshold: float) -> str:
    """``stop``, ``go on`` or ``unclear``: the gain of 100 labels against a threshold.

    Raises:
        ConfigError: the threshold is negative.
    """
    if threshold < 0:
        raise ConfigError(f"--stop-below cannot be negative, got {100 * threshold:g}")
    middle, _, high = per_100
    return "stop" if high < threshold else "go on" if middle >= threshold else "unclear"
