"""Files that others put in our folders: only ordinary ones are read, of bounded size."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MAX_BYTES = 500_000_000


class LeadsOut(Exception):
    """What was opened lies outside of the folder."""


def read_ordinary(path: Path, *, inside: Path | None = None) -> bytes:
    """The bytes of an ordinary file of at most ``MAX_BYTES``. What counts is what was opened: a
    link, or a folder on the way, may be swapped at any time.

    Args:
        inside: the folder that the file must be in, resolved; None: any.

    Raises:
        LeadsOut: it is not.
        OSError: it cannot be read, is a pipe or a device, or is too large.
    """
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "no path: it holds a NUL character", str(path))
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would wait
    with os.fdopen(handle, "rb") as file:
        if inside is not None and not _opened_path(handle, path).is_relative_to(inside):
            raise LeadsOut
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "no ordinary file", str(path))
        data = file.read(MAX_BYTES + 1) if status.st_size <= MAX_BYTES else b""
        if status.st_size > MAX_BYTES or len(data) > MAX_BYTES:
            too_large = f"larger than {MAX_BYTES // 1_000_000} MB"
            raise OSError(errno.EFBIG, too_large, str(path))
        return data


def read_part(path: Path, offset: int, size: int) -> bytes:
    """``size`` bytes of an ordinary file from ``offset`` on.

    Raises:
        OSError: it cannot be read, is a pipe or a device, has fewer bytes, or they are too many.
    """
    if size > MAX_BYTES:
        raise OSError(errno.EFBIG, f"larger than {MAX_BYTES // 1_000_000} MB", str(path))
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "no ordinary file", str(path))
        file.seek(offset)
        data = file.read(size)
    if len(data) < size:
        raise OSError(errno.EIO, "the file is shorter than it was", str(path))
    return data


def _opened_path(handle: int, path: Path) -> Path:
    """Where an open file is, as the system says."""
    by_number = Path(f"/proc/self/fd/{handle}")
    if by_number.exists() or by_number.is_symlink():
        return Path(os.readlink(by_number))
    import fcntl

    if hasattr(fcntl, "F_GETPATH"):  # macOS
        name = fcntl.fcntl(handle, fcntl.F_GETPATH, bytes(1024))
        return Path(os.fsdecode(name.partition(b"\0")[0]))
    return path.resolve()


def has_gone(path: Path) -> bool:
    """Whether there is no such file; one that may not be looked at is there."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
