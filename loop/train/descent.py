"""Minibatch gradient descent of a network on images that stay on the device as uint8.

Flips and shifts happen there, a batch at a time. The same code runs on CUDA (bf16, channels-last)
and on the CPU (float32), on one device or several.

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
from loop.train.backbone import MEAN, PAD, STD, Channels, augment, build, normalise
from loop.train.checkpoint import Checkpoint
from loop.train.replicas import Replica

if TYPE_CHECKING:
    import torch

MOMENTUM = 0.9


@dataclass(frozen=True)
class Recipe:
    """Length, learning-rate schedule and optimiser of one training run.

    Attributes:
        epochs: passes over the labelled images.
        batch: images per step.
        learning_rate: the peak.
        steps: in all epochs together.
        warm_up: share of the steps in which the learning rate rises.
        label_smoothing: share of the target spread over all classes.
        weight_decay: L2 penalty of the weights, as the optimiser takes it.
        optimiser: ``sgd``, ``muon`` or ``adamw``.
    """

    epochs: int
    batch: int
    learning_rate: float
    steps: int
    warm_up: float
    label_smoothing: float
    weight_decay: float
    optimiser: str = "sgd"

    def factor(self, step: int) -> float:
        """Learning-rate factor: linear up, then a line to 0; without warm-up a cosine to 0."""
        progress = step / max(1, self.steps)
        if progress < self.warm_up:
            return max(progress / self.warm_up, 0.01)
        if self.warm_up == 0:
            return 0.5 * (1 + float(np.cos(np.pi * progress)))
        return max(1 - (progress - self.warm_up) / (1 - self.warm_up), 0.0)


def batches(drawn: torch.Tensor, recipe: Recipe, replicas: int = 1) -> list[torch.Tensor]:
    """Minibatches of an epoch, at least two images for each replica, as batch norm needs.

    SGD's are full but the last, as in the papers. Those of Muon and AdamW are of one size, give or
    take an image: their step is as long after 8 images as after 128.

    Args:
        drawn: (M,) int64 rows in random order.
        replicas: devices that share each batch.

    Returns:
        The rows of each batch; of too few for one batch, each comes more than once.
    """
    import torch

    least = 2 * replicas
    if recipe.optimiser != "sgd":
        count = min(-(-len(drawn) // recipe.batch), len(drawn) // least)
        parts = list(drawn.tensor_split(max(1, count)))
    else:
        parts = list(drawn.split(recipe.batch))
        if len(parts) > 1 and len(parts[-1]) < least:
            parts[-2:] = [torch.cat(parts[-2:])]
    return [part if len(part) >= least else part.repeat(-(-least // len(part))) for part in parts]


@dataclass(frozen=True)
class Descent:
    """One training run.

    Attributes:
        recipe: length, schedule, optimiser.
        model, checkpoint: see loop.train.backbone.build.
        pixels: (M, H, W, 3) uint8 images of the rows with a label.
        labels: (N,) int64, -1 where there is none.
        n_classes: C.
        seed: of weights, order and augmentation.
        compile: torch.compile the network.
        record: record training dynamics: each epoch's logits of the augmented images, in training
            mode, as the papers log them.
        unfinished: file that keeps the state between epochs, or None.
        mean, std: of the pixels, see loop.train.backbone.normalise.
        shift: pixels that augmentation shifts by, at most.
    """

    recipe: Recipe
    model: str
    checkpoint: str
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    n_classes: int
    seed: int
    compile: bool = False
    record: bool = False
    unfinished: Path | None = None
    mean: Channels = MEAN
    std: Channels = STD
    shift: int = PAD

    def __call__(self, replica: Replica) -> dict[str, NDArray[np.generic]]:
        """``net.<name>``: weights after the last epoch; ``dynamics.<name>``: their state.

        Raises:
            TrainingFailed: the loss is not finite.
        """
        import torch

        net = self.network(replica)
        optimiser = _optimiser(net, self.recipe, fused=replica.device.type == "cuda")
        dynamics = Dynamics(self.labels) if self.record else None
        checkpoint = Checkpoint(self.unfinished if replica.rank == 0 else None)
        epochs_done = self._go_on(net, optimiser, dynamics)
        compiled = torch.compile(net) if self.compile else net
        replica_net, replica_optimiser = replica.ready(compiled, optimiser)
        rows = torch.from_numpy(np.flatnonzero(self.labels >= 0))
        images = torch.from_numpy(self.pixels).to(replica.device).permute(0, 3, 1, 2).contiguous()
        target = torch.from_numpy(self.labels)[rows].to(replica.device)
        for epoch in range(epochs_done, self.recipe.epochs):
            logits = self._epoch(replica, replica_net, replica_optimiser, images, target, epoch)
            if dynamics is not None:
                dynamics.update(self._in_pool(logits))
            if checkpoint.due() and epoch + 1 < self.recipe.epochs:
                checkpoint.save(_state(epoch + 1, net, optimiser, dynamics))
        recorded = {} if dynamics is None else dynamics.state()
        weights = {f"net.{name}": value.cpu().numpy() for name, value in self.kept(net).items()}
        return weights | {f"dynamics.{name}": value for name, value in recorded.items()}

    def network(self, replica: Replica) -> torch.nn.Module:
        """The network on the replica's device, its random weights drawn from the seed."""
        import torch

        torch.manual_seed(self.seed)
        net = build(self.model, self.n_classes, self.checkpoint)
        if replica.world_size > 1 and replica.device.type == "cuda":
            net = torch.nn.SyncBatchNorm.convert_sync_batchnorm(net)
        net = net.to(device=replica.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return net.train()

    def kept(self, net: torch.nn.Module) -> dict[str, torch.Tensor]:
        """State dict of the network that has learned."""
        return net.state_dict()

    def _epoch(
        self,
        replica: Replica,
        net: Any,
        optimiser: Any,
        images: torch.Tensor,
        target: torch.Tensor,
        epoch: int,
    ) -> torch.Tensor:
        """One pass over the images; (M, C) float32 logits of them, as they were learned from."""
        import torch

        device = replica.device
        order = torch.Generator().manual_seed(self.seed + epoch)
        torch.manual_seed(self.seed + epoch + (replica.rank + 1) * 2**32)
        logits = torch.zeros((len(target), self.n_classes), device=device)
        total = torch.zeros((), device=device)
        drawn = torch.randperm(len(target), generator=order).to(device)
        parts = batches(drawn, self.recipe, replica.world_size)
        smoothing = self.recipe.label_smoothing
        for step, part in enumerate(parts, epoch * len(parts)):
            rows = part[replica.rank :: replica.world_size]
            for group in optimiser.param_groups:
                group["lr"] = self.recipe.learning_rate * self.recipe.factor(step)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                seen = augment(normalise(images[rows], self.mean, self.std), self.shift)
                z = net(seen).float()
            loss = torch.nn.functional.cross_entropy(z, target[rows], label_smoothing=smoothing)
            optimiser.zero_grad(set_to_none=True)
            replica.backward(loss)
            optimiser.step()
            total += loss.detach()
            logits[rows] = z.detach()  # stays on the device: no wait per batch
        if not bool(torch.isfinite(replica.total(total))):
            raise TrainingFailed(
                f"the loss is not a number in epoch {epoch + 1}; lower 'learning_rate' "
                "under "
                "[training.params]"
            )
        return replica.total(logits)

    def _go_on(self, net: Any, optimiser: torch.optim.Optimizer, dynamics: Dynamics | None) -> int:
        """Restores an unfinished run; how many of its epochs are done, 0 without one."""
        state = Checkpoint(self.unfinished).load()
        if state is None:
            return 0
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        if dynamics is not None:
            dynamics.restore({name: value.numpy() for name, value in state["dynamics"].items()})
        return int(state["epoch"])

    def _in_pool(self, logits: torch.Tensor) -> NDArray[np.float32]:
        """(M, C) logits of the labelled rows -> (N, C) of the pool, 0 elsewhere."""
        of_pool = np.zeros((len(self.labels), self.n_classes), dtype=np.float32)
        of_pool[self.labels >= 0] = logits.cpu().numpy()
        return of_pool


def _optimiser(net: torch.nn.Module, recipe: Recipe, fused: bool) -> torch.optim.Optimizer:
    import torch

    from loop.train.muon import Muon

    learning_rate, weight_decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimiser == "muon":
        return Muon(net, learning_rate, weight_decay, fused, MOMENTUM)
    if recipe.optimiser == "adamw":
        learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
        return torch.optim.AdamW(learned, learning_rate, weight_decay=weight_decay, fused=fused)
    return torch.optim.SGD(
        net.parameters(),
        lr=learning_rate,
        momentum=MOMENTUM,
        nesterov=True,
        weight_decay=weight_decay,
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
