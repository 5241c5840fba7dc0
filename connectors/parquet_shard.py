"""One file of a parquet or arrow data set: the columns, names and rows of its images."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any

from connectors import arrow
from connectors.base import SourceError
from connectors.entries import split_column, split_named
from connectors.folder import TESTED, Encoded
from connectors.label import class_name, one_class, plain_label

SHOWN = 3
"""Class names that a message shows."""
GROUPS = 2
"""Row groups of images kept in memory, of each file."""
COLUMNS = ("image", "img")
"""Where images are looked for; else in the only column that can hold any."""
LABEL = "label"
"""Where labels are looked for; else in the only column that ``datasets`` calls a ClassLabel."""
TEST_SHARD = re.compile(rf"({'|'.join(sorted(TESTED))})(\b|_)", re.IGNORECASE)


@dataclass(frozen=True)
class ParquetShard:
    """One parquet file.

    Attributes:
        path: the file.
        prefix: of its rows' uris.
        column, label_column: see ``Parquet``.
    """

    path: Path
    prefix: str = ""
    column: str = ""
    label_column: str = ""
    _groups: dict[int, Any] = field(default_factory=dict, repr=False, compare=False)
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    def rows(self, skip: Container[str], labelled: bool) -> Iterator[Encoded]:
        """Rows in file order, but for those whose uris are known; with labels if so wanted, and in
        any case those of test images.

        Raises:
            SourceError: see ``Parquet.scan``; a label is none.
        """
        if not self._ends[-1]:
            return
        image, label, split_column = self._image, self._label, self._split
        names = self._file.schema_arrow.names
        columns = [column for column in (image, label, split_column) if column in names]
        batches = self._file.iter_batches(batch_size=256, columns=columns)
        folders = {part.lower() for part in self.prefix.split("/")}
        tested = TEST_SHARD.match(self.path.name) or folders & TESTED
        by_name = "test" if tested else "pool"
        for number, record in enumerate(chain.from_iterable(b.to_pylist() for b in batches)):
            uri = f"{self.prefix}row/{number}"
            if uri in skip:
                continue
            split = self._split_named(record[split_column]) if split_column else by_name
            shown = labelled or split == "test"
            name = self._class(record.get(label)) if shown else None
            data = _encoded(record[image])
            yield Encoded(uri, data, name, split, "" if data else _why_empty(record[image]))

    def read(self, number: str) -> bytes:
        """Encoded bytes of one row. The row groups read last are kept for the next calls, since
        reading one row means reading its group.

        Raises:
            SourceError: no such row, or the file has changed.
        """
        if not number.isdigit() or int(number) >= self._ends[-1]:
            raise SourceError(f"{self.path} has {self._ends[-1]} rows, no 'row/{number}'")
        row = int(number)
        group = bisect_right(self._ends, row)
        with self._lock:
            images = self._groups.pop(group, None)
            if images is None:
                images = self._read_group(group)
            self._groups[group] = images  # newest last
            if len(self._groups) > GROUPS:
                del self._groups[next(iter(self._groups))]
        return _encoded(images[row - (self._ends[group - 1] if group else 0)].as_py())

    def has(self, uri: str) -> bool:
        """Whether there is such a row."""
        return int(uri.rpartition("row/")[2]) < self._ends[-1]

    def labels(self, column: str) -> dict[str, str | None]:
        """uri -> class name in a column. Raises SourceError: there is none."""
        if column not in self._file.schema_arrow.names:
            raise SourceError(f"{self.path} has no column {column!r}")
        values = self._file.read(columns=[column]).column(column).to_pylist()
        return {
            f"{self.prefix}row/{row}": class_name(value, self.classes)
            for row, value in enumerate(values)
        }

    @cached_property
    def classes(self) -> list[str]:
        """Class names as the schema states them; none if it does not.

        Raises:
            SourceError: what it states is neither a list of names nor names by number.
        """
        metadata = self._file.schema_arrow.metadata or {}
        stated = metadata.get(b"class_names")
        if stated is None:
            return self._names_of(self._label)
        try:
            return _by_number(json.loads(stated))
        except ValueError:
            raise SourceError(
                f"{self.path} states class_names {stated[:60].decode(errors='replace')!r}, which "
                'is no list of names such as ["cat", "dog"] in JSON; write it so, or take it out'
            ) from None

    def stated_labels(self) -> set[Any]:
        """Distinct labels of all rows, None aside."""
        import pyarrow.compute

        if self._label not in self._file.schema_arrow.names:
            return set()
        column = self._file.read(columns=[self._label]).column(self._label)
        if pyarrow.types.is_nested(column.type):
            held = column.drop_null()
            if len(held):
                raise SourceError(one_class(held[0].as_py()))
            return set()
        values = pyarrow.compute.unique(column).to_pylist()
        return {plain_label(value) for value in values} - {None}

    def check(self) -> None:
        """Raises SourceError: no column holds images, or a label is none of the names that the
        schema states."""
        if self._ends[-1]:
            image_column(self.path, self._file.schema_arrow, self.column)
        for label in sorted(self.stated_labels() if self.classes else (), key=str):
            self._class(label)

    def _class(self, value: Any) -> str | None:
        """The class that a cell of the label column names. Raises SourceError: it is none of those
        that the schema states, or no label."""
        name = class_name(value, self.classes)
        if name is not None and self.classes and name not in self.classes:
            stated = f"{len(self.classes)} names ({', '.join(self.classes[:SHOWN])}, ...)"
            raise SourceError(
                f"label {value!r} in {self.path} is none of the {stated} that its schema states; "
                "mend the label, or the names"
            )
        return name

    def _split_named(self, value: Any) -> str:
        """``test`` or ``pool`` of a cell of the column of splits; a number may have a name."""
        return split_named(class_name(value, self._names_of(self._split)))

    def _names_of(self, column: str) -> list[str]:
        """Names that ``datasets`` gives the numbers of a column. Raises SourceError."""
        stated = _features(self._file).get(column, {}).get("names", [])
        try:
            return _by_number(stated)
        except ValueError:
            raise SourceError(
                f"{self.path} states {stated!r} as names of the column {column!r}; a list of names "
                "is wanted, or names by number"
            ) from None

    def _read_group(self, group: int) -> Any:
        import pyarrow

        try:
            return self._file.read_row_group(group, columns=[self._image]).column(self._image)
        except (OSError, pyarrow.ArrowException) as error:
            raise SourceError(f"cannot read row group {group} of {self.path}: {error}") from None

    @cached_property
    def _file(self) -> Any:
        return open_file(self.path)

    @cached_property
    def _image(self) -> str:
        return image_column(self.path, self._file.schema_arrow, self.column)

    @cached_property
    def _label(self) -> str:
        """Column of the true label: that which is named, ``label``, or the only ClassLabel of
        ``datasets``. Raises SourceError: there is none of that name."""
        names = self._file.schema_arrow.names
        if self.label_column:
            if self.label_column not in names and self._ends[-1]:
                raise SourceError(
                    f"{self.path} has no column {self.label_column!r}; it has {', '.join(names)}"
                )
            return self.label_column
        class_labels = [
            name
            for name, each in _features(self._file).items()
            if each.get("_type") == "ClassLabel" and name != self._split
        ]
        return class_labels[0] if LABEL not in names and len(class_labels) == 1 else LABEL

    @cached_property
    def _split(self) -> str:
        """Column that says which rows are test images; empty where there is none."""
        return split_column(self._file.schema_arrow.names)

    @cached_property
    def _ends(self) -> list[int]:
        ends, total = [], 0
        for rows in group_sizes(self._file):
            total += rows
            ends.append(total)
        return ends or [0]


def group_sizes(file: Any) -> list[int]:
    """Rows of each row group."""
    if isinstance(file, arrow.ArrowFile):
        return file.group_sizes
    return [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]


def open_file(path: Path) -> Any:
    """pyarrow's ParquetFile, or an ArrowFile, of a file with images. Raises SourceError."""
    import pyarrow
    import pyarrow.parquet

    if path.exists() and not path.is_file():
        raise SourceError(f"cannot read {path} as parquet: no ordinary file")
    try:
        of_arrow = path.suffix.lower() == arrow.SUFFIX
        file = arrow.ArrowFile(path) if of_arrow else pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        kind = path.suffix.lower().removeprefix(".") or "parquet"
        raise SourceError(f"cannot read {path} as {kind}: {error}") from None
    return file


