"""Trainers by name; importing this package imports nothing heavy."""

from __future__ import annotations

from typing import Any, cast

from loop.errors import ConfigError
from loop.registry import Registry
from loop.train.base import Task, Trained, Trainer

__all__ = ["FINE_TUNING", "REGISTRY", "Task", "Trained", "Trainer", "get", "names"]

REGISTRY = Registry(
    noun="trainer",
    built_in={
        "auto": "loop.train.propagate:Propagate",
        "linear": "loop.train.linear:Linear",
        "lora": "loop.train.lora:Lora",
        "propagate": "loop.train.propagate:Propagate",
        "resnet18": "loop.train.network:Network",
    },
)

FINE_TUNING = "lora:"
"""Before an encoder's spec: it is fine-tuned."""
FORMER_NAMES = {"strength": "l2", "rate": "learning_rate", "decay": "weight_decay"}
"""Of hyper-parameters, in projects of version 0.5 and before."""


def names() -> list[str]:
    """All trainer names, sorted."""
    return REGISTRY.names()


def get(name: str, **params: Any) -> Trainer:
    """A trainer with the given hyper-parameters, under their names of today or ``FORMER_NAMES``.

    ``timm:<name>`` and ``torchvision:<name>`` are networks of that model, ``lora:<encoder>`` a
    fine-tuned encoder.

    Raises:
        ConfigError: unknown name, unknown hyper-parameter, one given under both of its names, or a
            value it refuses.
    """
    for former in params.keys() & FORMER_NAMES.keys():
        if FORMER_NAMES[former] in params:
            raise ConfigError(
                f"trainer {name!r}: {former!r} is the former name of {FORMER_NAMES[former]!r}; "
                "give one of the two"
            )
    params = {FORMER_NAMES.get(key, key): value for key, value in params.items()}
    if name.startswith(("timm:", "torchvision:")):
        name, params = "resnet18", {"model": name, **params}
    if name.startswith(FINE_TUNING):
        name, params = "lora", {"model": name.removeprefix(FINE_TUNING), **params}
    return cast(Trainer, REGISTRY.get(name, **params))
