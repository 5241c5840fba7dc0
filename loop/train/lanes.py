"""One device, or several that share each batch: Lightning Fabric runs a process for each of them
and averages their gradients. What learns (loop.train.descent) is the same in both cases."""

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

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric


class Lane(Protocol):
    """This process's part in a training run."""

    @property
    def number(self) -> int: ...

    @property
    def count(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    def ready(self, net: Any, optimiser: torch.optim.Optimizer) -> tuple[Any, Any]:
        """Network and optimiser as they are to be called; gradients are averaged over lanes."""
        ...

    def backward(self, loss: torch.Tensor) -> None: ...

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over all lanes, in each of them."""
        ...


@dataclass
class Alone:
    """One device, in this process."""

    device: torch.device
    number: int = 0
    count: int = 1

    def ready(self, net: Any, optimiser: torch.optim.Optimizer) -> tuple[Any, Any]:
        return net, optimiser

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def total(self, values: torch.Tensor) -> torch.Tensor:
        return values


@dataclass
class Shared:
    """One of several processes, each with a device of its own (on the CPU: with its cores)."""

    fabric: Fabric

    @property
    def number(self) -> int:
        return int(self.fabric.global_rank)

    @property
    def count(self) -> int:
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


def launch(work: Callable[[Lane], Arrays], device: str, count: int) -> Arrays:
    """What ``work`` answers in the first of ``count`` lanes.

    Raises:
        ConfigError: Lightning Fabric is not installed, or there are fewer devices.
        TrainingFailed: what a lane raised.
        torch.OutOfMemoryError: a device's memory is too small.
    """
    import torch

    if count == 1:
        return work(Alone(torch.device(device)))
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
            fabric.launch(_lane, partial(work), file)  # type: ignore[arg-type]
            with np.load(file, allow_pickle=False) as found:
                return dict(found)
    except torch.multiprocessing.ProcessRaisedException as error:
        text = str(error).strip().splitlines()[-1]
        name, _, said = text.partition(": ")
        if name.endswith("OutOfMemoryError"):
            raise torch.OutOfMemoryError(said) from None
        if name.endswith("TrainingFailed"):
            raise TrainingFailed(said) from None
        raise


def _lane(fabric: Fabric, work: Callable[[Lane], Arrays], file: Path) -> None:
    import torch

    if fabric.device.type == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // fabric.world_size))
    result = work(Shared(fabric))
    if fabric.global_rank == 0:
        np.savez(file, **result)  # type: ignore[arg-type]
