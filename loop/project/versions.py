"""Versions of what a result depends on."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = (
    "coreloop",
    "numpy",
    "scipy",
    "scikit-learn",
    "torch",
    "torchvision",
    "timm",
    "open_clip_torch",
    "label-studio-sdk",
    "SQLAlchemy",
)


def versions() -> dict[str, Any]:
    """Of Python, the machine's kind and each package that is installed."""
    stated: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine()}
    return stated | _packages()


@cache
def _packages() -> dict[str, str]:
    """Read once: a package that is loaded stays as it is."""
    stated = {}
    for package in PACKAGES:
        try:
            stated[package] = version(package)
        except PackageNotFoundError:
            continue
    return stated
