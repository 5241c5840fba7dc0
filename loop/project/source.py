"""The images of a pool, opened as [pool] says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from loop.config import PoolSection
from loop.files import expanded

if TYPE_CHECKING:
    from connectors.base import Source
    from connectors.folder import Folder
    from connectors.manifest import Manifest


def source_of(pool: PoolSection, start: Path) -> Source:
    """Where the images are.

    Args:
        start: folder at which relative paths of ``pool`` start.

    Raises:
        SourceError: its path cannot be read.
    """
    if pool.source == "bucket":
        from connectors.bucket import Bucket

        return Bucket(pool.path, labelled=pool.labelled, splits=pool.splits)
    path = path_from(start, pool.path)
    if pool.source == "parquet":
        from connectors.parquet import Parquet

        return Parquet(path, pool.labelled, pool.column, pool.label_column)
    if pool.source == "list":
        return manifest_of(pool, start)
    if pool.source == "shards":
        from connectors.webdataset import WebDataset

        return WebDataset(path, labelled=pool.labelled)
    return _folder_of(pool, path, start)


def _folder_of(pool: PoolSection, path: Path, start: Path) -> Folder:
    from connectors.folder import Folder
    from connectors.synsets import synset_names

    test = path_from(start, pool.test_path) if pool.test_path else None
    return Folder(
        path,
        labelled=pool.labelled,
        test=test,
        splits=pool.splits,
        follow_links=pool.follow_links,
        class_names=synset_names(path),
    )


def manifest_of(pool: PoolSection, start: Path) -> Manifest:
    """See ``source_of``, of a list. Paths in it start at its folder unless another is set."""
    from connectors.manifest import Manifest

    path = path_from(start, pool.path)
    return Manifest(
        path,
        column=pool.column,
        label_column=pool.label_column,
        root=path_from(start, pool.image_root) if pool.image_root else path.parent,
        labelled=pool.labelled,
    )


def path_from(start: Path, text: str) -> Path:
    """A path from the config: relative ones start at ``start``."""
    return (start / expanded(text)).resolve()
