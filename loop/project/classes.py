"""What images state of themselves: how they are kept, and their class names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

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


def pool_section(images: Path) -> dict[str, Any]:
    """What [pool] says of images: how they are kept, and where."""
    from connectors.folder import split_classes

    layout = layout_of(images)
    splits = layout == "folder" and images.is_dir() and bool(split_classes(images))
    return {"source": layout, "path": str(images), "splits": splits}


def stated_classes(path: Path) -> list[str]:
    """Sorted names of the sub-folders with images (below train, val and test, where the folder is
    laid out so), or the class names of parquet files.

    Raises:
        ConfigError: there are fewer than two; says how to name them.
        SourceError: the parquet file cannot be read.
    """
    if layout_of(path) == "parquet":
        from connectors.parquet import class_names

        return class_names(path)
    from connectors.folder import first_level, split_classes

    names = (split_classes(path) or first_level(path)[0]) if path.is_dir() else []
    if len(names) < 2:
        raise ConfigError(
            f"say what the classes are, e.g. --classes cat,dog ({path} has no class sub-folders)"
        )
    return names
