"""Trainers by name; importing this package imports nothing heavy."""

from __future__ import annotations

from typing import Any, cast

from loop.registry import Registry
from loop.train.base import Task, Trained, Trainer

__all__ = ["REGISTRY", "Task", "Trained", "Trainer", "get", "names"]

REGISTRY = Registry(
    noun="trainer",
    built_in={
        "auto": "loop.train.propagate:Propagate",
        "linear": "loop.train.linear:Linear",
        "propagate": "loop.train.propagate:Propagate",
        "resnet18": "loop.train.network:Network",
    },
)


def names() -> list[str]:
    """All trainer names, sorted."""
    return REGISTRY.names()


def get(name: str, **params: Any) -> Trainer:
    """A trainer with the given hyper-parameters. ``timm:<name>`` and ``torchvision:<name>`` are
    networks of that model.

    Raises:
        ConfigError: unknown name, unknown hyper-parameter, or a value it refuses.
    """
    if name.startswith(("timm:", "torchvision:")):
        name, params = "resnet18", {"model": name, **params}
    return cast(Trainer, REGISTRY.get(name, **params))
