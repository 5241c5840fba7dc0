"""Networks trained on the images themselves, from random weights or a checkpoint.

ResNet-18 with a stem for small pictures, or a model of timm or torchvision. The last epoch counts.

Presets: ``paper`` is the protocol of the coreset papers, SGD 0.1, Nesterov 0.9, weight decay 5e-4,
cosine to 0, batch 128, 200 epochs, random crop with pad 4 and flip (voxel51/zcore core/train;
``steps`` = 40,000 gives the equal-iteration protocol of CCS); ``fast`` trains 17 epochs, at least
400 steps, with Muon, a triangular schedule and label smoothing, and takes the mean prediction over
six views of an image.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.device import resolve
from loop.dynamics import Dynamics
from loop.errors import DataError, TrainingFailed
from loop.train.backbone import MEAN, STD, Channels, build, predict
from loop.train.base import Classifier, Task, Trained, Trainer
from loop.train.checkpoint import Checkpoint
from loop.train.descent import Descent, Recipe
from loop.train.linear import labelled_rows
from loop.train.replicas import Arrays, launch

if TYPE_CHECKING:
    import torch

FAST_EPOCHS = 17
FAST_STEPS = 400
PAPER_EPOCHS = 200


class ImageTrainer(Trainer):
    """Trains a network on squares of the images, by a ``Descent``."""

    wants: ClassVar[str] = "images"
    takes_less_memory: ClassVar[str]
    """What to change where the device's memory is too small."""

    @abstractmethod
    def recipe(self, n: int, batch: int = 0) -> Recipe:
        """For ``n`` labelled images; ``batch`` in place of the preset's or the configured one."""

    @abstractmethod
    def descent(
        self,
        recipe: Recipe,
        pixels: NDArray[np.uint8],
        labels: NDArray[np.int64],
        n_classes: int,
        seed: int,
    ) -> Descent:
        """The run on these labelled images, see ``Descent``."""

    @abstractmethod
    def network(self, weights: Arrays, n_classes: int) -> TrainedNetwork:
        """With the weights that a run ended with."""

    @abstractmethod
    def settings_noted(self) -> dict[str, object]:
        """Of the trainer, for the notes of a run."""

    def replicas(self, recipe: Recipe) -> int:
        """Devices that share each batch."""
        return 1

    def train(
        self,
        task: Task,
        labels: NDArray[np.int64],
        rng: np.random.Generator,
        *,
        pool_probabilities: bool = False,
    ) -> Trained:
        network, _, notes = self._fit(task, labels, rng)
        test: NDArray[np.float64] = np.empty((0, task.n_classes))
        if len(task.test_labels):
            test = network.probabilities(_images(task.test_images), task.device)
        pool = None
        if pool_probabilities:
            pool = network.probabilities(_images(task.pool_images), task.device)
        return Trained(test, task.test_labels, pool, notes=notes, model=network)

    def dynamics(self, task: Task, labels: NDArray[np.int64], rng: np.random.Generator) -> Dynamics:
        """Each epoch's logits of the augmented images, as they were learned from."""
        recorded = self._fit(task, labels, rng, record=True)[1]
        assert recorded is not None
        return recorded

    def _fit(
        self,
        task: Task,
        labels: NDArray[np.int64],
        rng: np.random.Generator,
        *,
        record: bool = False,
    ) -> tuple[TrainedNetwork, Dynamics | None, dict[str, object]]:
        """The trained network, its dynamics if they are to be recorded, and the notes of the run.

        Raises:
            DataError: no labelled row, or no images.
            ConfigError: an unknown model, or more devices than there are.
            TrainingFailed: the loss is not finite, or the memory too small.
        """
        device = resolve(task.device)
        rows = labelled_rows(labels)
        recipe = self.recipe(len(rows))
        replicas = self.replicas(recipe)
        pixels = _images(task.pool_images)[rows]
        seed = int(rng.integers(2**31))
        descent = self.descent(recipe, pixels, labels, task.n_classes, seed)
        arrays, recipe, halvings = self._launch(
            task, replace(descent, record=record), device, replicas
        )
        notes: dict[str, object] = {
            **self.settings_noted(),
            "epochs": recipe.epochs,
            "batch": recipe.batch,
            "labels": len(rows),
            "device": device,
        }
        if replicas > 1:
            notes["devices"] = replicas
        if halvings:
            notes["out_of_memory"] = f"batch halved {halvings} times"
        dynamics = None
        if record:
            dynamics = Dynamics(labels)
            dynamics.restore(_under("dynamics.", arrays))
        return self.network(_under("net.", arrays), task.n_classes), dynamics, notes

    def _launch(
        self, task: Task, descent: Descent, device: str, replicas: int
    ) -> tuple[Arrays, Recipe, int]:
        """Runs the descent; where the device's memory is too small, again with half the batch.

        Returns:
            The arrays it ended with, the recipe that fitted, and how often the batch was halved.
        """
        import torch

        halvings = 0
        while True:
            unfinished = self._unfinished(task, descent)
            try:
                arrays = launch(replace(descent, unfinished=unfinished), device, replicas)
            except torch.OutOfMemoryError:
                batch = descent.recipe.batch
                if batch <= 2 * replicas:
                    raise TrainingFailed(
                        f"the memory of {device} is too small even for a batch of {batch}; "
                        f"{self.takes_less_memory}"
                    ) from None
                halvings += 1
                smaller = self.recipe(len(descent.pixels), batch=batch // 2)
                descent = replace(descent, recipe=smaller)
            else:
                Checkpoint(unfinished).forget()
                return arrays, descent.recipe, halvings

    def _unfinished(self, task: Task, descent: Descent) -> Path | None:
        """A file named after all that decides the run's steps."""
        if task.unfinished is None:
            return None
        settings = [
            self,
            descent.recipe,
            descent.seed,
            descent.n_classes,
            descent.record,
            task.device,
        ]
        content = repr(settings).encode() + descent.labels.tobytes()
        return task.unfinished / f"{hashlib.blake2b(content, digest_size=16).hexdigest()}.pt"


@dataclass(frozen=True)
class Network(ImageTrainer):
    """Trains a network from scratch or from a checkpoint.

    Attributes:
        model: ``resnet18`` (3 x 3 stem, no max-pool), ``timm:<name>`` or ``torchvision:<name>``.
        checkpoint: file with a state dict to start from (loaded as weights only).
        preset: ``fast`` or ``paper``; the fields below override it where not 0.
        epochs, steps: length; ``steps`` wins.
        batch: images per step; learning_rate: the peak; weight_decay.
        side: images are resized to side x side before training.
        compile: torch.compile the model (pays off for long runs).
        devices: GPUs of this machine that share each batch (on a CPU: processes).
    """

    model: str = "resnet18"
    checkpoint: str = ""
    preset: str = "fast"
    epochs: int = 0
    steps: int = 0
    batch: int = 0
    learning_rate: float = 0.0
    weight_decay: float = 5e-4
    side: int = 32
    compile: bool = False
    devices: int = 1
    takes_less_memory: ClassVar[str] = "lower 'side' under [training.params]"

    def __post_init__(self) -> None:
        if self.preset not in ("fast", "paper"):
            raise ValueError(f"preset must be 'fast' or 'paper', got {self.preset!r}")
        if self.devices < 1:
            raise ValueError(f"devices must be at least 1, got {self.devices}")

    @property
    def image_side(self) -> int:
        return self.side

    def dynamics(self, task: Task, labels: NDArray[np.int64], rng: np.random.Generator) -> Dynamics:
        """As of every ``ImageTrainer``, in training mode, as the papers log them. ``steps`` that
        make fewer epochs than the preset's are passed over: scores look at windows of epochs."""
        n = len(labelled_rows(labels))
        usual = replace(self, steps=0)
        longer = usual if self.recipe(n).epochs < usual.recipe(n).epochs else self
        return super(Network, longer).dynamics(task, labels, rng)

    def descent(
        self,
        recipe: Recipe,
        pixels: NDArray[np.uint8],
        labels: NDArray[np.int64],
        n_classes: int,
        seed: int,
    ) -> Descent:
        return Descent(
            recipe=recipe,
            model=self.model,
            checkpoint=self.checkpoint,
            pixels=pixels,
            labels=labels,
            n_classes=n_classes,
            seed=seed,
            compile=self.compile,
        )

    def network(self, weights: Arrays, n_classes: int) -> TrainedNetwork:
        six_views = self.preset == "fast"
        return TrainedNetwork(self.model, n_classes, self.side, six_views, weights)

    def settings_noted(self) -> dict[str, object]:
        return {"preset": self.preset}

    def replicas(self, recipe: Recipe) -> int:
        """Batch norm needs two images in each."""
        return max(1, min(self.devices, recipe.batch // 2))

    def recipe(self, n: int, batch: int = 0) -> Recipe:
        paper = self.preset == "paper"
        usual = min(128, max(16, n // 8))  # few images, still many steps
        batch = min(batch or self.batch or usual, n)
        steps_per_epoch = -(-n // batch)
        fast_epochs = max(FAST_EPOCHS, -(-FAST_STEPS // steps_per_epoch))
        epochs = self.epochs or (PAPER_EPOCHS if paper else fast_epochs)
        if self.steps:
            epochs = -(-self.steps // steps_per_epoch)
        return Recipe(
            epochs=epochs,
            batch=batch,
            learning_rate=self.learning_rate or 0.1,
            steps=epochs * steps_per_epoch,
            warm_up=0.0 if paper else 0.2,
            label_smoothing=0.0 if paper else 0.1,
            weight_decay=self.weight_decay,
            optimiser="sgd" if paper else "muon",
        )


@dataclass(frozen=True)
class TrainedNetwork(Classifier):
    """A network that has learned.

    Attributes:
        model: see ``Network``; n_classes: C.
        side: of the square images that it takes, in pixels.
        six_views: whether it answers with the mean over six views of an image.
        weights: state dict.
        mean, std: of the pixels, see ``loop.train.backbone.normalise``.
    """

    model: str
    n_classes: int
    side: int
    six_views: bool
    weights: Arrays = field(repr=False)
    mean: Channels = MEAN
    std: Channels = STD
    wants: ClassVar[str] = "images"

    def probabilities(self, rows: NDArray[Any], device: str = "cpu") -> NDArray[np.float64]:
        """(M, H, W, 3) uint8 -> (M, C) float64. Raises DataError: no image."""
        resolved = resolve(device)
        net = self.net.to(resolved)
        return predict(net, rows, resolved, self.six_views, self.mean, self.std)

    @cached_property
    def net(self) -> torch.nn.Module:
        """The module, on the CPU at first."""
        import torch

        net = build(self.model, self.n_classes)
        net.load_state_dict({name: torch.from_numpy(each) for name, each in self.weights.items()})
        return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def tensors(self) -> dict[str, NDArray[Any]]:
        return dict(self.weights)

    def settings(self) -> dict[str, Any]:
        values = asdict(replace(self, weights={}))
        del values["weights"]
        return values

    @classmethod
    def of_tensors(
        cls, tensors: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]
    ) -> TrainedNetwork:
        channels = {key: tuple(settings[key]) for key in ("mean", "std") if key in settings}
        return cls(**{**settings, **channels}, weights=dict(tensors))


def _under(prefix: str, arrays: Arrays) -> Arrays:
    """Those whose name starts with ``prefix``, by the rest of it."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _images(load: Callable[[], NDArray[np.uint8]] | None) -> NDArray[np.uint8]:
    if load is None:
        raise DataError("this trainer learns from images and was given none")
    return load()
