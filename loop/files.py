"""Files and folders that appear whole or not at all, whoever else writes the same ones."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from loop.errors import ConfigError, NotReady

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
            to_disk(draft)
        draft.replace(path)
        to_disk(path.parent)
    finally:
        if draft.is_dir():
            shutil.rmtree(draft)
        draft.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Waits until a file's content, or a folder's names, would survive a power cut."""
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


def take_room(handle: int, size: int, path: Path) -> None:
    """Makes the disk keep ``size`` bytes for an open file, so that a full disk is found before
    anything is written.

    Raises:
        NotReady: it has not that much; says how much is missing.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        path.unlink(missing_ok=True)
        if error.errno not in NO_ROOM:
            raise
        free = shutil.disk_usage(path.parent).free
        raise NotReady(
            f"{path.parent} has no room for a file of {size / 1e6:.1f} MB "
            f"({max(0, size - free) / 1e6:.1f} MB are missing, {error.strerror}); nothing is lost. "
            "Free some space, then repeat the command"
        ) from error


@contextmanager
def private_files() -> Iterator[None]:
    """What this process writes in this block only its user can read."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
