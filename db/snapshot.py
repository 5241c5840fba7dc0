"""A private copy of a SQLite database, for whoever may read its folder and not write there.

SQLite wants to make a ``-shm`` file beside a database in WAL mode, even to read it; one that
another user made would lock the owner out. So nothing is opened in that folder.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from db.errors import Busy, Full

ATTEMPTS = 10
"""How often a database that somebody writes to meanwhile is copied anew."""


def may_write(database: Path) -> bool:
    """Whether this user may change the file and make others beside it."""
    return os.access(database, os.W_OK) and os.access(database.parent, os.W_OK)


def copied(database: Path) -> TemporaryDirectory[str]:
    """A folder with a copy of the database and of its write-ahead log; the caller cleans it up.

    The file first, then the log. SQLite writes to the file only when it moves the log's pages
    there, so a file that is unchanged afterwards is whole, together with the log's sound start.

    Raises:
        Full: a file cannot be read, or there is no room for the copy.
        Busy: somebody wrote to the file during each attempt.
    """
    folder = TemporaryDirectory(prefix="coreloop-")
    log = database.with_name(f"{database.name}-wal")
    try:
        for _ in range(ATTEMPTS):
            before = _version(database)
            shutil.copyfile(database, Path(folder.name, database.name))
            copied_log = Path(folder.name, log.name)
            copied_log.unlink(missing_ok=True)
            if log.exists():
                shutil.copyfile(log, copied_log)
            if _version(database) == before:
                return folder
    except OSError as error:
        folder.cleanup()
        raise Full(
            f"{database} may only be read, and cannot be copied to {folder.name} "
            f"({error.strerror}); ask its owner for the right to read it, or free some space"
        ) from error
    folder.cleanup()
    raise Busy(f"{database} may only be read, and its owner is writing to it; try again")


def _version(database: Path) -> tuple[int, int, int]:
    status = database.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
