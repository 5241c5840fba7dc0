"""A copy of the records, made while others go on writing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import insert, select
from sqlalchemy.engine import URL

from db.errors import mapped
from db.models import Base, array_file
from db.state import Records, open_records

PAGES = 1000
"""SQLite pages copied before other writers get their turn."""
ROWS = 5000


def copy_database(records: Records, target: Path) -> list[str]:
    """Writes one state of the records to a new SQLite file, from SQLite by its online backup, from
    another database row by row; digests of the arrays that it names."""
    if records.engine.dialect.name != "sqlite":
        _copy_rows(records, target)
    with mapped(), closing(sqlite3.connect(target)) as copy:
        if records.engine.dialect.name == "sqlite":
            with closing(records.engine.raw_connection()) as source:
                source.driver_connection.backup(copy, pages=PAGES)  # type: ignore[union-attr]
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
        named = copy.execute("SELECT DISTINCT digest, dtype FROM array ORDER BY digest")
        return [array_file(digest, dtype) for digest, dtype in named]


def _copy_rows(records: Records, target: Path) -> None:
    copies = open_records(URL.create("sqlite", database=str(target)), create=True)
    with records.read() as session, copies.write("copy") as copied:
        for table in Base.metadata.sorted_tables:
            streamed = session.execute(select(table).execution_options(yield_per=ROWS))
            for part in streamed.mappings().partitions(ROWS):
                copied.execute(insert(table), [dict(row) for row in part])
    copies.close()


def unsound(raw: sqlite3.Connection) -> list[str]:
    """What SQLite itself finds wrong: torn pages, broken indexes, rows without their parent."""
    broken = [line for (line,) in raw.execute("PRAGMA integrity_check") if line != "ok"]
    orphans = raw.execute("PRAGMA foreign_key_check").fetchall()
    return broken + [f"{table} row {row} has no {parent}" for table, row, parent, _ in orphans]
