"""Files of every schema version open, keep what they hold and become what the models say.

``fixtures/<revision>.sql`` is a finished small project as that version wrote it; a new version adds
the dump of one more (``python -m tests.db.test_upgrade PROJECT``) and never changes an older one.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from datetime import datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    JSON,
    Boolean,
    DateTime,
    MetaData,
    create_engine,
    inspect,
    select,
    text,
)

import db.migrations
from db import queries
from db.answers import current_answers
from db.models import Base, Event, Round, TrainingRun
from db.soundness import contradictions
from db.state import open_records

FIXTURES = Path(__file__).parent / "fixtures"


def revisions():
    config = Config()
    config.set_main_option("script_location", str(Path(db.migrations.__file__).parent))
    script = ScriptDirectory.from_config(config)
    return script.get_current_head(), [migration.revision for migration in script.walk_revisions()]


def test_every_version_has_a_fixture_and_head_is_the_newest():
    head, known = revisions()
    assert head == db.migrations.HEAD
    assert sorted(path.stem for path in FIXTURES.glob("*.sql")) == sorted(known)


@pytest.fixture(params=["sqlite", "postgresql"])
def old_records(request, tmp_path):
    """revision -> address of a database that this version has left, with what it held."""

    def made(revision):
        file = tmp_path / "old.db"
        with sqlite3.connect(file) as raw:
            raw.executescript((FIXTURES / f"{revision}.sql").read_text(encoding="utf-8"))
        raw.close()
        if request.param == "sqlite":
            return f"sqlite:///{file}"
        address = request.getfixturevalue("server").new_database()
        copy_to_server(file, address, revision)
        return address

    return made


def copy_to_server(file, address, revision):
    """Makes the schema of this revision on the server, and copies a file's rows into it."""
    source, target = create_engine(f"sqlite:///{file}"), create_engine(address)
    configured = Config()
    configured.set_main_option("script_location", str(Path(db.migrations.__file__).parent))
    with source.connect() as old, target.begin() as new:
        configured.attributes["connection"] = new
        command.upgrade(configured, revision)
        schema = MetaData()
        schema.reflect(new)
        for table in schema.sorted_tables:
            if table.name == "alembic_version":
                continue
            held = old.exec_driver_sql(f'SELECT * FROM "{table.name}"').mappings().all()
            if held:
                new.execute(table.insert(), [read_back(table, row) for row in held])
            if "id" in table.c:
                sequence = f"pg_get_serial_sequence('\"{table.name}\"', 'id')"
                new.exec_driver_sql(
                    f'SELECT setval({sequence}, (SELECT max(id) FROM "{table.name}"))'
                )
    source.dispose()
    target.dispose()


def read_back(table, row):
    """A row as Python values; SQLite keeps times and JSON as text, and truth as a number."""
    reading = {DateTime: datetime.fromisoformat, JSON: json.loads, Boolean: bool}
    values = dict(row)
    for column in table.c:
        read = next((reading[kind] for kind in reading if isinstance(column.type, kind)), None)
        if read is not None and values[column.name] is not None:
            values[column.name] = read(values[column.name])
    return values


def counts(engine):
    """Rows of each table of ours."""
    with engine.connect() as connection:
        names = set(inspect(connection).get_table_names()) - {"alembic_version"}
        return {
            name: connection.exec_driver_sql(f'SELECT count(*) FROM "{name}"').scalar()
            for name in names
        }


@pytest.mark.parametrize("revision", sorted(path.stem for path in FIXTURES.glob("*.sql")))
def test_older_records_are_upgraded(revision, old_records):
    address = old_records(revision)
    engine = create_engine(address)
    before = counts(engine)
    with engine.connect() as connection:
        query = "SELECT count(*) FROM run WHERE arm != 'compared'"
        live = connection.exec_driver_sql(query).scalar()
        trained = select(Round.number, TrainingRun.metrics).join_from(TrainingRun, Round)
        measured = dict(connection.execute(trained.where(TrainingRun.arm == "all")).all())
    engine.dispose()
    assert before["annotation"] > 10
    assert measured.keys() == {1, 2}
    records = open_records(address)
    with records.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, Base.metadata) == []
        if connection.dialect.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    after = counts(records.engine)
    moved = before["run"] - after["run"]
    assert moved == (before["run"] - live if revision < "0004" else 0)
    assert after["cell"] == before["cell"] + moved
    assert after["simulation"] == before["simulation"] + (moved > 0)
    for table in before.keys() - {"run", "cell", "simulation"}:
        assert after[table] == before[table], table
    with records.read() as session:
        pool = queries.the_pool(session)
        assert list(contradictions(session, pool)) == []
        assert {answer.label for answer in current_answers(session, pool.id)} == {
            "digit-0",
            "digit-1",
            "digit-2",
        }
        kept = {number: run.metrics for number, run in queries.runs(session, pool.id, "all")}
        assert kept == measured
    records.close()


def test_a_password_in_old_records_is_forgotten(old_records):
    """What stands in a file is tested in tests/label_studio/test_credentials.py."""
    address = old_records("0001")
    engine = create_engine(address)
    held = "cannot reach http://me:s3cret@host:8080/x of me@home"
    with engine.begin() as connection:
        connection.execute(text("UPDATE event SET message = :held WHERE id = 3"), {"held": held})
    engine.dispose()
    for _ in range(2):
        records = open_records(address)
        with records.read() as session:
            messages = dict(session.execute(select(Event.id, Event.message)).all())
        records.close()
        assert messages[3] == "cannot reach http://host:8080/x of me@home"
        assert sum("change that password" in message for message in messages.values()) == 1


def test_a_rejected_batch_becomes_one_to_be_asked_about(tmp_path):
    """No version since has such a state, and the database refuses it."""
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as raw:
        raw.executescript((FIXTURES / "0001.sql").read_text(encoding="utf-8"))
        raw.execute("UPDATE batch SET state = 'REJECTED' WHERE round_id = 2")
    raw.close()
    open_records(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as raw:
        states = raw.execute("SELECT state FROM batch ORDER BY round_id").fetchall()
        assert states == [("CONFIRMED",), ("UNKNOWN",), ("CONFIRMED",)]
        with pytest.raises(sqlite3.IntegrityError):
            raw.execute("UPDATE batch SET state = 'REJECTED'")
        assert raw.execute("SELECT count(*) FROM sent").fetchone() == (24,)
    raw.close()


if __name__ == "__main__":
    with sqlite3.connect(Path(sys.argv[1]) / "coreloop.db") as project:
        FIXTURES.mkdir(exist_ok=True)
        dump = "\n".join(project.iterdump()) + "\n"
        (FIXTURES / f"{db.migrations.HEAD}.sql").write_text(dump, encoding="utf-8")
