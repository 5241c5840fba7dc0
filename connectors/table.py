"""Lists of images as tables: CSV, TSV, JSON lines; or plain text with a path per line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from connectors.base import SourceError
from connectors.entries import Entries, Entry, split_column, split_named, text_of
from connectors.label import class_name

TABLES = (".csv", ".tsv")
JSON_LINES = (".jsonl", ".ndjson")
IMAGE_COLUMNS = (
    *("path", "image", "file", "filename", "file_name", "image_path", "filepath", "file_path"),
    *("image_file", "img", "url", "uri", "image_url", "address"),
)
"""Where images are looked for unless a column is named."""
NO_IMAGE = "line without a path or address"
TOO_LONG = "line with more cells than there are columns, so that labels may be shifted"
NO_OBJECT = "line that is no JSON object"
MAX_CELL = 10_000_000

Record = dict[str, Any]


def read_lines(path: Path) -> Entries:
    """Entries of a plain text: a path or address per line. Empty lines and those that begin with #
    are passed over. Raises SourceError: it is no text."""
    entries = Entries()
    for number, line in enumerate(text_of(path).split("\n"), 1):
        name = line.strip()
        if name and not line.startswith("#"):
            entries.entries.append(Entry(f"line {number}", (name,)))
    return entries


def read_records(path: Path, entries: Entries) -> list[tuple[str, Record]]:
    """(where, cells by column) of the lines of a table; those that cannot be taken are counted.

    Raises:
        SourceError: it cannot be read.
    """
    return list((_json_lines if path.suffix.lower() in JSON_LINES else _rows)(path, entries))


def columns_of(records: Iterable[Record]) -> list[str]:
    """Of all records, in the order of their first use."""
    return list(dict.fromkeys(name for record in records for name in record))


def add_entries(
    path: Path,
    records: Sequence[tuple[str, Record]],
    entries: Entries,
    column: str = "",
    label_column: str = "",
) -> None:
    """Entries of a table's records.

    Args:
        column: of the paths or addresses; empty: that which is called as such columns are.
        label_column: of the labels; empty: there are none.

    Raises:
        SourceError: there is no such column.
    """
    columns = columns_of(record for _, record in records)
    column = image_column(path, columns, column)
    if label_column and label_column not in columns:
        raise SourceError(f"{path} has no column {label_column!r}; it has {listed(columns)}")
    splits = split_column(columns)
    for where, record in records:
        name = str(record.get(column) or "").strip()
        if not name:
            entries.passed.add(NO_IMAGE, "", where)
            continue
        label = _label(path, where, record.get(label_column)) if label_column else None
        entries.entries.append(Entry(where, (name,), label, split_named(record.get(splits))))


def image_column(path: Path, columns: Sequence[str], named: str) -> str:
    """The column of the images.

    Raises:
        SourceError: there is none of that name, or none or several of those that could be it.
    """
    if named:
        if named in columns:
            return named
        raise SourceError(f"{path} has no column {named!r}; it has {listed(columns)}")
    likely = [name for name in columns if name.strip().lower() in IMAGE_COLUMNS]
    if len(likely) != 1:
        raise SourceError(
            f"say which column of {path} names the images with --column; it has {listed(columns)}"
        )
    return likely[0]


def listed(columns: Sequence[str]) -> str:
    """Names of columns in a message."""
    return ", ".join(map(repr, columns)) or "none"


def _label(path: Path, where: str, value: Any) -> str | None:
    """Raises SourceError: a list or a fraction."""
    try:
        label = class_name(value, [])
    except SourceError as error:
        raise SourceError(f"{path}, {where}: {error}") from None
    return (label or "").strip() or None


def _rows(path: Path, entries: Entries) -> Iterator[tuple[str, Record]]:
    """(where, cells by column) of a CSV or TSV file; quoted cells may hold line breaks."""
    text = text_of(path)
    first = text.partition("\n")[0].rstrip("\r")
    skipped = 0
    if first.lower().startswith("sep=") and len(first) == len("sep=,"):  # spreadsheet programs
        text, skipped = text.partition("\n")[2], 1
        delimiter = first[-1]
    else:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(first)
    csv.field_size_limit(MAX_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    heads: list[str] = []
    end = skipped
    try:
        for cells in reader:
            where, end = f"line {end + 1}", skipped + reader.line_num
            if not heads:
                heads = _heads(path, cells)
            elif len(cells) > len(heads) and any(cells[len(heads) :]):
                entries.passed.add(TOO_LONG, "", where)
            elif any(cell.strip() for cell in cells):
                yield where, dict(zip(heads, cells, strict=False))
    except csv.Error as error:
        raise SourceError(f"{path}, line {skipped + reader.line_num}: {error}") from None


def _heads(path: Path, cells: list[str]) -> list[str]:
    """Names of the columns. Raises SourceError: two have the same one."""
    heads = [head.strip() for head in cells]
    twice = [head for head in heads if head and heads.count(head) > 1]
    if twice:
        raise SourceError(f"{path} has two columns called {twice[0]!r}; rename one of them")
    return heads


def _delimiter(head: str) -> str:
    """What parts the names of the columns: a comma, or what a spreadsheet program wrote instead."""
    counts = {mark: head.count(mark) for mark in (",", ";", "\t")}
    return max(counts, key=lambda mark: counts[mark])


def _json_lines(path: Path, entries: Entries) -> Iterator[tuple[str, Record]]:
    for number, line in enumerate(text_of(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            yield f"line {number}", record
        else:
            entries.passed.add(NO_OBJECT, "", f"line {number}")
