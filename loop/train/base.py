"""The contract of trainers: the classification problem they get, the outcome they give."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from loop.dynamics import Dynamics
    from loop.name_head import Prior
    from loop.train.metrics import Metrics

Cached = TypeVar("Cached")

LEFT_OUT_FOLDS = 10


@dataclass(frozen=True, eq=False)
class Task:
    """One classification problem. N pool rows, T test rows, D dims, C classes.

    Attributes:
        n_classes: C.
        pool: (N, D) float32 embeddings of the pool.
        test: (T, D) float32 embeddings of the test split; T is 0 where a random sample of the pool
            measures the model.
        test_labels: (T,) int64, -1 = not labelled (left out of every metric).
        pool_images: gives (N, H, W, 3) uint8 when called; only for trainers on images.
        test_images: gives (T, H, W, 3) uint8 when called.
        device: torch device for trainers that use one; ``auto`` is resolved where they run.
        unfinished: folder where long trainings keep their state, to go on after a kill; or None.
        prior: what the class names say of pool and test; None where they say nothing.
        sample: pool rows of the random sample, each as likely as any other, which judge the names.
        weigh_classes: whether every class is to weigh the same, however rare: ``never``,
            ``always``, half way (``root``), or that where labels show rare classes (``uneven``).
    """

    n_classes: int
    pool: NDArray[np.float32]
    test: NDArray[np.float32]
    test_labels: NDArray[np.int64]
    pool_images: Callable[[], NDArray[np.uint8]] | None = None
    test_images: Callable[[], NDArray[np.uint8]] | None = None
    device: str = "cpu"
    unfinished: Path | None = None
    prior: Prior | None = None
    sample: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    weigh_classes: str = "never"
    _made: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, key: Hashable, make: Callable[[], Cached]) -> Cached:
        """The result of ``make``, computed at the first call with this key and kept."""
        if key not in self._made:
            self._made[key] = make()
        value: Cached = self._made[key]
        return value

    def restricted(self, rows: NDArray[np.int64]) -> Task:
        """The task with these images of its pool alone."""
        images = self.pool_images
        return replace(
            self,
            pool=self.pool[rows],
            pool_images=None if images is None else lambda: images()[rows],
            prior=self.prior and self.prior.restricted(rows),
            sample=np.flatnonzero(np.isin(rows, self.sample)),
            _made={},
        )

    @cached_property
    def statistics(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of the pool's embeddings, (D,) float64 each; a constant
        dimension has the deviation 1."""
        from loop.geometry import statistics

        return statistics(self.pool)

    def standardised(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """(M, D) float32 -> (M, D) float64 with the pool's mean 0 and standard deviation 1 in
        each dimension."""
        mean, std = self.statistics
        rows = embeddings - mean
        rows /= std
        return rows


class Classifier(ABC):
    """A trained model without what it learned from: it is kept, and predicts images later.

    Subclasses are frozen dataclasses.

    Class attributes:
        wants: "embeddings" or "images", as its trainer.
    """

    wants: ClassVar[str]

    @abstractmethod
    def probabilities(self, rows: NDArray[Any], device: str = "cpu") -> NDArray[np.float64]:
        """(M, C) float64 of (M, D) embeddings or (M, H, W, 3) uint8 images, sums of rows 1."""

    @abstractmethod
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Its weights by name."""

    def settings(self) -> dict[str, Any]:
        """What ``of_tensors`` needs besides the weights, as JSON holds it."""
        return {}

    @classmethod
    @abstractmethod
    def of_tensors(
        cls, tensors: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]
    ) -> Classifier:
        """The inverse of ``tensors`` and ``settings``."""


@dataclass(frozen=True)
class Trained:
    """The outcome of one training run.

    Attributes:
        test_probabilities: (T, C) float64, of the last epoch (never of the best test epoch).
        test_labels: (T,) int64, -1 = not labelled.
        pool_probabilities: (N, C) float64, or None where nobody asked.
        dynamics: recorded while training, if asked for.
        notes: what the trainer decided by itself (regularisation, epochs, which of two models).
        model: that made the predictions; None where the trainer keeps none.
    """

    test_probabilities: NDArray[np.float64]
    test_labels: NDArray[np.int64]
    pool_probabilities: NDArray[np.float64] | None = None
    dynamics: Dynamics | None = None
    notes: dict[str, object] = field(default_factory=dict)
    model: Classifier | None = None

    @cached_property
    def metrics(self) -> Metrics:
        """On the labelled test rows. Raises DataError: there is none."""
        from loop.train.metrics import measure

        return measure(self.test_probabilities, self.test_labels)


def revealed(labels: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) int64 the labels of these rows, -1 elsewhere."""
    known = np.full(len(labels), -1, np.int64)
    known[rows] = labels[rows]
    return known


class Trainer(ABC):
    """Subclasses are frozen dataclasses whose fields are hyper-parameters."""

    wants: ClassVar[str] = "embeddings"
    """"embeddings" or "images"."""
    weighs: ClassVar[bool] = False
    """Whether it goes by ``Task.weigh_classes``."""

    @property
    def image_side(self) -> int:
        """Side in pixels of the square images that it takes; 0: it takes embeddings."""
        return 0

    @abstractmethod
    def train(
        self,
        task: Task,
        labels: NDArray[np.int64],
        rng: np.random.Generator,
        *,
        pool_probabilities: bool = False,
    ) -> Trained:
        """Learns from the pool rows that have a label.

        Args:
            labels: (N,) int64, -1: none.
            pool_probabilities: predict the pool as well.

        Raises:
            DataError: no labelled row.
            TrainingFailed: loss or weights are not finite.
        """

    def train_many(
        self,
        task: Task,
        labels: Sequence[NDArray[np.int64]],
        rngs: Sequence[np.random.Generator],
        *,
        pool_probabilities: bool = False,
    ) -> list[Trained]:
        """``train`` for several label sets of one task; trainers that can batch them override it.

        Args:
            labels: (N,) int64 each.
            rngs: one for each.
        """
        return [
            self.train(task, each, rng, pool_probabilities=pool_probabilities)
            for each, rng in zip(labels, rngs, strict=True)
        ]

    def cross_fit(
        self,
        task: Task,
        labels: NDArray[np.int64],
        fold: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> Iterator[NDArray[np.float64]]:
        """(N, C) float64 pool probabilities of models that each learn every label but one fold's.

        Args:
            labels: (N,) int64, -1: none.
            fold: (N,) int64, 0 to K - 1 of the rows left out in turn; -1: in none of the folds.

        Raises:
            DataError, TrainingFailed: see ``train``.
        """
        for number, spawned in enumerate(rng.spawn(int(fold.max()) + 1)):
            kept = np.where(fold == number, -1, labels)
            trained = self.train(task, kept, spawned, pool_probabilities=True)
            assert trained.pool_probabilities is not None
            yield trained.pool_probabilities

    def left_out(
        self, task: Task, labels: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """(k, C) float64 probabilities of the k labelled rows, each by a model that learned no
        label of it; here ten models, each without a tenth. NaN where there is no such model.

        Args:
            labels: (N,) int64, -1: none.

        Raises:
            DataError, TrainingFailed: see ``train``.
        """
        known = np.flatnonzero(labels >= 0)
        fold = np.full(len(labels), -1, np.int64)
        fold[rng.permutation(known)] = np.arange(len(known)) % LEFT_OUT_FOLDS
        held_out = np.full((len(known), task.n_classes), np.nan)
        for number, probabilities in enumerate(self.cross_fit(task, labels, fold, rng)):
            inside = fold[known] == number
            held_out[inside] = probabilities[known[inside]]
        return held_out

    def dynamics(self, task: Task, labels: NDArray[np.int64], rng: np.random.Generator) -> Dynamics:
        """Training dynamics of a run on the labelled rows, recorded per epoch.

        Raises:
            DataError: this trainer records none.
        """
        from loop.errors import DataError

        raise DataError(f"{type(self).__name__} records no training dynamics")
