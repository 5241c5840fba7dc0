"""The driver's errors become ours by their codes, whatever words their texts hold."""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError, IntegrityError

from db.errors import Busy, Damaged, DbError, Full, Unavailable, mapped
from db.models import Duplicate, Item, Pool
from db.state import open_records

WORDS = "street/busy-01.jpg, locked, full, readonly, malformed, connection, disk i/o"


def test_a_constraint_that_names_a_busy_street_is_a_bug(database):
    records = open_records(database, create=True)
    with records.write() as session:
        session.add(Pool(id=1, name="p", source={}))
        session.flush()
        session.add(Item(id=1, pool_id=1, row=0, key="k" * 32, uri=WORDS))
        session.flush()
        session.add(Duplicate(item_id=1, uri=WORDS))
    with pytest.raises(IntegrityError), records.write() as session:
        session.add(Duplicate(item_id=1, uri=WORDS))
    with pytest.raises(IntegrityError), mapped(), records.engine.begin() as connection:
        query = text("INSERT INTO duplicate (id, item_id, uri) VALUES (9, 99, :uri)")
        connection.execute(query, {"uri": WORDS})
    records.close()


def raised(cause: BaseException) -> type[BaseException]:
    with pytest.raises((DbError, DatabaseError)) as caught, mapped():
        raise DatabaseError("SELECT 1", {}, cause)
    return caught.type


@pytest.mark.parametrize(
    ("code", "family"),
    [
        (sqlite3.SQLITE_BUSY, Busy),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Busy),
        (sqlite3.SQLITE_LOCKED, Busy),
        (sqlite3.SQLITE_FULL, Full),
        (sqlite3.SQLITE_IOERR_FSYNC, Full),
        (sqlite3.SQLITE_READONLY_DIRECTORY, Full),
        (sqlite3.SQLITE_CANTOPEN, Full),
        (sqlite3.SQLITE_CORRUPT_VTAB, Damaged),
        (sqlite3.SQLITE_NOTADB, Damaged),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, DatabaseError),
        (sqlite3.SQLITE_ERROR, DatabaseError),
    ],
)
def test_sqlite(code, family):
    error = sqlite3.DatabaseError(WORDS)
    error.sqlite_errorcode = code
    assert raised(error) is family


class OperationalError(Exception):
    """As psycopg's: a code, or none where the server was not reached."""


@pytest.mark.parametrize(
    ("state", "family"),
    [
        ("40001", Busy),
        ("40P01", Busy),
        ("08006", Unavailable),
        ("28P01", Unavailable),
        ("3D000", Unavailable),
        ("57P01", Unavailable),
        (None, Unavailable),
        ("53100", Full),
        ("42501", Full),
        ("XX001", Damaged),
        ("23505", DatabaseError),
        ("42P01", DatabaseError),
    ],
)
def test_postgresql(state, family):
    error = OperationalError(WORDS)
    error.sqlstate = state
    assert raised(error) is family


def test_what_sqlite_says_itself(tmp_path):
    """Real ones, from a connection of its own."""
    file = tmp_path / "a.db"
    file.write_bytes(b"no database at all" * 100)
    with pytest.raises(Damaged), mapped():
        sqlite3.connect(file).execute("SELECT * FROM item")
    good = tmp_path / "b.db"
    first, second = (sqlite3.connect(good, timeout=0, isolation_level=None) for _ in range(2))
    first.execute("CREATE TABLE t (x)")
    first.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy), mapped():
        second.execute("BEGIN IMMEDIATE")
    with pytest.raises(Full), mapped():
        sqlite3.connect(f"file:{tmp_path}/none/c.db", uri=True)
    first.execute("ROLLBACK")
    readonly = sqlite3.connect(f"file:{good}?mode=ro", uri=True)
    with pytest.raises(Full), mapped():
        readonly.execute("INSERT INTO t VALUES (1)")


def test_an_error_that_has_no_code_is_a_bug():
    assert raised(ValueError(WORDS)) is DatabaseError
