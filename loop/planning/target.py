"""What a target takes, what a budget buys, and whether to go on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

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
        ConfigError: a negative number, or none at all.
    """

    seconds: float | None = None
    votes: float = 1.0
    hourly_rate: float = 0.0
    per_label: float = 0.0
    per_day: float | None = None

    def __post_init__(self) -> None:
        for name in ("seconds", "votes", "hourly_rate", "per_label", "per_day"):
            number = getattr(self, name) or 0
            if not 0 <= number < math.inf:
                raise ConfigError(
                    f"{name.replace('_', ' ')} must be a number of at least 0, got {number}"
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
    """A median and central intervals of draws; None: beyond what the curves are followed.

    Attributes:
        middle: the median.
        intervals: (lower, upper) by level, "50%", "80%" and "90%".
    """

    middle: float | None
    intervals: dict[str, tuple[float | None, float | None]]

    @classmethod
    def of(cls, values: Floats) -> Spread:
        """Of (B,) draws that may be infinite."""
        ordered = np.sort(values)

        def quantile(q: float) -> float | None:
            value = ordered[min(len(ordered) - 1, int(q * len(ordered)))]
            return float(value) if np.isfinite(value) else None

        intervals = {
            f"{level:.0%}": (quantile(0.5 - level / 2), quantile(0.5 + level / 2))
            for level in LEVELS
        }
        return cls(quantile(0.5), intervals)

    def times(self, each: float | None) -> Spread | None:
        """All numbers times ``each``; None if that is not known."""
        if each is None:
            return None

        def scaled(value: float | None) -> float | None:
            return None if value is None else value * each

        intervals = {
            level: (scaled(lower), scaled(upper))
            for level, (lower, upper) in self.intervals.items()
        }
        return Spread(scaled(self.middle), intervals)

    def dates(self, per_day: float | None, today: date) -> dict[str, list[str | None]] | None:
        """ISO dates by level, and under "median", at so many images a day."""
        if not per_day:
            return None

        def day(labels: float | None) -> str | None:
            days = np.inf if labels is None else np.ceil(labels / per_day)
            return (today + timedelta(days=int(days))).isoformat() if days < LONGEST else None

        dates = {"median": [day(self.middle)]}
        for level, (lower, upper) in self.intervals.items():
            dates[level] = [day(lower), day(upper)]
        return dates


class Estimate(NamedTuple):
    """Median and central 90 % interval."""

    median: float
    lower: float
    upper: float


class ExpectedAccuracy(NamedTuple):
    """Accuracy that will be measured with ``labels`` in all: median and central 90 % interval."""

    labels: int
    median: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Plan:
    """What a target takes.

    Attributes:
        verdict: reached, within reach, pool (with more labels than it has images left), far (not
            within a hundred times the labels, though the curves rise that high in the end) or never
            (most curves level off below the target).
        reachable: share of the draws that reach the target within a hundred times the labels.
        never: share of the draws that level off below the target.
        now: accuracy measured last, None before the first round.
        have: labels at hand, those of a round that is not trained yet included.
        labels: further labelled images, None where the pool has not so many; ``hours`` and
            ``money`` for those.
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
    left: float = math.inf,
) -> Plan:
    """What ``target`` takes, from (B,) draws of further labels and of the accuracy's limit.

    Args:
        left: images that may still be labelled.
    """
    reachable = float(np.isfinite(more).mean())
    never = float((np.isinf(more) & (limit < target)).mean())
    verdict = "within reach" if reachable > 0.5 else "never" if never > 0.5 else "far"
    if verdict == "within reach" and (more <= left).mean() <= 0.5:
        verdict = "pool"
    if now is not None and now >= target:
        verdict = "reached"
    labels = Spread.of(np.where(more <= left, more, np.inf))
    return Plan(
        target=target,
        now=now,
        have=have,
        verdict=verdict,
        reachable=reachable,
        never=never,
        labels=labels,
        hours=labels.times(price.hours),
        money=labels.times(price.money),
        dates=labels.dates(price.per_day, today),
    )


def further(curve: LearningCurve, continued: Forecast, target: float) -> Floats:
    """(B,) labels needed beyond those of the last point; all zero if that reached the target.

    Raises:
        ConfigError: target outside (0, 1].
    """
    check_target(target)
    if curve.now >= target:
        return np.zeros(len(continued.values))
    return np.ceil(np.maximum(continued.labels_for(target) - curve.have, 0))


def needed(
    curve: LearningCurve, continued: Forecast, target: float, rng: np.random.Generator
) -> Floats:
    """(B,) labels in all, for a simulated curve, which may reach the target where it was measured.

    There a draw is one seed's curve with the noise of one more run: without that a method that
    picks the same whatever the seed would seem certain. Where most draws do not reach the target,
    it is the forecast's.

    Raises:
        ConfigError: target outside (0, 1].
    """
    check_target(target)
    draws = len(continued.values)
    accuracies = curve.accuracy[rng.integers(len(curve.accuracy), size=draws)]
    deviation = np.sqrt(noise(1 - accuracies, curve.labels, curve.test_images))
    noisy = accuracies + deviation * rng.standard_normal((draws, 1))
    rising = np.maximum.accumulate(noisy, axis=1)
    crossed = np.array([_crossing(curve.labels, row, target) for row in rising])
    if np.isfinite(crossed).mean() > 0.5:
        return np.ceil(np.round(crossed, 6))
    return np.ceil(continued.labels_for(target))


def _crossing(labels: Floats, rising: Floats, target: float) -> float:
    """Labels at which a rising curve reaches the target, by interpolation in their logarithm."""
    if rising[-1] < target:
        return math.inf
    after = max(1, int(np.argmax(rising >= target)))
    around = slice(after - 1, after + 1)
    return float(np.exp(np.interp(target, rising[around], np.log(labels[around]))))


def check_target(target: float) -> None:
    """A target is an accuracy.

    Raises:
        ConfigError: it is outside (0, 1].
    """
    if not 0 < target <= 1:
        raise ConfigError(f"the target must be between 0 and 1, e.g. 0.9; got {target:g}")


def buys(
    continued: Forecast, totals: Sequence[float], rng: np.random.Generator
) -> list[ExpectedAccuracy]:
    """Accuracy that will be measured at total numbers of labels."""
    return [
        ExpectedAccuracy(int(total), *estimate(continued.measured(total, rng))) for total in totals
    ]


def estimate(draws: Floats) -> Estimate:
    """Of (B,) draws."""
    lower, median, upper = np.quantile(draws, [0.05, 0.5, 0.95]).tolist()
    return Estimate(median, lower, upper)


def affordable(price: Price, *, money: float | None, hours: float | None) -> int:
    """Images that a budget pays for; the smaller number if both are given.

    Raises:
        ConfigError: the budget is not positive, or no price is known.
    """
    images = []
    if money is not None:
        missing = "--per-label, or --hourly-rate with --seconds-per-label"
        images.append(_paid("money", money, price.money, missing))
    if hours is not None:
        missing = "--seconds-per-label (no labelling times are known)"
        images.append(_paid("hours", hours, price.hours, missing))
    return min(images)


def waiting(price: Price, days: float) -> float:
    """Labels that people would give in the days that one more round is waited for.

    Raises:
        ConfigError: days that are no number of at least 0, or how many labels people give is not
            known.
    """
    if not 0 <= days < math.inf:
        raise ConfigError(f"--days-per-round must be a number of at least 0, got {days:g}")
    if not days:
        return 0.0
    if not price.per_day:
        raise ConfigError(
            "--days-per-round needs to know what people label in a day; give --labels-per-day "
            "(no labels with times are known)"
        )
    return days * price.per_day


def _paid(name: str, budget: float, per_image: float | None, missing: str) -> int:
    """Images that a budget pays for; ``missing``: what to give if the price is not known."""
    if not 0 < budget < math.inf:
        raise ConfigError(f"a budget must be a number above 0, got --budget-{name} {budget:g}")
    if not per_image:
        raise ConfigError(f"--budget-{name} needs to know what a label takes; give {missing}")
    return int(budget / per_image)


def gain(curve: LearningCurve, continued: Forecast, labels: int = 100) -> Estimate:
    """Expected gain in accuracy of ``labels`` more."""
    end = min(curve.have + labels, continued.grid[-1])
    return estimate(continued.at(end) - continued.at(curve.have))


def advice(per_100: Estimate, threshold: float) -> str:
    """``stop``, ``go on`` or ``unclear``: the gain of 100 labels against a threshold.

    Raises:
        ConfigError: the threshold is negative or no number.
    """
    if not threshold >= 0:
        raise ConfigError(f"--stop-below must be a number of at least 0, got {100 * threshold:g}")
    if per_100.upper < threshold:
        return "stop"
    return "go on" if per_100.median >= threshold else "unclear"
