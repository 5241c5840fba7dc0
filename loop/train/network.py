"""A convolutional network on the images themselves: ResNet-18 with a stem for small pictures, or a
timm or torchvision model, from random weights or a checkpoint. The last epoch counts.

Presets: ``paper`` is the protocol of the coreset papers, SGD 0.1, Nesterov 0.9, weight decay 5e-4,
cosine to 0, batch 128, 200 epochs, random crop with pad 4 and flip (voxel51/zcore core/train;
``steps`` = 40,000 gives the equal-iteration protocol of CCS); ``fast`` trains 17 epochs, at least
400 steps, with Muon, a triangular schedule and label smoothing, and takes the mean of what it says
of six views of an image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.device import resolve
from loop.dynamics import Dynamics
from loop.errors import DataError, TrainingFailed
from loop.train.backbone import build, predict
from loop.train.base import Task, Trained, Trainer
from loop.train.checkpoint import Checkpoint
from loop.train.descent import Descent, Recipe
from loop.train.lanes import launch
from loop.train.linear import labelled_rows
from loop.train.metrics import measure

if TYPE_CHECKING:
    import torch

FAST_EPOCHS = 17
FAST_STEPS = 400


@dataclass(frozen=True)
class Network(Trainer):
    """Trains a network from scratch or from a checkpoint.

    Attributes:
        model: ``resnet18`` (3 x 3 stem, no max-pool), ``timm:<name>`` or ``torchvision:<name>``.
        checkpoint: file with a state dict to start from (loaded as weights only).
        preset: ``fast`` or ``paper``; the fields below override it where not 0.
        epochs, steps: length; ``steps`` wins.
        batch, rate, decay: batch size, peak learning rate, weight decay.
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
    rate: float = 0.0
    decay: float = 5e-4
    side: int = 32
    compile: bool = False
    devices: int = 1
    wants: ClassVar[str] = "images"

    def __post_init__(self) -> None:
        if self.preset not in ("fast", "paper"):
            raise ValueError(f"preset must be 'fast' or 'paper', got {self.preset!r}")
        if self.devices < 1:
            raise ValueError(f"devices must be at least 1, got {self.devices}")

    def train(
        self,
        task: Task,
        labels: NDArray[np.int64],
        rng: np.random.Generator,
        *,
        pool_probabilities: bool = False,
    ) -> Trained:
        net, _, notes = self._fit(task, labels, rng)
        device = resolve(task.device)
        six_views = self.preset == "fast"
        test = predict(net, _images(task.test_images), device, six_views)
        return Trained(
            metrics=measure(test, task.test_labels, rng=np.random.default_rng(0)),
            test_probabilities=test,
            pool_probabilities=(
                predict(net, _images(task.pool_images), device, six_views)
                if pool_probabilities
                else None
            ),
            notes=notes,
        )

    def dynamics(self, task: Task, labels: NDArray[np.int64], rng: np.random.Generator) -> Dynamics:
        """Each epoch's logits of the augmented images, in training mode, as the papers log them.
        ``steps`` that make fewer epochs than the preset's are passed over: scores look at windows
        of epochs."""
        n = len(labelled_rows(labels))
        usual = replace(self, steps=0)
        longer = usual if self._plan(n).epochs < usual._plan(n).epochs else self
        recorded = longer._fit(task, labels, rng, record=True)[1]
        assert recorded is not None
        return recorded

    def _fit(
        self,
        task: Task,
        labels: NDArray[np.int64],
        rng: np.random.Generator,
        *,
        record: bool = False,
    ) -> tuple[torch.nn.Module, Dynamics | None, dict[str, object]]:
        """Trains; where the device's memory is too small, again with half the batch."""
        import torch

        device = resolve(task.device)
        rows = labelled_rows(labels)
        plan = self._plan(len(rows))
        lanes = max(1, min(self.devices, plan.batch // 2))  # batch norm needs two images in each
        run = Descent(
            plan,
            self.model,
            self.checkpoint,
            _images(task.pool_images)[rows],
            labels,
            task.n_classes,
            int(rng.integers(2**31)),
            self.compile,
            record,
        )
        halved = 0
        while True:
            kept = self._unfinished(task, run)
            try:
                found = launch(replace(run, unfinished=kept), device, lanes)
                break
            except torch.OutOfMemoryError:
                if run.plan.batch <= 2 * lanes:
                    raise TrainingFailed(
                        f"the memory of {device} is too small even for a batch of "
                        f"{run.plan.batch}; lower 'side' under [training.params]"
                    ) from None
                halved += 1
                run = replace(run, plan=self._plan(len(rows), batch=run.plan.batch // 2))
        Checkpoint(kept).forget()
        net = build(self.model, task.n_classes)
        net.load_state_dict({k: torch.from_numpy(v) for k, v in _under("net.", found).items()})
        net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        notes: dict[str, object] = {
            "preset": self.preset,
            "epochs": run.plan.epochs,
            "batch": run.plan.batch,
            "labels": len(rows),
            "device": device,
        }
        if lanes > 1:
            notes["devices"] = lanes
        if halved:
            notes["out_of_memory"] = f"batch halved {halved} times"
        recorded = None
        if record:
            recorded = Dynamics(labels)
            recorded.restore(_under("dynamics.", found))
        return net, recorded, notes

    def _unfinished(self, task: Task, run: Descent) -> Path | None:
        """A file named after all that decides the run's steps."""
        if task.unfinished is None:
            return None
        what = [self, run.plan, run.seed, run.n_classes, run.record, task.device]
        name = hashlib.blake2b(repr(what).encode() + run.labels.tobytes(), digest_size=16)
        return task.unfinished / f"{name.hexdigest()}.pt"

    def _plan(self, n: int, batch: int = 0) -> Recipe:
        paper = self.preset == "paper"
        usual = min(128, max(16, n // 8))  # few images, still many steps
        batch = min(batch or self.batch or usual, n)
        each = -(-n // batch)
        epochs = self.epochs or (200 if paper else max(FAST_EPOCHS, -(-FAST_STEPS // each)))
        if self.steps:
            epochs = -(-self.steps // each)
        return Recipe(
            epochs,
            batch,
            self.rate or 0.1,
            epochs * each,
            warm=0.0 if paper else 0.2,
            smoothing=0.0 if paper else 0.1,
            decay=self.decay,
            muon=not paper,
        )


def _under(prefix: str, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _images(load: Callable[[], NDArray[np.uint8]] | None) -> NDArray[np.uint8]:
    if load is None:
        raise DataError("this trainer learns from images and was given none")
    return load()
