"""What can go wrong with the records, drawn at the top of one file.

DbError
|-- Missing      there is no such row, array or database              exit 3
|-- Damaged      a file is not what its row says                      exit 3
|-- TooNew       the file was written by a newer coreloop             exit 5
|-- Busy         somebody else is writing; nothing was changed        exit 5
|-- StaleRound   the round is no longer in the state we read          exit 5
|-- Unavailable  the database server does not answer                  exit 4
`-- Full         disk full or not writable; nothing was changed       exit 4
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DatabaseError, OperationalError


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


@contextmanager
def mapped() -> Iterator[None]:
    """The one place where the driver's errors become ours; bugs stay tracebacks."""
    try:
        yield
    except (OperationalError, DatabaseError) as error:
        text = str(error.orig).lower()
        if any(word in text for word in ("locked", "busy", "could not serialize", "deadlock")):
            raise Busy(
                "the database is locked by another program; nothing was changed, try again"
            ) from error
        if isinstance(error, OperationalError) and ("connection" in text or "password" in text):
            raise Unavailable(
                f"the database server does not let us in ({str(error.orig).splitlines()[0]}); "
                "check 'database' under [project] and the server; the password may stand in "
                "PGPASSWORD"
            ) from None
        if "full" in text or "readonly" in text or "disk i/o" in text or "unable to open" in text:
            raise Full(
                f"the database cannot be written ({error.orig}); nothing was changed. "
                "Free some space or check the folder's permissions, then repeat the command"
            ) from error
        if "malformed" in text or "not a database" in text:
            raise Damaged(
                f"the database file is damaged ({error.orig}); restore it with "
                "'coreloop restore' or from your own copy"
            ) from error
        raise
