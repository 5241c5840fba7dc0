"""From a measured learning curve to labels, hours and money for a target.

Four families of curves (power law with offset, exponential in sqrt(n), logarithm, arctangent; after
Mahmood et al., CVPR 2022, arXiv 2207.01725) are fitted to every bootstrap sample of the measured
points (seeds resampled where there are several, test images always), with weak priors that keep two
points from saying everything, and averaged with weights that fall with their misfit. The spread of
the samples is the interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loop.errors import ConfigError, NotReady

Floats = NDArray[np.float64]
LEVELS = (0.5, 0.8, 0.9)
SAMPLES = 200
FARTHEST = 100
"""Curves are not followed beyond this many times the labels measured."""


@dataclass(frozen=True)
class Family:
    """f(n; a, b, c) with a start, and residuals that pull parameters towards plausible values."""

    name: str
    f: Callable[[Floats, Floats], Floats]
    start: tuple[float, float, float]
    low: tuple[float, float, float]
    high: tuple[float, float, float]


FAMILIES = (
    Family("power law", lambda n, p: p[0] - p[1] * n ** -p[2],
           (0.95, 1.5, 0.5), (0.0, 0.0, 0.05), (1.0, 20.0, 2.0)),
    Family("exponential", lambda n, p: p[0] - p[1] * np.exp(-p[2] * np.sqrt(n)),
           (0.9, 0.8, 0.15), (0.0, 0.0, 0.005), (1.0, 3.0, 2.0)),
    Family("logarithm", lambda n, p: np.minimum(p[0] + p[1] * np.log(n + p[2]), 1.0),
           (0.2, 0.12, 1.0), (-1.0, 0.0, 0.0), (1.0, 0.5, 50.0)),
    Family("arctangent", lambda n, p: p[0] - p[1] * (1 - 2 / np.pi * np.arctan(p[2] * n)),
           (0.9, 0.8, 0.03), (0.0, 0.0, 1e-4), (1.0, 3.0, 2.0)),
)  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """A measured learning curve.

    Attributes:
        labels: (P,) ascending.
        accuracy: (S, P) one row per seed, or one row.
        test_images: how many images each accuracy was measured on.
    """

    labels: Floats
    accuracy: Floats
    test_images: int


@dataclass(frozen=True)
class Forecast:
    """Bootstrap curves on a grid of labels: ``values`` (B, G) at ``grid`` (G,)."""

    grid: Floats
    values: Floats

    def at(self, labels: float) -> Floats:
        """(B,) accuracies at a number of labels."""
        return np.array([np.interp(labels, self.grid, row) for row in self.values])

    def labels_for(self, target: float) -> Floats:
        """(B,) labels at which each curve reaches the target, inf where it never does."""
        out = np.full(len(self.values), np.inf)
        for i, row in enumerate(self.values):
            reached = np.flatnonzero(row >= target)
            if len(reached):
                out[i] = self.grid[reached[0]]
        return out


def forecast(curve: Curve, rng: np.random.Generator, *, samples: int = SAMPLES) -> Forecast:
    """Raises NotReady with fewer than two points."""
    if len(curve.labels) < 2:
        raise NotReady(
            "a plan needs at least two rounds; before that, 'coreloop simulate' on a similar set "
            "of labelled images shows what to expect"
        )
    top = float(curve.labels[-1])
    grid: Floats = np.unique(np.round(np.geomspace(curve.labels[0], FARTHEST * top, 400)))
    values = np.empty((samples, len(grid)))
    mean = curve.accuracy.mean(axis=0)
    for i in range(samples):
        rows = rng.integers(len(curve.accuracy), size=len(curve.accuracy))
        drawn = curve.accuracy[rows].mean(axis=0)
        # one test split serves all points: its luck is shared, so half of the noise is common
        noise: Floats = np.sqrt(np.maximum(mean * (1 - mean), 1e-4) / max(curve.test_images, 1))
        common, own = rng.standard_normal(), rng.standard_normal(len(mean))
        y = np.clip(drawn + noise * np.sqrt(0.5) * (common + own), 0.0, 1.0)
        values[i] = _averaged(curve.labels, y, noise, grid)
    rising: Floats = np.maximum.accumulate(np.clip(values, 0.0, 1.0), axis=1)
    return Forecast(grid, rising)


def _averaged(n: Floats, y: Floats, noise: Floats, grid: Floats) -> Floats:
    from scipy.optimize import least_squares

    predictions, misfits = [], []
    for family in FAMILIES:
        start, low, high = (np.array(v) for v in (family.start, family.low, family.high))
        width = (high - low) / 4

        def residuals(
            p: Floats, f: Family = family, start: Floats = start, width: Floats = width
        ) -> Floats:
            prior = 0.1 * (p - start) / width
            return np.concatenate([(f.f(n, p) - y) / noise, prior])

        found = least_squares(residuals, start, bounds=(low, high), max_nfev=60)
        predictions.append(family.f(grid, found.x))
        misfits.append(2 * found.cost)
    weights = np.exp(-0.5 * (np.array(misfits) - min(misfits)))
    out: Floats = (weights[:, None] * np.array(predictions)).sum(axis=0) / weights.sum()
    return out


@dataclass(frozen=True)
class Plan:
    """What a target takes. Numbers are medians; ``intervals`` by level, None = never.

    Attributes:
        reachable: share of the bootstrap curves that reach the target.
        labels: further labels needed; None if more than half of the curves never reach it.
        hours, money: for those labels; None without times or rates.
    """

    target: float
    now: float
    have: int
    reachable: float
    labels: int | None
    intervals: dict[str, tuple[int | None, int | None]]
    hours: float | None
    money: float | None
    gain_per_100: tuple[float, float, float]


def plan(
    curve: Curve,
    target: float,
    rng: np.random.Generator,
    *,
    seconds_per_label: float | None = None,
    hourly_rate: float = 0.0,
    per_label: float = 0.0,
) -> Plan:
    """Labels, hours and money from the last measured point to ``target`` (in (0, 1)).

    Raises:
        ConfigError: target outside (0, 1], negative rates.
        NotReady: fewer than two points.
    """
    if not 0 < target <= 1:
        raise ConfigError(f"the target must be between 0 and 1, e.g. 0.9; got {target}")
    if hourly_rate < 0 or per_label < 0 or (seconds_per_label or 0) < 0:
        raise ConfigError("rates and times cannot be negative")
    found = forecast(curve, rng)
    have = int(curve.labels[-1])
    now = float(curve.accuracy[:, -1].mean())
    wanted = found.labels_for(target)
    if now >= target:
        wanted = np.full_like(wanted, have)
    more = np.maximum(np.sort(wanted) - have, 0)
    middle = _quantile(more, 0.5)
    gains = found.at(have + 100) - found.at(have)
    hours = None if middle is None or not seconds_per_label else middle * seconds_per_label / 3600
    money = None
    paid_by_time = hourly_rate > 0 and hours is None  # a rate without times says nothing
    if middle is not None and (per_label or hourly_rate) and not paid_by_time:
        money = middle * per_label + (hours or 0.0) * hourly_rate
    return Plan(
        target, now, have, float(np.isfinite(wanted).mean()), middle,
        {f"{level:.0%}": (_quantile(more, 0.5 - level / 2), _quantile(more, 0.5 + level / 2))
         for level in LEVELS},
        hours, money,
        (float(np.median(gains)), float(np.quantile(gains, 0.05)), float(np.quantile(gains, 0.95))),
    )  # fmt: skip


def affordable(curve: Curve, labels: Sequence[int], rng: np.random.Generator) -> list[
    tuple[int, float, float, float]
]:  # fmt: skip
    """(labels, median, 5 %, 95 %) accuracy at total numbers of labels: what a budget buys."""
    found = forecast(curve, rng)
    rows = []
    for n in labels:
        low, middle, high = np.quantile(found.at(n), [0.05, 0.5, 0.95])
        rows.append((n, float(middle), float(low), float(high)))
    return rows


def _quantile(ordered: Floats, q: float) -> int | None:
    """A quantile that may be infinite: the nearest rank, None for never."""
    value = ordered[min(len(ordered) - 1, int(q * len(ordered)))]
    return int(np.ceil(value)) if np.isfinite(value) else None
