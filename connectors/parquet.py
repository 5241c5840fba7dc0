"""A parquet file of images: columns ``image`` (encoded bytes) and optionally label, split, path.

Labels may be class names, or numbers that index the ``class_names`` of the schema metadata (JSON);
without these, number 3 is class "3".
Images are streamed in batches; uris are ``row/<number>``.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any

from connectors.base import Image, SourceError, UnreadableFile
from connectors.folder import check_image, content_key
from connectors.workers import in_order

GROUPS = 2
"""Row groups of images kept in memory."""


@dataclass(frozen=True)
class Row:
    """One row to look at."""

    uri: str
    data: bytes
    label: str | None
    split: str


def _examine(row: Row) -> Image | UnreadableFile:
    reason = check_image(row.data)
    if reason is not None:
        return UnreadableFile(row.uri, reason)
    return Image(content_key(row.data), row.uri, row.label, row.split)


@dataclass(frozen=True)
class Parquet:
    """Source over one parquet file.

    Attributes:
        path: the file.
        label: column of the true label; rows with -1, null or NaN have none.
        labelled: hand the labels on (for rehearsal); without it they stay in the file.
    """

    path: Path
    label: str = "label"
    labelled: bool = True
    _groups: dict[int, Any] = field(default_factory=dict, repr=False, compare=False)
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    def __reduce__(self) -> Any:
        """Travels to other processes as its path; open files and row groups stay behind."""
        return Parquet, (self.path, self.label, self.labelled)

    def scan(
        self, workers: int = 0, skip: Container[str] = frozenset()
    ) -> Iterator[Image | UnreadableFile]:
        """Rows in file order.

        Args:
            workers: processes that decode and hash; the order stays the same.
            skip: uris that are known already; their images are not decoded.

        Raises:
            SourceError: no such file, not parquet, or no ``image`` column.
        """
        yield from in_order(_examine, self._rows(skip), workers)

    def _rows(self, skip: Container[str]) -> Iterator[Row]:
        names = self._file.schema_arrow.names
        columns = [c for c in ("image", self.label, "split") if c in names]
        classes = _stated(self._file)
        batches = self._file.iter_batches(batch_size=256, columns=columns)
        records = chain.from_iterable(batch.to_pylist() for batch in batches)
        for number, record in enumerate(records):
            uri = f"row/{number}"
            if uri in skip:
                continue
            split = "test" if record.get("split") == "test" else "pool"
            labelled = self.labelled or split == "test"
            label = _class_name(record.get(self.label), classes) if labelled else None
            yield Row(uri, record["image"] or b"", label, split)

    def read(self, uri: str) -> bytes:
        """Encoded bytes of one row; safe from several threads. The row groups read last are kept
        for the next calls, since reading one row means reading its group.

        Raises:
            SourceError: no such row, or the file has changed.
        """
        number = uri.removeprefix("row/")
        if not number.isdigit() or int(number) >= self._ends[-1]:
            raise SourceError(f"{self.path} has {self._ends[-1]} rows, no {uri!r}")
        row = int(number)
        group = bisect_right(self._ends, row)
        with self._lock:
            images = self._groups.pop(group, None)
            if images is None:
                images = self._read_group(group)
            self._groups[group] = images  # newest last
            if len(self._groups) > GROUPS:
                del self._groups[next(iter(self._groups))]
        return images[row - (self._ends[group - 1] if group else 0)].as_py() or b""

    def shown(self, uri: str) -> str:
        """The uri: a row has no file of its own."""
        return uri

    def _read_group(self, group: int) -> Any:
        import pyarrow

        try:
            return self._file.read_row_group(group, columns=["image"]).column("image")
        except (OSError, pyarrow.ArrowException) as error:
            raise SourceError(f"cannot read row group {group} of {self.path}: {error}") from None

    def labels(self, column: str) -> dict[str, str | None]:
        """uri -> class name in another column (an annotator's votes, say).

        Raises:
            SourceError: no such column.
        """
        if column not in self._file.schema_arrow.names:
            raise SourceError(f"{self.path} has no column {column!r}")
        classes = _stated(self._file)
        values = self._file.read(columns=[column]).column(column).to_pylist()
        return {f"row/{row}": _class_name(value, classes) for row, value in enumerate(values)}

    @cached_property
    def _file(self) -> Any:
        return open_file(self.path)

    @cached_property
    def _ends(self) -> list[int]:
        ends, total = [], 0
        for group in range(self._file.num_row_groups):
            total += self._file.metadata.row_group(group).num_rows
            ends.append(total)
        return ends or [0]


def open_file(path: Path) -> Any:
    """pyarrow's ParquetFile. Raises SourceError."""
    import pyarrow
    import pyarrow.parquet

    if path.exists() and not path.is_file():
        raise SourceError(f"cannot read {path} as parquet: no ordinary file")
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise SourceError(f"cannot read {path} as parquet: {error}") from None
    if "image" not in file.schema_arrow.names:
        raise SourceError(
            f"{path} has no column 'image' (encoded bytes); it has {file.schema_arrow.names}"
        )
    return file


def class_names(path: Path) -> list[str]:
    """The schema metadata's ``class_names``, or the distinct labels in order; numbers by value.

    Raises:
        SourceError: not parquet, or labels are fractions.
    """
    file = open_file(path)
    stated = _stated(file)
    if stated or "label" not in file.schema_arrow.names:
        return stated
    import pyarrow.compute

    values = pyarrow.compute.unique(file.read(columns=["label"]).column("label")).to_pylist()
    return [str(value) for value in sorted({_plain(value) for value in values} - {None})]


def _stated(file: Any) -> list[str]:
    stated = (file.schema_arrow.metadata or {}).get(b"class_names")
    return [str(name) for name in json.loads(stated)] if stated else []


def _class_name(value: Any, stated: list[str]) -> str | None:
    value = _plain(value)
    if value is None:
        return None
    if isinstance(value, int) and 0 <= value < len(stated):
        return stated[value]
    return str(value)


def _plain(value: Any) -> Any:
    """None where there is no label. Tables with gaps keep whole numbers as 3.0; that is 3."""
    if value is None or value == -1 or value != value:
        return None
    if isinstance(value, float):
        if not value.is_integer():
            raise SourceError(
                f"label {value} is a fraction; write class names or whole numbers to the column"
            )
        return int(value)
    return value
