"""Opening the records, one transaction at a time, and the one way a round moves on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session

from db import snapshot, watermark
from db.errors import Busy, Damaged, Full, Missing, StaleRound, TooNew, mapped
from db.faults import reached
from db.migrations import HEAD
from db.models import Event, Round, now
from db.passwords import forget_passwords

BUSY_TIMEOUT_MS = 10_000
CACHE_KB = 65_536
"""SQLite's own 2 MB hold the index of some 50,000 images; beyond, inserts read pages back."""
LOCK = 0x636F7265
"""PostgreSQL's advisory lock of whoever writes; the next one is for upgrades."""
WATCHING = LOCK + 2
"""That of the one process that turns the loop by itself."""


class Records:
    """The database of one project, at the newest schema. ``read`` and ``write`` give sessions."""

    def __init__(self, engine: Engine, on_close: Callable[[], None] = lambda: None) -> None:
        self.engine = engine
        self._on_close = on_close

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
    def alone(self, seconds: float, lock: int = LOCK) -> Iterator[None]:
        """On a server: no other command, from whichever machine, is in such a block meanwhile. The
        lock falls with the connection. (SQLite is on one machine, where a lock file does this.)

        Args:
            lock: ``LOCK`` of whoever writes, or ``WATCHING``.

        Raises:
            Busy: another command held it for ``seconds``.
        """
        if self.engine.dialect.name != "postgresql":
            yield
            return
        with mapped(), self.engine.connect() as held:
            ends = time.monotonic() + seconds
            while not held.scalar(text(f"SELECT pg_try_advisory_lock({lock})")):
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
                held.execute(text(f"SELECT pg_advisory_unlock({lock})"))

    def keep_watermark(self, file: Path) -> None:
        """Notes beside a SQLite database how far it has come, once all of that is in the file."""
        if self.engine.dialect.name != "sqlite":
            return
        with mapped(), closing(self.engine.raw_connection()) as connection:
            cursor = connection.cursor()
            mark = watermark.stored(cursor)
            cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
            (_, in_log, moved), *_ = cursor.fetchall()
        if mark is not None and in_log == moved:
            watermark.keep(file, mark)

    def close(self) -> None:
        """Gives the connections back."""
        self.engine.dispose()
        self._on_close()


def open_records(url: str | URL, *, create: bool = False, mark: Path | None = None) -> Records:
    """Opens the database at a SQLAlchemy url and upgrades an older schema.

    A SQLite file that this user may not write to is copied, and the copy can only be read.

    Args:
        create: make it where there is none.
        mark: the folder's watermark file, which a SQLite file must not have fallen behind.

    Raises:
        Missing: there is none and ``create`` is false.
        TooNew: a newer coreloop wrote it.
        Damaged: it is empty, older than its folder, or another program's.
        Busy, Full, Unavailable: see db.errors.
    """
    address = _address(url)
    if address.get_backend_name() == "sqlite":
        return _open_sqlite(address, create=create, mark=mark)
    engine = _engine(address, isolation_level="REPEATABLE READ")
    with mapped():
        _upgrade(engine, create=create)
        forget_passwords(engine)
    return Records(engine)


def _open_sqlite(address: URL, *, create: bool, mark: Path | None) -> Records:
    file = Path(address.database or "")
    if not create:
        if not file.is_file():
            raise Missing(
                f"no database at {file}; 'coreloop init' makes a new project, 'coreloop restore' "
                "one from a backup"
            )
        if mark is not None:
            watermark.check_file(file, mark)
        if not snapshot.may_write(file):
            return _open_copy(file)
    engine = _engine(address)
    _use_sqlite_well(engine)
    with mapped():
        _upgrade(engine, create=create)
        forget_passwords(engine)
    return Records(engine)


def _open_copy(file: Path) -> Records:
    """A private copy, for reading; a transaction that would write raises Full."""
    folder = snapshot.copied(file)
    engine = _engine(URL.create("sqlite", database=str(Path(folder.name, file.name))))
    _use_sqlite_well(engine)
    with mapped():
        _upgrade(engine, create=False)
        forget_passwords(engine)

    @event.listens_for(engine, "begin", insert=True)
    def refuse(connection: Any) -> None:
        if connection.get_execution_options().get("coreloop_write"):
            raise Full(f"{file} may only be read; its owner can type this command, or let you")

    return Records(engine, on_close=folder.cleanup)


def _address(url: str | URL) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:  # its text may hold the password
        raise _unusable(error) from None


def _engine(address: URL, **options: Any) -> Engine:
    try:
        return create_engine(
            address,
            json_serializer=lambda value: json.dumps(value, sort_keys=True, default=str),
            **options,
        )
    except (ArgumentError, ImportError) as error:
        raise _unusable(error) from None


def _unusable(error: Exception) -> Missing:
    return Missing(
        f"'database' under [project] is no usable SQLAlchemy url ({type(error).__name__}); "
        "PostgreSQL: install coreloop[postgresql], and write postgresql+psycopg://USER@HOST/NAME"
    )


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


def _upgrade(engine: Engine, *, create: bool) -> None:
    """Runs the migrations that this database lacks.

    Raises:
        Damaged: it has no schema of ours, and ``create`` is false.
        TooNew: its schema is not known here.
    """
    with engine.connect() as connection:
        current = None
        if inspect(connection).has_table("alembic_version"):
            current = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        connection.rollback()
    if current == HEAD:
        return
    if current is None and not create:
        raise Damaged(
            f"the database {engine.url.database} holds no records of coreloop; nothing was "
            f"changed. To get them, {watermark.RESTORE}"
        )
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    script = ScriptDirectory.from_config(config)
    known = {migration.revision for migration in script.walk_revisions()}
    if current is not None and current not in known:
        raise TooNew(
            f"the database has schema {current}, newer than this coreloop knows "
            f"({HEAD}); upgrade coreloop: pip install -U coreloop"
        )
    with _migrating(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def _migrating(engine: Engine) -> Iterator[Connection]:
    """One transaction for all migrations, one command at a time.

    SQLite changes a table by making it anew, which takes that rows may point to nothing meanwhile;
    at the end none may.
    """
    sqlite = engine.dialect.name == "sqlite"
    options: dict[str, Any] = {"coreloop_write": True}
    if not sqlite:  # see what the one before us in the queue has done
        options["isolation_level"] = "READ COMMITTED"
    with engine.connect().execution_options(**options) as connection:
        driver: Any = connection.connection.driver_connection
        if sqlite:
            driver.execute("PRAGMA foreign_keys = OFF")
        else:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK + 1})"))
        yield connection
        orphans = driver.execute("PRAGMA foreign_key_check").fetchall() if sqlite else []
        if orphans:
            raise Damaged(f"{engine.url.database} cannot be upgraded: {orphans[0]}")
        connection.commit()
        if sqlite:
            driver.execute("PRAGMA foreign_keys = ON")


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
