"""Passwords in addresses (``http://me:pw@host``), which earlier versions kept in the records, are
taken out as the records are opened."""

from __future__ import annotations

import re
from contextlib import closing
from typing import Any

from sqlalchemy import Connection, Engine, String, bindparam, cast, select, update

from db.models import Annotation, Batch, Event, Pool, Round, now

WITH_PASSWORD = re.compile(r"(?<=://)[^\s/\"']*@")
FEW = (Pool.source, Round.config, Round.explanation, Batch.message, Event.message)
"""Columns that may hold an address, in tables so short that each opening looks at them."""
LEFT_OUT = (
    "the user name and password in an address were taken out of the records; change that password, "
    "for older backups and reports still hold it"
)


def forget_passwords(engine: Engine) -> None:
    """Leaves no password of an address in the database, nor in the file's unused pages."""
    with engine.connect() as connection:
        held = any(_changed(connection, column) for column in FEW)
    if not held:
        return
    with engine.connect().execution_options(coreloop_write=True) as connection, connection.begin():
        for column in (*FEW, Annotation.url):
            for row in _changed(connection, column):
                table: Any = column.class_.__table__
                (key,) = table.primary_key.columns
                statement = update(table).where(key == bindparam("row"))
                connection.execute(statement.values({column.key: bindparam("value")}), row)
        event = {"at": now(), "level": "warning", "step": "open", "message": LEFT_OUT}
        connection.execute(Event.__table__.insert(), event)  # type: ignore[attr-defined]
    if engine.dialect.name == "sqlite":
        _clear_unused_pages(engine)


def _changed(connection: Connection, column: Any) -> list[dict[str, Any]]:
    """{"row": primary key, "value": without passwords} of each row that holds one."""
    (key,) = column.class_.__table__.primary_key.columns
    holding = select(key, column).where(cast(column, String).like("%@%"))
    without = [(row, value, without_passwords(value)) for row, value in connection.execute(holding)]
    return [{"row": row, "value": new} for row, value, new in without if new != value]


def without_passwords(value: Any, key: str = "") -> Any:
    """The same without user names and passwords in the addresses that its texts hold."""
    if isinstance(value, dict):
        return {key: without_passwords(part, key) for key, part in value.items()}
    if isinstance(value, list):
        return [without_passwords(part) for part in value]
    if not isinstance(value, str):
        return value
    return address_without_password(value) if key == "url" else WITH_PASSWORD.sub("", value)


def address_without_password(url: str) -> str:
    """An address, well written or not, without all that stands before its last ``@``."""
    if "@" not in url:
        return url
    scheme, separator, _ = url.rpartition("://")
    return scheme + separator + url.rpartition("@")[2]


def _clear_unused_pages(engine: Engine) -> None:
    """Writes the file anew, without what earlier changes left in it and in its log."""
    with closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        cursor.execute("VACUUM")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
