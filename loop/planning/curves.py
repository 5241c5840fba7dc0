"""Learning-curve extrapolation.

Every curve considered is ``error(n) = level * (floor + (1 - floor) * shape(n / n_last))``: a shape
of the family of Mahmood et al. (CVPR 2022, arXiv 2207.01725) that falls from 1 at the last measured
point, and a share ``floor`` of the error that no label removes. Shapes, rates and floors stand on a
grid; the level of each point is solved for (a Gaussian posterior), and the point weighs as much
as it explains the measured points times its prior. Nothing is optimised, so two points cannot say
everything, and the spread of draws from the grid is the interval.

The family's logarithm is left out: it never levels off and made every forecast worse. The constants
were chosen on simulated runs; docs/planning.md shows sets that had no part in the choice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loop.errors import NotReady

Floats = NDArray[np.float64]

DRAWS = 2000
FARTHEST = 100
"""Curves are not followed beyond this many times the labels measured."""

PICKS = 0.15
"""Variance of a run through the luck of its picks, in units of error * accuracy / labels."""
TEST = 0.20
"""The same through test images on which runs differ, in units of error * accuracy / test images."""
DRIFT = 0.02
"""Standard deviation by which real curves leave their shape per doubling, as share of the error."""
RATE = (0.40, 0.26)
"""Median and log standard deviation of the shape's rate."""
FLOOR = 3.0
"""The floor's prior is Beta(1, FLOOR)."""

SHAPES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "power law": lambda x, c: x**-c,
    "exponential": lambda x, c: np.exp(-c * (np.sqrt(x) - 1)),
    "arctangent": lambda x, c: np.arctan(c / x) / np.arctan(c),
}
RATES = np.geomspace(0.05, 2.0, 30).astype(np.float64)
FLOORS = np.linspace(0.0, 0.95, 20).astype(np.float64)


@dataclass(frozen=True)
class LearningCurve:
    """A measured learning curve.

    Attributes:
        labels: (P,) ascending.
        accuracy: (S, P) one row per seed, or one row.
        test_images: how many images each accuracy was measured on.
    """

    labels: Floats
    accuracy: Floats
    test_images: int

    @property
    def have(self) -> int:
        """Labels of the last point."""
        return int(self.labels[-1])

    @property
    def now(self) -> float:
        """Accuracy of the last point."""
        return float(self.accuracy[:, -1].mean())


@dataclass(frozen=True)
class Forecast:
    """Draws of how the curve goes on.

    Attributes:
        grid: (G,) labels, from the last measured point to FARTHEST times as many.
        values: (B, G) accuracy expected of a run with so many labels.
        limit: (B,) accuracy that no number of labels exceeds.
        test_images: of the measured curve.
    """

    grid: Floats
    values: Floats
    limit: Floats
    test_images: int

    def at(self, labels: float) -> Floats:
        """(B,) expected accuracies at a number of labels."""
        return np.array([np.interp(labels, self.grid, row) for row in self.values])

    def measured(self, labels: float, rng: np.random.Generator) -> Floats:
        """(B,) predictive draws: accuracies that one run may be measured to have, the variance of
        its picks and test images included."""
        expected = self.at(labels)
        deviation = np.sqrt(noise(1 - expected, np.array(labels), self.test_images))
        return np.clip(expected + deviation * rng.standard_normal(len(expected)), 0.0, 1.0)

    def labels_for(self, target: float) -> Floats:
        """(B,) labels at which each draw reaches the target, inf where it does not by FARTHEST."""
        reached = self.values >= target
        first = reached.argmax(axis=1)
        return np.where(reached.any(axis=1), self.grid[first], np.inf)


def forecast(curve: LearningCurve, rng: np.random.Generator, *, draws: int = DRAWS) -> Forecast:
    """Draws from the posterior over the curve family.

    Raises:
        NotReady: fewer than two points.
    """
    if len(curve.labels) < 2:
        raise NotReady(
            "a plan needs at least two rounds; before that, name a 'coreloop simulate' folder of a "
            "similar set: coreloop plan FOLDER"
        )
    error = 1 - curve.accuracy.mean(axis=0)
    posterior = _posterior(curve, error)
    points = rng.choice(posterior.weight.size, size=draws, p=posterior.weight)
    level_noise, drift_noise = rng.standard_normal((2, draws))
    level = posterior.level[points] + posterior.width[points] * level_noise
    level = np.clip(level, 0.0, 1.0)
    shape, rate, floor = np.unravel_index(points, (len(SHAPES), len(RATES), len(FLOORS)))
    grid = np.geomspace(1, FARTHEST, 400).astype(np.float64)
    falling = np.empty((draws, len(grid)))
    for i, fall in enumerate(SHAPES.values()):
        rows = shape == i
        falling[rows] = fall(grid, RATES[rate[rows], None])
    floors = FLOORS[floor]
    errors = level[:, None] * (floors[:, None] + (1 - floors[:, None]) * falling)
    errors += DRIFT * error[-1] * drift_noise[:, None] * np.log2(grid)
    values = 1 - np.clip(errors, 0.0, 1.0)
    return Forecast(curve.labels[-1] * grid, values, 1 - level * floors, curve.test_images)


@dataclass(frozen=True)
class _Posterior:
    """Over the G grid points (shape, rate, floor), in C order; each array (G,) float64.

    Attributes:
        weight: probability of the grid point.
        level, width: mean and standard deviation of its level, the error at the last point.
    """

    weight: Floats
    level: Floats
    width: Floats


def _posterior(curve: LearningCurve, error: Floats) -> _Posterior:
    """Of (P,) measured errors; Gaussian in the level of each grid point."""
    x = curve.labels / curve.labels[-1]
    variance = noise(error, curve.labels, curve.test_images)
    variance += (DRIFT * error[-1] * np.log2(x)) ** 2
    log_weights, levels, widths = [], [], []
    for shape in SHAPES.values():
        falling = shape(x, RATES[:, None])[:, None, :]
        path = FLOORS[:, None] + (1 - FLOORS[:, None]) * falling
        precision = (path**2 / variance).sum(axis=-1)
        level = (path * error / variance).sum(axis=-1) / precision
        misfit = ((error - level[..., None] * path) ** 2 / variance).sum(axis=-1)
        log_weights.append(_log_prior() - (misfit + np.log(precision)) / 2)
        levels.append(level)
        widths.append(precision**-0.5)
    log_weight = np.array(log_weights).ravel()
    weight = np.exp(log_weight - log_weight.max())
    return _Posterior(weight / weight.sum(), np.array(levels).ravel(), np.array(widths).ravel())


def noise(error: Floats, labels: Floats, test_images: int) -> Floats:
    """Variance of one measured accuracy around its curve, of the shape of ``error``."""
    error = np.clip(error, 0.01, 0.99)
    variance: Floats = error * (1 - error) * (PICKS / labels + TEST / max(test_images, 1))
    return variance


def _log_prior() -> Floats:
    """(rates, floors) log probabilities: log-normal times Beta."""
    median, width = RATE
    rate = -0.5 * (np.log(RATES / median) / width) ** 2
    floor = (FLOOR - 1) * np.log(1.025 - FLOORS)
    density: Floats = rate[:, None] + floor
    return density - np.log(np.exp(density).sum())
