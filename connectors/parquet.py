"""Parquet files of images: one, or a folder of shards as Hugging Face keeps them; also the arrow
files of ``datasets.save_to_disk``.

Images are a column ``image`` of encoded bytes, or of ``datasets``' struct {bytes, path}; labels, if
there are any, are class names, or numbers that index the names which the schema states: by its
``class_names`` (JSON), or the ClassLabel of its ``huggingface`` entry. Without these, number 3 is
class "3". A column ``split``, the beginning of a shard's name (``test-00000-of-00002.parquet``) or
its folder says which rows are test images. Rows are streamed in batches; uris are
``row/<number>``, after the shard's path where there are several.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from connectors import arrow
from connectors.base import Image, PassedOver, SourceError, UnreadableFile
from connectors.folder import examine
from connectors.parquet_shard import SHOWN, ParquetShard, open_file
from connectors.walk import is_ours
from connectors.workers import in_order

SUFFIX = ".parquet"


def shards_of(path: Path) -> list[Path]:
    """The file itself, or a folder's parquet or arrow files at any depth in path order; no hidden
    ones, and none of a project, backup or export of ours below it."""
    if not path.is_dir():
        return [path]
    ours = cache(is_ours)
    for suffix in (SUFFIX, arrow.SUFFIX):
        inside = sorted(file.relative_to(path) for file in path.rglob(f"*{suffix}"))
        shards = [
            path / file
            for file in inside
            if not any(part[0] == "." for part in file.parts)
            and not any(ours(path / folder) for folder in file.parents[:-1])
        ]
        if shards := [file for file in shards if not file.name.startswith(arrow.CACHED)]:
            return shards
    return []


@dataclass(frozen=True)
class Parquet:
    """Source over one parquet file, or a folder of them.

    Attributes:
        path: the file or folder.
        labelled: hand the labels on (for rehearsal); without it they stay in the file.
        column, label_column: of the images and of the labels; empty: those called as such are.
    """

    path: Path
    labelled: bool = True
    column: str = ""
    label_column: str = ""

    def scan(
        self, workers: int = 0, skip: Container[str] = frozenset()
    ) -> Iterator[Image | UnreadableFile]:
        """Rows in file order.

        Args:
            workers: processes that decode and hash; the order stays the same.
            skip: uris that are known already; their images are not decoded.

        Raises:
            SourceError: no such file, not parquet, or no column of images.
        """
        rows = (shard.rows(skip, self.labelled) for shard in self._shards.values())
        yield from in_order(examine, chain.from_iterable(rows), workers)

    @property
    def passed_over(self) -> list[PassedOver]:
        """Nothing."""
        return []

    def read(self, uri: str) -> bytes:
        """Encoded bytes of one row; safe from several threads.

        Raises:
            SourceError: no such row, or the file has changed.
        """
        prefix, _, number = uri.rpartition("row/")
        shard = self._shards.get(prefix)
        if shard is None:
            raise SourceError(f"{self.path} has no rows {uri!r}; put the file back")
        return shard.read(number)

    def missing(self, uris: Iterable[str]) -> list[str]:
        """Those beyond the last row of their file, or whose file has gone. Raises SourceError."""
        gone = []
        for uri in uris:
            shard = self._shards.get(uri.rpartition("row/")[0])
            if shard is None or not shard.has(uri):
                gone.append(uri)
        return gone

    def shown(self, uri: str) -> str:
        """The uri: a row has no file of its own."""
        return uri

    def labels(self, column: str) -> dict[str, str | None]:
        """uri -> class name in another column (an annotator's votes, say).

        Raises:
            SourceError: no such column.
        """
        labels: dict[str, str | None] = {}
        for shard in self._shards.values():
            labels |= shard.labels(column)
        return labels

    @cached_property
    def _shards(self) -> dict[str, ParquetShard]:
        """Prefix of its uris -> shard."""
        paths = shards_of(self.path)
        if not paths:
            raise SourceError(f"no parquet file in {self.path}")
        prefixes = [""]
        if paths != [self.path]:
            prefixes = [f"{path.relative_to(self.path).as_posix()}/" for path in paths]
        return {
            prefix: ParquetShard(path, prefix, self.column, self.label_column)
            for prefix, path in zip(prefixes, paths, strict=True)
        }

    def __reduce__(self) -> Any:
        """Travels to other processes as its path; open files and row groups stay behind."""
        return Parquet, (self.path, self.labelled, self.column, self.label_column)


def column_names(path: Path) -> list[str]:
    """Names of the columns of the first shard. Raises SourceError."""
    shards = shards_of(path)
    return list(open_file(shards[0]).schema_arrow.names) if shards else []


def class_names(path: Path, column: str = "", label_column: str = "") -> list[str]:
    """The names that the schema states, or the distinct labels in order; numbers by value. Of
    several shards, those of all.

    Args:
        column, label_column: see ``Parquet``.

    Raises:
        SourceError: not parquet, no column of images, labels are fractions or lists, or none of the
            names stated; or only some shards state the names of numbers.
    """
    names: dict[str, None] = {}
    values: set[Any] = set()
    for shard_path in shards_of(path):
        shard = ParquetShard(shard_path, "", column, label_column)
        shard.check()
        names |= dict.fromkeys(shard.classes)
        values |= set() if shard.classes else shard.stated_labels()
    nameless = [value for value in values if not isinstance(value, str) and str(value) not in names]
    if names and nameless:
        raise SourceError(
            f"some files in {path} name the classes ({', '.join(list(names)[:SHOWN])}, ...), and "
            f"others hold numbers without names, such as {min(nameless, key=str)}; write the names "
            "into all"
        )
    by_kind = sorted(values, key=lambda value: (isinstance(value, str), value))
    return [*names, *(str(value) for value in by_kind if str(value) not in names)]
