"""What images state of themselves: how they are kept, and their class names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from loop.config import PoolSection
from loop.errors import ConfigError
from loop.files import expanded
from loop.secrets import check_bucket

Layout = Literal["folder", "parquet", "bucket", "list"]
LISTS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".txt")
BY_NAME: tuple[Layout, ...] = ("parquet", "list")
"""Layouts whose class names stand in a column, as no folders' names do."""


def place_of(images: str | Path) -> str | Path:
    """An address as it is; a path in full, so that it means the same in any folder.

    Raises:
        ConfigError: an address with a password.
    """
    from connectors.objects import is_address

    check_bucket(str(images))
    return str(images) if is_address(str(images)) else expanded(images).resolve()


def layout_of(images: str | Path) -> Layout:
    """Whether a place has image files, is a parquet file or a folder of these, a list of images, or
    an address."""
    if isinstance(images, str):
        return "bucket"
    suffix = images.suffix.lower()
    if suffix == ".parquet":
        return "parquet"
    if not images.is_dir():
        return "list" if suffix in LISTS else "folder"
    from connectors.folder import holds_images
    from connectors.parquet import shards_of

    return "parquet" if shards_of(images) and not holds_images(images) else "folder"


def pool_section(images: str | Path, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What [pool] says of images: how they are kept, and where.

    Args:
        settings: what else it says.

    Raises:
        SourceError, Unauthorized, Unreachable: an address cannot be read.
    """
    layout = layout_of(images)
    splits = False
    if isinstance(images, str):
        from connectors.bucket import Bucket

        splits = Bucket(images).laid_out_in_splits()
    elif layout == "folder" and images.is_dir():
        from connectors.folder import split_classes

        splits = bool(split_classes(images))
    return {"source": layout, "path": str(images), "splits": splits, **(settings or {})}


def stated_classes(images: str | Path, settings: Mapping[str, Any] | None = None) -> list[str]:
    """Sorted names of the sub-folders with images (below train, val and test, where the folder is
    laid out so), or the class names of parquet files and lists.

    Args:
        settings: see ``pool_section``.

    Raises:
        ConfigError: there are fewer than two; says how to name them.
        SourceError: the images cannot be read.
    """
    layout = layout_of(images)
    if layout == "parquet":
        from connectors.parquet import class_names

        return class_names(Path(images))
    if layout == "list":
        return _listed_classes(PoolSection.model_validate(pool_section(images, settings)))
    names = _class_folders(images)
    if len(names) < 2:
        raise ConfigError(
            f"say what the classes are, e.g. --classes cat,dog ({images} has no class sub-folders)"
        )
    return names


def _listed_classes(pool: PoolSection) -> list[str]:
    from loop.project.source import manifest_of

    names = manifest_of(pool, Path()).classes()
    if len(names) < 2:
        column = f"the column {pool.label_column!r} of {pool.path} names {len(names)}"
        where = column if pool.label_column else f"or the column of {pool.path} that names them"
        raise ConfigError(
            f"say what the classes are, e.g. --classes cat,dog ({where}: --label-column)"
        )
    return names


def _class_folders(images: str | Path) -> list[str]:
    if isinstance(images, str):
        from connectors.bucket import Bucket

        section = pool_section(images)
        return Bucket(images, splits=section["splits"]).classes()
    from connectors.folder import first_level, split_classes

    return (split_classes(images) or first_level(images)[0]) if images.is_dir() else []
