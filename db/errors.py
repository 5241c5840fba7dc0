"""What can go wrong with the records, drawn at the top of one file.

DbError
|-- Missing      there is no such row, array or database              exit 3
|-- Damaged      a file is not what its row says                      exit 3
|-- TooNew       the file was written by a newer coreloop             exit 5
|-- Busy         somebody else is writing; nothing was changed        exit 5
|-- StaleRound   the round is no longer in the state we read          exit 5
|-- Unavailable  the database server does not answer                  exit 4
`-- Full         disk full or no permission; nothing was changed      exit 4
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError


class DbError(Exception):
    """Base of all errors of the records."""

    exit_code = 3


class Missing(DbError):
    """What was asked for is not recorded."""


class Damaged(DbError):
    """Recorded and real content differ; ``coreloop doctor --deep`` lists what."""


class TooNew(DbError):
    """The schema is newer than this program knows."""

    exit_code = 5


class Busy(DbError):
    """Another process holds the write lock."""

    exit_code = 5


class StaleRound(DbError):
    """Another command moved the round on since it was read."""

    exit_code = 5


class Unavailable(DbError):
    """The database is on a server that does not let us in now."""

    exit_code = 4


class Full(DbError):
    """The records cannot be written: no space or no permission."""

    exit_code = 4


SQLITE = {
    sqlite3.SQLITE_BUSY: Busy,
    sqlite3.SQLITE_LOCKED: Busy,
    sqlite3.SQLITE_PROTOCOL: Busy,
    sqlite3.SQLITE_PERM: Full,
    sqlite3.SQLITE_READONLY: Full,
    sqlite3.SQLITE_IOERR: Full,
    sqlite3.SQLITE_FULL: Full,
    sqlite3.SQLITE_CANTOPEN: Full,
    sqlite3.SQLITE_CORRUPT: Damaged,
    sqlite3.SQLITE_NOTADB: Damaged,
}
"""Primary result codes of SQLite, https://sqlite.org/rescode.html"""
POSTGRESQL = {
    "40001": Busy,  # serialization failure
    "40P01": Busy,  # deadlock
    "55P03": Busy,  # lock not available
    "08": Unavailable,  # connection
    "28": Unavailable,  # authorization
    "3D": Unavailable,  # no such database
    "53300": Unavailable,  # too many connections
    "57P": Unavailable,  # the server is shutting down or starting
    "25006": Full,  # a read-only transaction, on a standby
    "42501": Full,  # no privilege
    "53100": Full,  # disk full
    "58": Full,  # the server's own input and output
    "XX001": Damaged,
    "XX002": Damaged,
}
"""SQLSTATE codes, or the classes they begin with,
https://www.postgresql.org/docs/current/errcodes-appendix.html"""


@contextmanager
def mapped() -> Iterator[None]:
    """The one place where the driver's errors become ours, by their codes; bugs stay tracebacks."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        family = _family(cause)
        if family is None:
            raise
        reason = (str(cause).splitlines() or [type(cause).__name__])[0]
        raise family(_message(family, reason)) from error


def _family(cause: BaseException | None) -> type[DbError] | None:
    """Which of our errors a driver's is; None for a bug."""
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", None)
        return None if code is None else SQLITE.get(code & 0xFF)
    state = getattr(cause, "sqlstate", None)
    if state is not None:
        families = [POSTGRESQL[state[:n]] for n in (5, 3, 2) if state[:n] in POSTGRESQL]
        return families[0] if families else None
    # psycopg has no code where the server was not reached, or left in the middle
    return Unavailable if type(cause).__name__ == "OperationalError" else None


def _message(family: type[DbError], reason: str) -> str:
    if family is Busy:
        return "the database is locked by another program; nothing was changed, try again"
    if family is Unavailable:
        return (
            f"the database server does not let us in ({reason}); check 'database' under [project] "
            "and the server; the password may stand in PGPASSWORD"
        )
    if family is Full:
        return (
            f"the database cannot be written ({reason}); nothing was changed. Free some space or "
            "check the folder's permissions, then repeat the command"
        )
    return (
        f"the database is damaged ({reason}); make a new folder of your newest backup with "
        "'coreloop restore', or put your own copy back"
    )
