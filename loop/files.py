"""Files and folders that appear whole or not at all, whoever else writes the same ones."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from loop.errors import ConfigError


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write a file or folder to; it takes the place of ``path`` at the
    end, or is removed where the block raises.

    The name is its own, so that two writers do not take each other's draft away. A file is on the
    disk before it gets its name: after a power cut there is the old one or the new one.

    Raises:
        OSError: the disk is full, or a folder that is not empty is in the place.
    """
    draft = path.with_name(f".{path.name}.{uuid4().hex[:8]}.draft")
    try:
        yield draft
        if draft.is_file():
            _to_disk(draft)
        draft.replace(path)
        _to_disk(path.parent)
    finally:
        if draft.is_dir():
            shutil.rmtree(draft)
        draft.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def expanded(path: str | Path) -> Path:
    """The path with ``~`` and ``~user`` written out.

    Raises:
        ConfigError: there is no such user, or the path holds what no path can.
    """
    if "\0" in str(path):
        raise ConfigError(f"{str(path)!r} is no path: it holds a NUL character")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{str(path)!r}: {error}; write the path out in full") from None
