"""A convolutional network on the images themselves: ResNet-18 with a stem for small pictures, or a
timm model. Images stay on the device as uint8; flips and shifts happen there, a batch at a time.

The same code runs on CUDA (bf16, channels-last) and on the CPU (float32). The last epoch counts.

Presets (loop.train registry names stay the same): ``paper`` is the protocol of the coreset papers,
SGD 0.1, Nesterov 0.9, weight decay 5e-4, cosine to 0, batch 128, 200 epochs, random crop with pad 4
and flip (voxel51/zcore core/train; ``steps`` = 40,000 gives the equal-iteration protocol of CCS);
``fast`` trains 20 epochs, at least 400 steps, with a triangular schedule and label smoothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.errors import ConfigError, DataError, TrainingFailed
from loop.train.base import Task, Trained, Trainer
from loop.train.linear import labelled_rows
from loop.train.metrics import measure

if TYPE_CHECKING:
    import torch

    from loop.dynamics import Dynamics

PAD = 4
FAST_STEPS = 400


@dataclass(frozen=True)
class Network(Trainer):
    """Trains a network from scratch or from a checkpoint.

    Attributes:
        model: ``resnet18`` (3 x 3 stem, no max-pool) or ``timm:<name>``.
        checkpoint: file with a state dict to start from (loaded as weights only).
        preset: ``fast`` or ``paper``; the fields below override it where not 0.
        epochs, steps: length; ``steps`` wins.
        batch, rate, decay: batch size, peak learning rate, weight decay.
        side: images are resized to side x side before training.
        compile: torch.compile the model (pays off for long runs).
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
    wants: ClassVar[str] = "images"

    def __post_init__(self) -> None:
        if self.preset not in ("fast", "paper"):
            raise ValueError(f"preset must be 'fast' or 'paper', got {self.preset!r}")

    def train(
        self,
        task: Task,
        labels: NDArray[np.int64],
        rng: np.random.Generator,
        *,
        pool_probabilities: bool = False,
    ) -> Trained:
        net, notes = self._fit(task, labels, rng)
        test = predict(net, _images(task.test_images), task.device)
        return Trained(
            metrics=measure(test, task.test_labels, rng=np.random.default_rng(0)),
            test_probabilities=test,
            pool_probabilities=(
                predict(net, _images(task.pool_images), task.device) if pool_probabilities else None
            ),
            notes=notes,
        )

    def dynamics(self, task: Task, labels: NDArray[np.int64], rng: np.random.Generator) -> Dynamics:
        """Each epoch's logits of the augmented images, in training mode, as the papers log them."""
        from loop.dynamics import Dynamics

        recorded = Dynamics(labels)
        self._fit(task, labels, rng, recorded.update)
        return recorded

    def _fit(
        self,
        task: Task,
        labels: NDArray[np.int64],
        rng: np.random.Generator,
        on_epoch: Callable[[NDArray[np.float32]], None] | None = None,
    ) -> tuple[torch.nn.Module, dict[str, object]]:
        """Trains; where the device's memory is too small, again with half the batch."""
        import torch

        rows = labelled_rows(labels)
        seed, plan = int(rng.integers(2**31)), self._plan(len(rows))
        images = _images(task.pool_images)[rows]
        halved = 0
        while True:
            torch.manual_seed(seed)
            try:
                net = self._run(task, images, labels, plan, on_epoch)
                break
            except torch.OutOfMemoryError:
                if plan.batch <= 2:
                    raise TrainingFailed(
                        f"the memory of {task.device} is too small even for a batch of 2; "
                        "lower 'side' under [training.params]"
                    ) from None
                halved += 1
                plan = self._plan(len(rows), batch=plan.batch // 2)
        notes: dict[str, object] = {
            "preset": self.preset, "epochs": plan.epochs, "batch": plan.batch,
            "labels": len(rows), "device": task.device,
        }  # fmt: skip
        if halved:
            notes["out_of_memory"] = f"batch halved {halved} times"
        return net, notes

    def _run(
        self,
        task: Task,
        pixels: NDArray[np.uint8],
        labels: NDArray[np.int64],
        plan: Plan,
        on_epoch: Callable[[NDArray[np.float32]], None] | None,
    ) -> torch.nn.Module:
        import torch

        rows, device = labelled_rows(labels), torch.device(task.device)
        images = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).contiguous()
        target = torch.from_numpy(labels[rows]).to(device)
        net = build(self.model, task.n_classes, self.checkpoint)
        net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        run: Any = torch.compile(net) if self.compile else net
        sgd = torch.optim.SGD(
            net.parameters(), lr=plan.rate, momentum=0.9, nesterov=True, weight_decay=self.decay,
            fused=device.type == "cuda",
        )  # fmt: skip
        schedule = torch.optim.lr_scheduler.LambdaLR(sgd, plan.factor)
        logits = torch.zeros((len(rows), task.n_classes), device=device)
        net.train()
        for epoch in range(plan.epochs):
            total = torch.zeros((), device=device)
            for part in torch.randperm(len(rows), device=device).split(plan.batch):
                if len(part) == 1 and len(rows) > 1:
                    continue  # batch norm needs two
                with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                    z = run(augment(normalise(images[part])))
                loss = torch.nn.functional.cross_entropy(
                    z.float(), target[part], label_smoothing=plan.smoothing
                )
                sgd.zero_grad(set_to_none=True)
                loss.backward()
                sgd.step()
                schedule.step()
                total += loss.detach()
                logits[part] = z.detach().float()  # stays on the device: no wait per batch
            if not bool(torch.isfinite(total)):
                raise TrainingFailed(
                    f"the loss is not a number in epoch {epoch + 1}; lower 'rate' under "
                    "[training.params]"
                )
            if on_epoch is not None:
                whole = np.zeros((len(labels), task.n_classes), dtype=np.float32)
                whole[rows] = logits.cpu().numpy()
                on_epoch(whole)
        return net

    def _plan(self, n: int, batch: int = 0) -> Plan:
        paper = self.preset == "paper"
        usual = min(128, max(16, n // 8))  # few images, still many steps
        batch = min(batch or self.batch or usual, n)
        each = -(-n // batch)
        epochs = self.epochs or (200 if paper else max(20, -(-FAST_STEPS // each)))
        if self.steps:
            epochs = -(-self.steps // each)
        return Plan(
            epochs, batch, self.rate or (0.1 if paper else 0.2), epochs * each,
            warm=0.0 if paper else 0.2, smoothing=0.0 if paper else 0.1,
        )  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Length and schedule of one run; ``warm`` is the share of steps that the rate rises."""

    epochs: int
    batch: int
    rate: float
    steps: int
    warm: float
    smoothing: float

    def factor(self, step: int) -> float:
        """Learning-rate factor: linear up, then a cosine (paper) or a line (fast) to 0."""
        at = step / max(1, self.steps)
        if at < self.warm:
            return max(at / self.warm, 0.01)
        rest = (at - self.warm) / (1 - self.warm)
        return 0.5 * (1 + float(np.cos(np.pi * rest))) if self.warm == 0 else max(1 - rest, 0.0)


def build(name: str, classes: int, checkpoint: str = "") -> torch.nn.Module:
    """The network, with random weights or those of a checkpoint.

    Raises:
        ConfigError: unknown model.
        DataError: the checkpoint is missing, damaged or of another model.
    """
    import torch

    net: torch.nn.Module
    if name == "resnet18":
        import torchvision

        net = torchvision.models.resnet18(num_classes=classes)
        net.conv1 = torch.nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        net.maxpool = torch.nn.Identity()  # type: ignore[assignment]
    elif name.startswith("timm:"):
        import timm

        try:
            net = timm.create_model(name.removeprefix("timm:"), num_classes=classes)
        except RuntimeError as error:
            raise ConfigError(f"model {name!r}: {error}") from None
    else:
        raise ConfigError(f"unknown model {name!r}; 'resnet18' or 'timm:<name>'")
    if checkpoint:
        try:
            net.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
        except FileNotFoundError:
            raise DataError(f"no checkpoint {checkpoint}") from None
        except Exception as error:  # torch raises many kinds on damaged files
            raise DataError(f"checkpoint {checkpoint} cannot be used: {error}") from None
    return net


def normalise(batch: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) uint8 -> float in about [-2, 2], channels last."""
    import torch

    return batch.float().sub_(127.5).div_(64.0).contiguous(memory_format=torch.channels_last)


def augment(batch: torch.Tensor) -> torch.Tensor:
    """Random flip and shift by up to ``PAD`` pixels (reflected), one draw per image."""
    import torch

    b, _, h, w = batch.shape
    flip = torch.rand(b, device=batch.device) < 0.5
    batch = torch.where(flip[:, None, None, None], batch.flip(3), batch)
    pad = min(PAD, h - 1, w - 1)
    padded = torch.nn.functional.pad(batch, (pad, pad, pad, pad), mode="reflect")
    dy = torch.randint(0, 2 * pad + 1, (b, 1), device=batch.device)
    dx = torch.randint(0, 2 * pad + 1, (b, 1), device=batch.device)
    y = (dy + torch.arange(h, device=batch.device))[:, None, :, None]
    x = (dx + torch.arange(w, device=batch.device))[:, None, None, :]
    which = torch.arange(b, device=batch.device)[:, None, None, None]
    channel = torch.arange(3, device=batch.device)[None, :, None, None]
    return padded[which, channel, y, x].contiguous(memory_format=torch.channels_last)


def predict(
    net: torch.nn.Module, images: NDArray[np.uint8], device: str, batch: int = 512
) -> NDArray[np.float64]:
    """(N, C) float64 probabilities of (N, H, W, 3) uint8 images, no augmentation."""
    import torch

    net.eval()
    out = []
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            part = torch.from_numpy(images[start : start + batch]).to(device).permute(0, 3, 1, 2)
            with torch.autocast(device.split(":")[0], torch.bfloat16, enabled="cuda" in device):
                z = net(normalise(part))
            out.append(torch.softmax(z.double(), dim=1).cpu().numpy())
    if not out:
        raise DataError("there is no test image; set 'test' under [pool]")
    return np.concatenate(out)


def _images(load: Callable[[], NDArray[np.uint8]] | None) -> NDArray[np.uint8]:
    if load is None:
        raise DataError("this trainer learns from images and was given none")
    return load()
