"""Data-parallel training: one device, or several that share each batch.

Lightning Fabric runs a process for each device and averages their gradients. What learns
(loop.train.descent) is the same in both cases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from loop.errors import ConfigError, TrainingFailed
from loop.secrets import without_secrets

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric


class Replica(Protocol):
    """This process's copy of the network in a training run."""

    @property
    def rank(self) -> int:
        """Which of the replicas this is, from 0."""
        ...

    @property
    def world_size(self) -> int:
        """How many replicas there are."""
        ...

    @property
    def device(self) -> torch.device: ...

    def ready(self, net: Any, optimiser: torch.optim.Optimizer) -> tuple[Any, Any]:
        """Network and optimiser as they are to be called; gradients are averaged over replicas."""
        ...

    def backward(self, loss: torch.Tensor) -> None: ...

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over all replicas, in each of them."""
        ...


@dataclass
class SingleDevice:
    """One device, in this process."""

    device: torch.device
    rank: int = 0
    world_size: int = 1

    def ready(self, net: Any, optimiser: torch.optim.Optimizer) -> tuple[Any, Any]:
        return net, optimiser

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def total(self, values: torch.Tensor) -> torch.Tensor:
        return values


@dataclass
class FabricReplica:
    """One of several processes, each with a device of its own (on the CPU: with its cores)."""

    fabric: Fabric

    @property
    def rank(self) -> int:
        return int(self.fabric.global_rank)

    @property
    def world_size(self) -> int:
        return int(self.fabric.world_size)

    @property
    def device(self) -> torch.device:
        return self.fabric.device

    def ready(self, net: Any, optimiser: torch.optim.Optimizer) -> tuple[Any, Any]:
        return tuple(self.fabric.setup(net, optimiser))  # type: ignore[return-value]

    def backward(self, loss: torch.Tensor) -> None:
        self.fabric.backward(loss)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        return self.fabric.all_reduce(values, reduce_op="sum")  # type: ignore[return-value]


Arrays = dict[str, NDArray[np.generic]]


def launch(work: Callable[[Replica], Arrays], device: str, count: int) -> Arrays:
    """The result of ``work`` in the first of ``count`` replicas.

    Raises:
        ConfigError: Lightning Fabric is not installed, or there are fewer devices.
        TrainingFailed: as a replica raised it.
        torch.OutOfMemoryError: a device's memory is too small.
    """
    import torch

    if count == 1:
        with without_secrets():  # torch.compile starts compilers
            return work(SingleDevice(torch.device(device)))
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise ConfigError("'devices' above 1 needs: pip install 'coreloop[fabric]'") from None
    kind = torch.device(device).type
    if kind == "cuda" and count > torch.cuda.device_count():
        raise ConfigError(f"devices = {count}, but there are {torch.cuda.device_count()}")
    fabric = Fabric(accelerator=kind, devices=count, strategy="ddp_spawn")
    try:
        with TemporaryDirectory() as folder:  # the pipe that Fabric answers through is too small
            file = Path(folder) / "result.npz"
            # a partial, for Fabric looks into dataclasses
            with without_secrets():
                fabric.launch(_replicate, partial(work), file)  # type: ignore[arg-type]
            with np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
    except torch.multiprocessing.ProcessRaisedException as error:
        text = str(error).strip().splitlines()[-1]
        name, _, message = text.partition(": ")
        if name.endswith("OutOfMemoryError"):
            raise torch.OutOfMemoryError(message) from None
        if name.endswith("TrainingFailed"):
            raise TrainingFailed(message) from None
        raise


def _replicate(fabric: Fabric, work: Callable[[Replica], Arrays], file: Path) -> None:
    """In a process of its own: runs ``work``; the first replica saves the result."""
    import torch

    if fabric.device.type == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // fabric.world_size))
    result = work(FabricReplica(fabric))
    if fabric.global_rank == 0:
        np.savez(file, **result)  # type: ignore[arg-type]
    fabric.barrier()
    torch.distributed.destroy_process_group()  # else its threads may abort the process at exit
