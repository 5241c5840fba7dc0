"""Files of every schema version open, keep what they hold and become what the models say.

``fixtures/<revision>.sql`` is a finished small project as that version wrote it; a new version adds
the dump of one more (``python -m tests.db.test_upgrade PROJECT``) and never changes an older one.
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import db.migrations
from db import queries
from db.models import Base
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


@pytest.mark.parametrize("file", sorted(FIXTURES.glob("*.sql")), ids=lambda path: path.stem)
def test_older_files_are_upgraded(file, tmp_path):
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as raw:
        raw.executescript(file.read_text(encoding="utf-8"))
        tables = [
            name
            for (name,) in raw.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'alembic_version'"
            )
        ]
        before = {t: raw.execute(f'SELECT count(*) FROM "{t}"').fetchone()[0] for t in tables}
        (live,) = raw.execute("SELECT count(*) FROM run WHERE arm != 'compared'").fetchone()
    raw.close()
    assert before["annotation"] > 10
    records = open_records(f"sqlite:///{path}")
    with records.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, Base.metadata) == []
        after = {
            table: connection.exec_driver_sql(f'SELECT count(*) FROM "{table}"').scalar()
            for table in before
        }
        moved = before["run"] - after["run"]
        assert moved == (before["run"] - live if file.stem < "0004" else 0)
        assert after["cell"] == before["cell"] + moved
        assert after["simulation"] == before["simulation"] + (moved > 0)
        for table in before.keys() - {"run", "cell", "simulation"}:
            assert after[table] == before[table], table
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    with records.read() as session:
        pool = queries.the_pool(session)
        assert list(contradictions(session, pool)) == []
        assert {answer.label for answer in queries.answers(session, pool.id)} == {
            "digit-0",
            "digit-1",
            "digit-2",
        }
        assert [run.metrics["accuracy"] > 0.5 for _, run in queries.runs(session, pool.id)]
    records.close()


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
        text = "\n".join(project.iterdump()) + "\n"
        (FIXTURES / f"{db.migrations.HEAD}.sql").write_text(text, encoding="utf-8")