def image_column(path: Path, schema: Any, named: str = "") -> str:
    """Name of the column of images.

    Args:
        named: by people; empty: it is looked for.

    Raises:
        SourceError: there is none, several could be it, or it holds something else.
    """
    able = [column.name for column in schema if _can_hold_images(column.type)]
    if named and named not in able:
        raise SourceError(
            f"{path} has no column {named!r} of encoded bytes; it has {', '.join(schema.names)}"
        )
    for name in (named,) if named else COLUMNS:
        if name in able:
            return name
    if "image" in schema.names:
        raise SourceError(
            f"the column 'image' of {path} holds {schema.field('image').type}, not encoded bytes; "
            "store the files' bytes, or give the folder of the files instead"
        )
    if len(able) != 1:
        which = f"it has {schema.names}"
        if able:
            which = f"{', '.join(able)} could be it: say which with --column"
        raise SourceError(f"{path} has no column 'image' (encoded bytes); {which}")
    return able[0]


def _can_hold_images(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(part.name == "bytes" and _can_hold_images(part.type) for part in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _encoded(value: Any) -> bytes:
    """Bytes of a cell; empty where it has none."""
    if isinstance(value, dict):
        value = value.get("bytes")
    return value or b""


def _why_empty(value: Any) -> str:
    """Why a cell without bytes holds no image: ``datasets`` may have stored where one lay."""
    path = value.get("path") if isinstance(value, dict) else None
    return f"no bytes, only the path {path!r}; store the bytes too (embed them)" if path else ""


def _features(file: Any) -> dict[str, dict[str, Any]]:
    """What ``datasets`` says of the columns; nothing where it did not write the file."""
    try:
        stated = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
        features = dict(stated.get("info", {}).get("features", {}))
    except (ValueError, AttributeError, TypeError):
        return {}
    return {name: each for name, each in features.items() if isinstance(each, dict)}


def _by_number(stated: Any) -> list[str]:
    """Names in the order of their numbers, of a list or of an object. Raises ValueError."""
    if isinstance(stated, dict):
        numbers = sorted(stated, key=int)
        if [int(number) for number in numbers] != list(range(len(numbers))):
            raise ValueError("numbers are missing")
        stated = [stated[number] for number in numbers]
    if not isinstance(stated, list):
        raise ValueError("no list")
    return [str(name) for name in stated]
