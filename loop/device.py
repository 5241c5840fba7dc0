"""Torch devices: which one ``auto`` means on this machine, and batches that outgrow its memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loop.errors import ConfigError


def resolve(name: str) -> str:
    """``auto`` -> ``cuda`` if torch sees a GPU, else ``cpu``; other names are checked.

    Raises:
        ConfigError: unknown device name, or torch does not see that device.
    """
    if name == "cpu":
        return name
    import torch

    has_cuda = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if has_cuda else "cpu"
    kind, _, number = name.partition(":")
    if kind != "cuda" or not (number.isdigit() or name == "cuda"):
        raise ConfigError(f"unknown device {name!r}; 'auto', 'cpu', 'cuda' or 'cuda:<number>'")
    if not has_cuda:
        raise ConfigError(f"device {name!r} asked for, but torch sees no GPU; use 'auto' or 'cpu'")
    if number and int(number) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {name!r} asked for, but torch sees {torch.cuda.device_count()}, counted from 0"
        )
    return name


def gpus() -> int:
    """Number of GPUs that torch sees."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def halving(work: Callable[[NDArray[Any]], NDArray[Any]], rows: NDArray[Any]) -> NDArray[Any]:
    """``work(rows)``; where the device runs out of memory, its two halves joined along axis 0."""
    try:
        return work(rows)
    except RuntimeError as error:  # torch's class by name, so that torch need not be loaded
        if type(error).__name__ != "OutOfMemoryError" or len(rows) < 2:
            raise
    # outside the handler: while it runs, the traceback keeps the failed tensors alive
    middle = len(rows) // 2
    return np.concatenate([halving(work, rows[:middle]), halving(work, rows[middle:])])
