"""What images state of themselves: how they are kept, and their class names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from connectors.base import SourceError
from loop.config import PoolSection
from loop.errors import ConfigError
from loop.files import expanded
from loop.secrets import check_bucket
from loop.wording import counted

Layout = Literal["folder", "parquet", "bucket", "list", "shards", "label-studio"]
LISTS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".txt")
SUFFIXES: dict[str, Layout] = {
    ".parquet": "parquet",
    ".arrow": "parquet",
    ".tar": "shards",
    **dict.fromkeys(LISTS, "list"),
}
BY_NAME: tuple[Layout, ...] = ("parquet", "list", "shards")
"""Layouts whose labels are stated as such, and are no folders' names."""


def place_of(images: str | Path) -> str | Path:
    """An address as it is; a path in full, so that it means the same in any folder.

    Raises:
        ConfigError: an address with a password.
    """
    from connectors.objects import is_address

    check_bucket(str(images))
    return str(images) if is_address(str(images)) else expanded(images).resolve()


def exists(images: str | Path) -> bool:
    """Whether a path leads anywhere; an address is not asked. Raises SourceError: a shard of a
    range is missing."""
    if isinstance(images, str) or images.exists():
        return True
    from connectors.webdataset import RANGE, shards_at

    return bool(RANGE.search(str(images)) and shards_at(images))


def check_kind(images: str | Path) -> None:
    """Raises SourceError: it is a file of a kind that is not read, such as a spreadsheet, or a
    folder that cannot be listed."""
    if isinstance(images, str):
        return
    try:
        next(os.scandir(images), None)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise SourceError(
            f"{images} cannot be listed ({error.strerror}); ask its owner for the right to read it"
        ) from None
    if images.is_file() and layout_of(images) == "folder":
        raise SourceError(
            f"{images} is neither a folder nor a file of a kind that is read "
            f"({', '.join(SUFFIXES)}); a spreadsheet is read once it is saved as 'CSV UTF-8'"
        )


def layout_of(images: str | Path) -> Layout:
    """How images are kept: as image files, parquet files, tar shards, named by a list, or at an
    address."""
    if isinstance(images, str):
        return "label-studio" if is_label_studio(images) else "bucket"
    suffix = images.suffix.lower()
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    if not images.is_dir():
        return "folder"
    from connectors.folder import holds_images
    from connectors.parquet import shards_of
    from connectors.webdataset import shards_at

    if holds_images(images):
        return "folder"
    if shards_of(images):
        return "parquet"
    return "shards" if shards_at(images) else "folder"


def is_label_studio(images: str | Path) -> bool:
    """Whether an address names a Label Studio project: ``label-studio://17``."""
    return str(images).startswith("label-studio:")


def pool_section(images: str | Path, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What [pool] says of images: how they are kept, and where.

    Args:
        settings: what else it says.

    Raises:
        SourceError, Unauthorized, Unreachable: an address cannot be read.
    """
    layout = layout_of(images)
    splits = False
    if layout == "label-studio":
        from connectors.label_studio.task_images import project_of

        project_of(str(images))
    elif isinstance(images, str):
        from connectors.bucket import Bucket

        splits = Bucket(images).laid_out_in_splits()
    elif layout == "folder" and images.is_dir():
        from connectors.folder import split_classes

        splits = bool(split_classes(images, follow_links=_follows(settings)))
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
        return _of_parquet(Path(images), settings or {})
    if layout == "list":
        return _listed_classes(PoolSection.model_validate(pool_section(images, settings)))
    if layout == "shards":
        return _of_shards(Path(images))
    names = _class_folders(images, follow_links=_follows(settings))
    if len(names) < 2:
        raise ConfigError(
            f"say what the classes are, e.g. --classes cat,dog ({images} has no class sub-folders)"
        )
    return names


def _of_parquet(images: Path, settings: Mapping[str, Any]) -> list[str]:
    from connectors.parquet import class_names, column_names

    names = class_names(images, settings.get("column", ""), settings.get("label_column", ""))
    if len(names) < 2:
        columns = ", ".join(column_names(images))
        named = f"names {counted(len(names), 'class')}" if names else "has no column of labels"
        raise ConfigError(
            f"say what the classes are, e.g. --classes cat,dog ({images} {named}; its columns are "
            f"{columns}: --label-column names that of the labels)"
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


def _of_shards(images: Path) -> list[str]:
    from connectors.webdataset import WebDataset

    names = WebDataset(images).classes()
    if len(names) < 2:
        raise ConfigError(
            f"say what the classes are, e.g. --classes cat,dog ({images} has no members such as "
            "0001.cls beside the images that name two)"
        )
    return names


def _follows(settings: Mapping[str, Any] | None) -> bool:
    return bool(settings and settings.get("follow_links"))


def _class_folders(images: str | Path, *, follow_links: bool) -> list[str]:
    if isinstance(images, str):
        from connectors.bucket import Bucket

        section = pool_section(images)
        return Bucket(images, splits=section["splits"]).classes()
    from connectors.folder import first_level, split_classes
    from connectors.synsets import synset_names

    if not images.is_dir():
        return []
    folders = split_classes(images, follow_links=follow_links)
    folders = folders or first_level(images, follow_links=follow_links)[0]
    called = synset_names(images)
    return sorted(called.get(folder, folder) for folder in folders)
