"""Trainers by name; importing this package imports nothing heavy."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from typing import Any

from loop.errors import ConfigError, nearest
from loop.train.base import Task, Trained, Trainer

__all__ = ["BUILT_IN", "Task", "Trained", "Trainer", "get", "names"]

BUILT_IN: dict[str, str] = {
    "auto": "loop.train.propagate:Propagate",
    "linear": "loop.train.linear:Linear",
    "propagate": "loop.train.propagate:Propagate",
    "resnet18": "loop.train.network:Network",
}


def names() -> list[str]:
    """All trainer names, sorted."""
    return sorted(BUILT_IN)


def get(name: str, **params: Any) -> Trainer:
    """A trainer with the given hyper-parameters. ``timm:<name>`` and ``torchvision:<name>`` are
    networks of that model.

    Raises:
        ConfigError: unknown name, unknown hyper-parameter, or a value it refuses.
    """
    if name.startswith(("timm:", "torchvision:")):
        name, params = "resnet18", {"model": name, **params}
    if name not in BUILT_IN:
        raise ConfigError(f"unknown trainer {name!r}{nearest(name, BUILT_IN)}; one of {names()}")
    module, _, attribute = BUILT_IN[name].partition(":")
    cls = getattr(import_module(module), attribute)
    known = [field.name for field in fields(cls)]
    for key in params:
        if key not in known:
            raise ConfigError(f"trainer {name!r} has no parameter {key!r}{nearest(key, known)}")
    try:
        return cls(**params)  # type: ignore[no-any-return]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"trainer {name!r}: {error}") from error
