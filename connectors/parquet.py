"""A parquet file of images: columns ``image`` (encoded bytes) and optionally label, split, path.

Labels may be class names, or numbers that index the ``class_names`` of the schema metadata (JSON).
Rows are read one row group at a time; uris are ``row/<number>``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from connectors.base import Image, SourceError, Unreadable
from connectors.folder import check_image, content_key


@dataclass(frozen=True)
class Parquet:
    """Source over one parquet file.

    Attributes:
        path: the file.
        label: column of the true label; rows with -1 or null have none.
        labelled: hand the labels on (for rehearsal); without it they stay in the file.
    """

    path: Path
    label: str = "label"
    labelled: bool = True
    _group: dict[int, Any] = field(default_factory=dict, repr=False, compare=False)

    def scan(self) -> Iterator[Image | Unreadable]:
        """Rows in file order.

        Raises:
            SourceError: no such file, not parquet, or no ``image`` column.
        """
        names = self._file.schema_arrow.names
        columns = [c for c in ("image", self.label, "split") if c in names]
        classes = class_names(self.path)
        row = 0
        for group in range(self._file.num_row_groups):
            for one in self._file.read_row_group(group, columns=columns).to_pylist():
                uri = f"row/{row}"
                row += 1
                reason = check_image(one["image"] or b"")
                if reason is not None:
                    yield Unreadable(uri, reason)
                    continue
                split = "test" if one.get("split") == "test" else "pool"
                label = _name(one.get(self.label), classes)
                if not self.labelled and split == "pool":
                    label = None
                yield Image(content_key(one["image"]), uri, label, split)

    def read(self, uri: str) -> bytes:
        """Encoded bytes of one row. The row group it came from is kept for the next call."""
        row = int(uri.removeprefix("row/"))
        if not 0 <= row < self._ends[-1]:
            raise SourceError(f"{self.path} has {self._ends[-1]} rows, no row {row}")
        group = next(g for g, end in enumerate(self._ends) if row < end)
        if group not in self._group:
            images = self._file.read_row_group(group, columns=["image"]).column("image")
            self._group.clear()
            self._group[group] = images
        start = self._ends[group - 1] if group else 0
        return bytes(self._group[group][row - start].as_py())

    def labels(self, column: str) -> dict[str, str | None]:
        """uri -> class name in another column (an annotator's votes, say).

        Raises:
            SourceError: no such column.
        """
        if column not in self._file.schema_arrow.names:
            raise SourceError(f"{self.path} has no column {column!r}")
        classes = class_names(self.path)
        values = self._file.read(columns=[column]).column(column).to_pylist()
        return {f"row/{row}": _name(value, classes) for row, value in enumerate(values)}

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
    """The schema metadata's ``class_names``, or the distinct string labels."""
    file = open_file(path)
    stated = (file.schema_arrow.metadata or {}).get(b"class_names")
    if stated:
        return [str(name) for name in json.loads(stated)]
    if "label" not in file.schema_arrow.names:
        return []
    import pyarrow.compute

    values = file.read(columns=["label"]).column("label")
    return sorted(str(v) for v in pyarrow.compute.unique(values).to_pylist() if v is not None)


def _name(value: Any, classes: list[str]) -> str | None:
    if value is None or value == -1:
        return None
    if isinstance(value, int):
        return classes[value] if 0 <= value < len(classes) else str(value)
    return str(value)
