"""What images state of themselves: how they are kept, and their class names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from loop.errors import ConfigError


def layout_of(images: Path) -> Literal["folder", "parquet"]:
    """Whether a path leads to image files, or to a parquet file or a folder of these."""
    if images.suffix.lower() == ".parquet":
        return "parquet"
    if not images.is_dir():
        return "folder"
    from connectors.folder import holds_images
    from connectors.parquet import shards_of

    return "parquet" if shards_of(images) and not holds_images(images) else "folder"


def stated_classes(path: Path) -> list[str]:
    """Sorted names of the sub-folders with files, or the class names of parquet files.

    Raises:
        ConfigError: there are fewer than two; says how to name them.
        SourceError: the parquet file cannot be read.
    """
    if layout_of(path) == "parquet":
        from connectors.parquet import class_names

        return class_names(path)
    inside = path.iterdir() if path.is_dir() else ()
    names = sorted(p.name for p in inside if not p.name.startswith(".") and _holds_files(p))
    if len(names) < 2:
        raise ConfigError(
            f"say what the classes are, e.g. --classes cat,dog ({path} has no class sub-folders)"
        )
    return names


def _holds_files(folder: Path) -> bool:
    """At any depth; hidden files and folders do not count."""
    for _, names, files in os.walk(folder):
        names[:] = [name for name in names if not name.startswith(".")]
        if not all(name.startswith(".") for name in files):
            return True
    return False
