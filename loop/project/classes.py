"""What images state of themselves: how they are kept, and their class names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from loop.errors import ConfigError
from loop.files import expanded
from loop.secrets import check_bucket


def place_of(images: str | Path) -> str | Path:
    """An address as it is; a path in full, so that it means the same in any folder.

    Raises:
        ConfigError: an address with a password.
    """
    from connectors.bucket import is_address

    check_bucket(str(images))
    return str(images) if is_address(str(images)) else expanded(images).resolve()


def layout_of(images: str | Path) -> Literal["folder", "parquet", "bucket"]:
    """Whether a place has image files, is a parquet file or a folder of these, or an address."""
    if isinstance(images, str):
        return "bucket"
    if images.suffix.lower() == ".parquet":
        return "parquet"
    if not images.is_dir():
        return "folder"
    from connectors.folder import holds_images
    from connectors.parquet import shards_of

    return "parquet" if shards_of(images) and not holds_images(images) else "folder"


def pool_section(images: str | Path) -> dict[str, Any]:
    """What [pool] says of images: how they are kept, and where.

    Raises:
        SourceError, Unauthorized, Unreachable: an address cannot be read.
    """
    if isinstance(images, str):
        from connectors.bucket import Bucket

        splits = Bucket(images).laid_out_in_splits()
        return {"source": "bucket", "path": images, "splits": splits}
    from connectors.folder import split_classes

    layout = layout_of(images)
    splits = layout == "folder" and images.is_dir() and bool(split_classes(images))
    return {"source": layout, "path": str(images), "splits": splits}


def stated_classes(images: str | Path) -> list[str]:
    """Sorted names of the sub-folders with images (below train, val and test, where the folder is
    laid out so), or the class names of parquet files.

    Raises:
        ConfigError: there are fewer than two; says how to name them.
        SourceError: the images cannot be read.
    """
    if layout_of(images) == "parquet":
        from connectors.parquet import class_names

        return class_names(Path(images))
    names = _class_folders(images)
    if len(names) < 2:
        raise ConfigError(
            f"say what the classes are, e.g. --classes cat,dog ({images} has no class sub-folders)"
        )
    return names


def _class_folders(images: str | Path) -> list[str]:
    if isinstance(images, str):
        from connectors.bucket import Bucket

        section = pool_section(images)
        return Bucket(images, splits=section["splits"]).classes()
    from connectors.folder import first_level, split_classes

    return (split_classes(images) or first_level(images)[0]) if images.is_dir() else []
