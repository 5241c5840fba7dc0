"""How far the records of a folder had come, kept in a file beside them: an older or foreign
database in their place is refused before anything is read from it or written to it.

The number is that of the newest event in the database file itself. What only its write-ahead log
holds does not count: a log that is left beside an older file would be taken for that file's own.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from db.errors import Damaged

RESTORE = (
    "make a new folder of a backup with 'coreloop restore BACKUP FOLDER', or put your own copy of "
    "the newest file back"
)
POOL = "SELECT source FROM pool ORDER BY id LIMIT 1"
NEWEST = "SELECT max(id) FROM event"


@dataclass(frozen=True)
class Watermark:
    """``pool`` names the pool whose records they are, ``event`` is the newest event's number."""

    pool: str
    event: int


def read(file: Path) -> Watermark | None:
    """The mark of a folder; None where there is none yet, or none that can be read."""
    if not file.is_file():  # a pipe would wait for ever
        return None
    try:
        return Watermark(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def keep(file: Path, mark: Watermark) -> None:
    """Writes the mark. A full disk is no reason to fail: the older mark stays."""
    if read(file) == mark:
        return
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    with suppress(OSError):
        draft.write_text(json.dumps(asdict(mark)), encoding="utf-8")
        draft.replace(file)
    with suppress(OSError):
        draft.unlink(missing_ok=True)


def stored(cursor: Any) -> Watermark | None:
    """What a database says of itself; None before the first scan."""
    cursor.execute(POOL)
    pool = cursor.fetchone()
    cursor.execute(NEWEST)
    (event,) = cursor.fetchone()
    if pool is None or event is None:
        return None
    source = json.loads(pool[0]) if isinstance(pool[0], str) else pool[0]
    return Watermark(str(source.get("marker", "")), int(event))


def check_file(database: Path, mark: Path) -> None:
    """A SQLite file as it is without its log, compared with the folder's mark; it is not changed.

    Raises:
        Damaged: it is empty, another program's, older than the mark, or of another pool.
    """
    if database.stat().st_size == 0:
        raise Damaged(f"{database} is empty (0 bytes), nothing was changed; {RESTORE}")
    expected = read(mark)
    address = f"{database.absolute().as_uri()}?immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True)) as raw:
            tables = {name for (name,) in raw.execute("SELECT name FROM sqlite_master")}
            present = stored(raw.cursor()) if {"pool", "event"} <= tables else None
    except (sqlite3.Error, ValueError):
        return  # no database, or somebody writes to it at this very moment: opening it tells
    if tables and "alembic_version" not in tables:
        raise Damaged(
            f"{database} holds no records of coreloop; nothing was changed. To get them, {RESTORE}"
        )
    if expected is not None:
        check(present, expected, f"{database}", mark)


def check(present: Watermark | None, expected: Watermark, name: str, mark: Path) -> None:
    """Raises Damaged if a database has not come as far as its folder, or is of another pool."""
    if present is not None and present.pool != expected.pool:
        what = "holds the records of another project"
    elif present is None or present.event < expected.event:
        event = 0 if present is None else present.event
        what = f"is older than this folder: it ends at event {event}, of {expected.event}"
    else:
        return
    raise Damaged(
        f"{name} {what}; nothing was changed. To get the newest state, {RESTORE}. To go on from "
        f"what is in its place now, remove {mark} and any file that ends in -wal beside it"
    )
