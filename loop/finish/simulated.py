"""A simulated cell goes on to the finished collection, as a project would from its model on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loop.errors import DataError
from loop.finish.cost import cheapest, costs
from loop.finish.promise import Ints, allowed_wrong, check_alpha, spent
from loop.finish.rehearsal import PROMISED, UNBOUNDED, Finished, finish
from loop.measuring.calibration import fit_temperature
from loop.train.base import Trained
from loop.train.kept import tempered

RULES = (PROMISED, UNBOUNDED)
MAX_ERRORS = (0.01, 0.02, 0.05, 0.1)
KEPT = 201
"""Quantiles of the confidences that a cell keeps, for forecasts from it."""
DRAWS = 5
"""Calibration samples of a cell, each of which finishes the collection: training takes long, and
one sample is luck."""


@dataclass(frozen=True)
class Goals:
    """What collections are finished for.

    Attributes:
        max_errors: wrong labels as a share of all images; each is a goal of its own.
        confidence: probability that a promise holds, all looks together; a cell has one.

    Raises:
        DataError: a number outside (0, 1).
        ValueError: there is no goal.
    """

    max_errors: tuple[float, ...] = MAX_ERRORS
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not self.max_errors:
            raise ValueError("there is no goal to finish a collection for")
        for max_error in self.max_errors:
            allowed_wrong(max_error, images=1)
        if not math.isfinite(self.confidence):
            raise DataError(f"the confidence of a promise must be a number, got {self.confidence}")
        check_alpha(1 - self.confidence)

    @property
    def alpha(self) -> float:
        """What the first look may break."""
        return spent(1 - self.confidence, look=1)

    @property
    def in_words(self) -> str:
        """``0.01,0.02 at 0.95``."""
        return f"{','.join(f'{each:g}' for each in self.max_errors)} at {self.confidence:g}"

    @classmethod
    def read(cls, text: str) -> Goals:
        """The goals that ``in_words`` wrote."""
        max_errors, confidence = text.split(" at ")
        return cls(tuple(map(float, max_errors.split(","))), float(confidence))


@dataclass(frozen=True)
class FinishedCell:
    """A simulated cell's finished collections.

    Attributes:
        images: of the collection; labelling everything takes so many labels.
        confidence: quantiles of the model's calibrated confidences in the images that are left
            after the picks, ascending; none where no image is left.
        finished: by goal and calibration sample, each by both rules.
    """

    images: int
    confidence: list[float]
    finished: list[Finished]

    def of(self, max_error: float, rule: str = PROMISED) -> list[Finished]:
        """Those for one goal by one rule, by calibration sample."""
        return [each for each in self.finished if (each.max_error, each.rule) == (max_error, rule)]

    def to_json(self) -> dict[str, Any]:
        """As the records keep it."""
        return asdict(self)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> FinishedCell:
        """What ``to_json`` gave."""
        finished = [Finished(**each) for each in kept["finished"]]
        return cls(int(kept["images"]), list(kept["confidence"]), finished)


def finish_cell(
    trained: Trained, labels: Ints, learned: Ints, goals: Goals, rng: np.random.Generator
) -> FinishedCell:
    """The collection finished for each goal with a model, its calibration sample as large as is
    cheapest by what is known beforehand.

    The temperature and the accuracy come from the test images, where a project has its cross-fitted
    answers: they say which image is more certain and how large a sample is cheap, and the promise
    holds whatever they are.

    Args:
        trained: with probabilities of the pool.
        labels: (N,) int64 what people would answer for every image.
        learned: rows whose labels the model learned.
    """
    images = len(labels)
    unlabelled = np.setdiff1d(np.arange(images), learned)
    if not len(unlabelled):
        by_people = [_by_people(rule, goal, images) for goal in goals.max_errors for rule in RULES]
        return FinishedCell(images, [], by_people)
    assert trained.pool_probabilities is not None
    probabilities = tempered(trained.pool_probabilities[unlabelled], _temperature(trained))
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels[unlabelled]
    lower, upper = trained.metrics.intervals["accuracy"]
    accuracy = (trained.metrics.accuracy, lower, upper)
    cost_rng, sample_rng = rng.spawn(2)
    # a smaller sample is the beginning of a larger one, so that goals are paired
    orders = [sample_rng.permutation(len(unlabelled)) for _ in range(DRAWS)]
    finished = []
    for goal in goals.max_errors:
        sizes = costs(confidence, accuracy, images, goal, goals.alpha, cost_rng)
        size = cheapest(sizes).sample
        for order in orders:
            finished += finish(confidence, right, order[:size], images, goal, goals.alpha)
    return FinishedCell(images, quantiles(confidence), finished)


def quantiles(confidence: NDArray[np.floating]) -> list[float]:
    """``KEPT`` of them, ascending."""
    return [round(float(value), 6) for value in np.quantile(confidence, np.linspace(0, 1, KEPT))]


def _by_people(rule: str, max_error: float, images: int) -> Finished:
    return Finished(rule, max_error, 0, images, by_model=0, wrong=0, broken=False)


def _temperature(trained: Trained) -> float:
    """Of the answers on the labelled test images."""
    known = trained.test_labels >= 0
    return fit_temperature(trained.test_probabilities[known], trained.test_labels[known])
