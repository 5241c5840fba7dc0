"""What lists say of images: their names, their labels, their split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connectors.base import SourceError
from connectors.files import read_ordinary
from connectors.folder import TESTED
from connectors.walk import Passed

SPLIT = "split"
"""Column that says which images are test images, in capital letters or not."""
SEVERAL_LABELS = "different labels for one image, so none is taken"


@dataclass(frozen=True)
class Entry:
    """One image that a list names.

    Attributes:
        where: in the list, e.g. ``line 7``.
        names: paths or addresses at which it may lie; the first that is there counts.
        label: class name, or None.
        split: "test" or "pool".
    """

    where: str
    names: tuple[str, ...]
    label: str | None = None
    split: str = "pool"


@dataclass
class Entries:
    """A list as it was read.

    Attributes:
        entries: in the order of the list.
        passed: lines that name no image.
        labels_passed: labels that are not taken.
    """

    entries: list[Entry] = field(default_factory=list)
    passed: Passed = field(default_factory=lambda: Passed("line"))
    labels_passed: Passed = field(default_factory=lambda: Passed("label"))


def split_column(columns: Iterable[str]) -> str:
    """The column of splits; empty where there is none."""
    return next((name for name in columns if name.strip().lower() == SPLIT), "")


def split_named(value: Any) -> str:
    """Of a cell that says train, val or test."""
    return "test" if str(value).strip().lower() in TESTED else "pool"


def agreed(labels: Iterable[str | None]) -> tuple[str | None, bool]:
    """(the label that all name, None where there is none; whether they differ)"""
    distinct = {label for label in labels if label is not None}
    return (distinct.pop() if len(distinct) == 1 else None), len(distinct) > 1


def text_of(path: Path) -> str:
    """Of a file in UTF-8, or in UTF-16 with a byte-order mark, as spreadsheet programs write them.

    Raises:
        SourceError: it cannot be read, or is no such text.
    """
    try:
        data = read_ordinary(path)
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return data.decode("utf-16").removeprefix("\ufeff")
        return data.decode().removeprefix("\ufeff")
    except OSError as error:
        raise SourceError(f"cannot read {path} ({error.strerror})") from None
    except UnicodeError as error:
        raise SourceError(
            f"{path} is no text file in UTF-8 ({error}); save the list as UTF-8"
        ) from None
