"""Opening the records, one transaction at a time, and the one way a round moves on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, inspect, make_url, text, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session

from db.errors import Busy, Missing, StaleRound, TooNew, mapped
from db.faults import reached
from db.migrations import HEAD
from db.models import Event, Round, now

BUSY_TIMEOUT_MS = 10_000
CACHE_KB = 65_536
"""SQLite's own 2 MB hold the index of some 50,000 images; beyond, inserts read pages back."""
LOCK = 0x636F7265
"""PostgreSQL's advisory lock of whoever writes; the next one is for upgrades."""


class Records:
    """The database of one project, at the newest schema. ``read`` and ``write`` give sessions."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading; it sees one state of the database."""
        with mapped(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self, name: str = "write") -> Iterator[Session]:
        """ONE transaction: all of it is stored at the end of the block, or nothing.

        ``name`` tells it apart where a test kills the process (see db.faults).
        """
        with mapped(), Session(self.engine, expire_on_commit=False) as session:
            session.connection(execution_options={"coreloop_write": True})
            yield session
            reached(f"before-{name}")
            session.commit()
            reached(f"after-{name}")

    @contextmanager
    def alone(self, seconds: float) -> Iterator[None]:
        """On a server: no other command, from whichever machine, is in such a block meanwhile. The
        lock falls with the connection. (SQLite is on one machine, where a lock file does this.)

        Raises:
            Busy: another command held it for ``seconds``.
        """
        if self.engine.dialect.name != "postgresql":
            yield
            return
        with mapped(), self.engine.connect() as held:
            ends = time.monotonic() + seconds
            while not held.scalar(text(f"SELECT pg_try_advisory_lock({LOCK})")):
                held.rollback()
                if time.monotonic() > ends:
                    raise Busy(
                        "another coreloop command is writing to this database; nothing was "
                        "changed. Wait for it to end ('coreloop status' may be used meanwhile)"
                    )
                time.sleep(0.05)
            held.rollback()  # the lock is the session's; no transaction stays open meanwhile
            try:
                yield
            finally:
                held.execute(text(f"SELECT pg_advisory_unlock({LOCK})"))

    def close(self) -> None:
        """Gives the connections back."""
        self.engine.dispose()


def open_records(url: str | URL, *, create: bool = False) -> Records:
    """Opens the database at a SQLAlchemy url and upgrades an older schema.

    Raises:
        Missing: there is none and ``create`` is false.
        TooNew: a newer coreloop wrote it.
        Busy, Full, Damaged: see db.errors.
    """
    try:
        address = make_url(url)
        sqlite = address.get_backend_name() == "sqlite"
        if sqlite and not create and not Path(address.database or "").is_file():
            raise Missing(f"no database at {address.database}; 'coreloop init' makes a new project")
        options: dict[str, Any] = {} if sqlite else {"isolation_level": "REPEATABLE READ"}
        engine = create_engine(
            address,
            json_serializer=lambda value: json.dumps(value, sort_keys=True, default=str),
            **options,
        )
    except (ArgumentError, ImportError) as error:  # its text never holds the password
        raise Missing(
            "'database' under [project] is no usable SQLAlchemy url "
            f"({type(error).__name__}); PostgreSQL: install coreloop[postgresql], and write "
            "postgresql+psycopg://USER@HOST/NAME"
        ) from None
    if sqlite:
        _use_sqlite_well(engine)
    with mapped():
        _upgrade(engine)
    return Records(engine)


def _use_sqlite_well(engine: Engine) -> None:
    """WAL, foreign keys, a busy timeout, and write transactions that lock at their start."""

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")  # labels cost money: survive a power cut
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        write = connection.get_execution_options().get("coreloop_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _upgrade(engine: Engine) -> None:
    """Runs the migrations that this file lacks."""
    with engine.connect() as connection:
        current = None
        if inspect(connection).has_table("alembic_version"):
            current = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        connection.rollback()
    if current == HEAD:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    known = {one.revision for one in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise TooNew(
            f"the database has schema {current}, newer than this coreloop knows "
            f"({HEAD}); upgrade coreloop: pip install -U coreloop"
        )
    options: dict[str, Any] = {"coreloop_write": True}
    if engine.dialect.name == "postgresql":  # see what the one before us in the queue has done
        options["isolation_level"] = "READ COMMITTED"
    with engine.connect().execution_options(**options) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK + 1})"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def advance(session: Session, round_id: int, *, before: str, after: str, **values: Any) -> None:
    """Moves a round on; the first statement of each step's transaction.

    Raises:
        StaleRound: the round is not in state ``before`` any more.
    """
    moved = session.execute(
        update(Round)
        .where(Round.id == round_id, Round.state == before)
        .values(state=after, updated_at=now(), **values)
    )
    if moved.rowcount != 1:  # type: ignore[attr-defined]
        raise StaleRound(
            f"the round is not '{before}' any more: another command moved it on; "
            "nothing was changed. 'coreloop status' shows where it is"
        )


def log(
    session: Session, step: str, message: str, *, round: int | None = None, level: str = "info"
) -> None:
    """Adds a line to the log that people read."""
    session.add(Event(step=step, message=message, round=round, level=level))
