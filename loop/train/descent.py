"""Gradient descent of a network on images that stay on the device as uint8; flips and shifts happen
there, a batch at a time. The same code runs on CUDA (bf16, channels-last) and on the CPU (float32),
on one device or several.

Each epoch draws from a seed of its own, so a run that goes on after a kill takes the same steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from loop.dynamics import Dynamics
from loop.errors import TrainingFailed
from loop.train.backbone import augment, build, normalise
from loop.train.checkpoint import Checkpoint
from loop.train.lanes import Lane

if TYPE_CHECKING:
    import torch

MOMENTUM = 0.9


@dataclass(frozen=True)
class Recipe:
    """Length, schedule and optimiser of one run: SGD, or Muon where ``muon``. ``warm`` is the share
    of steps that the rate rises."""

    epochs: int
    batch: int
    rate: float
    steps: int
    warm: float
    smoothing: float
    decay: float
    muon: bool = False

    def factor(self, step: int) -> float:
        """Learning-rate factor: linear up, then a cosine (paper) or a line (fast) to 0."""
        at = step / max(1, self.steps)
        if at < self.warm:
            return max(at / self.warm, 0.01)
        rest = (at - self.warm) / (1 - self.warm)
        return 0.5 * (1 + float(np.cos(np.pi * rest))) if self.warm == 0 else max(1 - rest, 0.0)


def batches(drawn: torch.Tensor, plan: Recipe, lanes: int = 1) -> list[torch.Tensor]:
    """The images of an epoch in the order drawn, at least two for each lane in a batch, as batch
    norm needs (of too few, each comes more than once).

    SGD's are full but the last, as in the papers. Muon's are of one size, give or take an image:
    its step is as long after 8 images as after 128.
    """
    import torch

    least = 2 * lanes
    if plan.muon:
        count = min(-(-len(drawn) // plan.batch), len(drawn) // least)
        parts = list(drawn.tensor_split(max(1, count)))
    else:
        parts = list(drawn.split(plan.batch))
        if len(parts) > 1 and len(parts[-1]) < least:
            parts[-2:] = [torch.cat(parts[-2:])]
    return [p if len(p) >= least else p.repeat(-(-least // len(p))) for p in parts]


@dataclass(frozen=True)
class Descent:
    """One run.

    Attributes:
        model, checkpoint: see loop.train.backbone.build.
        pixels: (M, H, W, 3) uint8 images of the rows with a label.
        labels: (N,) int64, -1 where there is none.
        n_classes: C.
        seed: of weights, order and augmentation.
        compile: torch.compile the network.
        record: record training dynamics: each epoch's logits of the augmented images, in training
            mode, as the papers log them.
        unfinished: file that keeps the state between epochs, or None.
    """

    plan: Recipe
    model: str
    checkpoint: str
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    n_classes: int
    seed: int
    compile: bool = False
    record: bool = False
    unfinished: Path | None = None

    def __call__(self, lane: Lane) -> dict[str, NDArray[np.generic]]:
        """``net.<name>``: weights after the last epoch; ``dynamics.<name>``: their state.

        Raises:
            TrainingFailed: the loss is not finite.
        """
        import torch

        torch.manual_seed(self.seed)
        net = build(self.model, self.n_classes, self.checkpoint)
        if lane.count > 1 and lane.device.type == "cuda":
            net = torch.nn.SyncBatchNorm.convert_sync_batchnorm(net)
        net = net.to(device=lane.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = _optimiser(net, self.plan, fused=lane.device.type == "cuda")
        dynamics = Dynamics(self.labels) if self.record else None
        kept = Checkpoint(self.unfinished if lane.number == 0 else None)
        first = self._go_on(net, optimiser, dynamics)
        run, step = lane.ready(torch.compile(net) if self.compile else net, optimiser)
        rows = torch.from_numpy(np.flatnonzero(self.labels >= 0))
        images = torch.from_numpy(self.pixels).to(lane.device).permute(0, 3, 1, 2).contiguous()
        target = torch.from_numpy(self.labels)[rows].to(lane.device)
        net.train()
        for epoch in range(first, self.plan.epochs):
            logits = self._epoch(lane, run, step, images, target, epoch)
            if dynamics is not None:
                dynamics.update(self._everywhere(logits))
            if kept.due() and epoch + 1 < self.plan.epochs:
                kept.save(_state(epoch + 1, net, optimiser, dynamics))
        recorded = {} if dynamics is None else dynamics.state()
        weights = {f"net.{name}": value.cpu().numpy() for name, value in net.state_dict().items()}
        return weights | {f"dynamics.{name}": value for name, value in recorded.items()}

    def _epoch(
        self,
        lane: Lane,
        run: Any,
        optimiser: Any,
        images: torch.Tensor,
        target: torch.Tensor,
        epoch: int,
    ) -> torch.Tensor:
        """(M, C) logits of the images as they were learned from."""
        import torch

        device = lane.device
        order = torch.Generator().manual_seed(self.seed + epoch)
        torch.manual_seed(self.seed + epoch + (lane.number + 1) * 2**32)
        logits = torch.zeros((len(target), self.n_classes), device=device)
        total = torch.zeros((), device=device)
        drawn = torch.randperm(len(target), generator=order).to(device)
        parts = batches(drawn, self.plan, lane.count)
        for number, part in enumerate(parts, epoch * len(parts)):
            mine = part[lane.number :: lane.count]
            for group in optimiser.param_groups:
                group["lr"] = self.plan.rate * self.plan.factor(number)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                z = run(augment(normalise(images[mine])))
            loss = torch.nn.functional.cross_entropy(
                z.float(), target[mine], label_smoothing=self.plan.smoothing
            )
            optimiser.zero_grad(set_to_none=True)
            lane.backward(loss)
            optimiser.step()
            total += loss.detach()
            logits[mine] = z.detach().float()  # stays on the device: no wait per batch
        if not bool(torch.isfinite(lane.total(total))):
            raise TrainingFailed(
                f"the loss is not a number in epoch {epoch + 1}; lower 'rate' under "
                "[training.params]"
            )
        return lane.total(logits)

    def _go_on(self, net: Any, optimiser: torch.optim.Optimizer, dynamics: Dynamics | None) -> int:
        """The number of epochs that are done; their state is put in place."""
        state = Checkpoint(self.unfinished).load()
        if state is None:
            return 0
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        if dynamics is not None:
            dynamics.restore({name: value.numpy() for name, value in state["dynamics"].items()})
        return int(state["epoch"])

    def _everywhere(self, logits: torch.Tensor) -> NDArray[np.float32]:
        whole = np.zeros((len(self.labels), self.n_classes), dtype=np.float32)
        whole[self.labels >= 0] = logits.cpu().numpy()
        return whole


def _optimiser(net: torch.nn.Module, plan: Recipe, fused: bool) -> torch.optim.Optimizer:
    import torch

    from loop.train.muon import Muon

    if plan.muon:
        return Muon(net, plan.rate, plan.decay, fused, MOMENTUM)
    return torch.optim.SGD(
        net.parameters(),
        lr=plan.rate,
        momentum=MOMENTUM,
        nesterov=True,
        weight_decay=plan.decay,
        fused=fused,
    )


def _state(
    epoch: int, net: torch.nn.Module, optimiser: torch.optim.Optimizer, dynamics: Dynamics | None
) -> dict[str, Any]:
    import torch

    recorded = {} if dynamics is None else dynamics.state()
    return {
        "epoch": epoch,
        "net": net.state_dict(),
        "optimiser": optimiser.state_dict(),
        "dynamics": {name: torch.from_numpy(value) for name, value in recorded.items()},
    }
