"""One label written into a sheet that people and spreadsheet programs edit too: every other byte of
the file stays as it is."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from connectors.base import Mismatch, Rejected

PATIENCE = 2.0
"""Seconds that another writer of the same sheet is waited for."""
FOLDER = ".edit"
"""Of drafts, beside the sheets: a backup meanwhile copies files."""
FORMULA = ("=", "+", "-", "@")
"""How a cell begins that a spreadsheet program computes; an apostrophe before it marks text."""
BYTE_ORDER_MARK = "\ufeff"


NAMED = re.compile(r"\ufeff?sep=(.)\r?\n", re.IGNORECASE)
"""A first line that names what is between the cells, as some spreadsheet programs write it."""


def without_named_delimiter(text: str) -> str:
    """The sheet from the names of its columns on."""
    named = NAMED.match(text)
    return text[named.end() :] if named else text


def delimiter_of(text: str) -> str:
    """What is between the cells; some spreadsheet programs write semicolons or tabs."""
    if named := NAMED.match(text):
        return named[1]
    header = text.split("\n", 1)[0]
    return next((mark for mark in (";", "\t") if header.count(mark) >= 2), ",")


def column_names(cells: Sequence[str]) -> list[str]:
    """Of a header: blanks at the ends and capital letters make no other column."""
    return [name.removeprefix(BYTE_ORDER_MARK).strip().lower() for name in cells]


def with_label(text: str, key: str, label: str) -> str:
    """The sheet with ``label`` on each line of the image ``key``.

    Raises:
        Rejected: it has no such line.
    """
    sheet = without_named_delimiter(text)
    lines = list(io.StringIO(sheet, newline=""))
    table = csv.reader(lines, delimiter=delimiter_of(text))
    header = column_names(next(table))
    key_column, label_column = header.index("key"), header.index("label")
    before = [text.removesuffix(sheet)]
    edited, changed, start = [*before, *lines[: table.line_num]], 0, table.line_num
    for cells in table:
        record, start = lines[start : table.line_num], table.line_num
        if len(cells) > key_column and cells[key_column].strip().lower() == key:
            cells += [""] * (label_column + 1 - len(cells))
            cells[label_column] = f"'{label}" if label.startswith(FORMULA) else label
            record = [_line(cells, delimiter_of(text), _ending(record[-1]))]
            changed += 1
        edited += record
    if not changed:
        raise Rejected("the sheet has no line of this image any more; load the page anew")
    return "".join(edited)


def _line(cells: Sequence[str], delimiter: str, ending: str) -> str:
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter, lineterminator=ending).writerow(cells)
    return line.getvalue()


def _ending(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]


@contextmanager
def edited(sheet: Path) -> Iterator[Path]:
    """A draft to write to, which takes the sheet's place at the end, on disk before it does. One
    writer at a time, and nothing that another program wrote meanwhile is overwritten.

    Raises:
        Rejected: the sheet is open in a spreadsheet program, which would write over it later, or
            cannot be written.
        Mismatch: it changed meanwhile.
    """
    from filelock import FileLock, Timeout

    if sheet.is_symlink():
        raise Rejected(f"{sheet.name} is a link; fill it in where it leads to")
    folder = sheet.with_name(FOLDER)
    draft = folder / sheet.name
    try:
        folder.mkdir(exist_ok=True)
        with FileLock(folder / "lock", timeout=PATIENCE):
            _check_closed(sheet)
            before = _version(sheet)
            yield draft
            _to_disk(draft)
            shutil.copymode(sheet, draft)
            if _version(sheet) != before:
                raise Mismatch(f"{sheet.name} was written by another program just now; try again")
            draft.replace(sheet)
    except Timeout:
        raise Rejected(f"{sheet.name} is being written by another program; try again") from None
    except OSError as error:  # a program that has it open may forbid it
        raise Rejected(
            f"{sheet.name} cannot be written ({error.strerror}); close it in other programs, free "
            "some space or check permissions, and try again"
        ) from None
    finally:
        with suppress(OSError):
            draft.unlink()


def _check_closed(sheet: Path) -> None:
    mark = sheet.with_name(f".~lock.{sheet.name}#")
    if mark.exists():
        raise Rejected(
            f"{sheet.name} is open in LibreOffice, which would write over what is clicked here; "
            f"close it there, or label there (nobody has it open: remove {mark.name})"
        )


def _version(sheet: Path) -> tuple[int, int, int]:
    status = sheet.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
