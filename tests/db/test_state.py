"""The records: constraints hold, transactions are whole, schemas are checked."""

from __future__ import annotations

import os
import sqlite3

import pytest
from sqlalchemy.exc import IntegrityError

from db import watermark
from db.errors import Damaged, Missing, StaleRound, TooNew
from db.models import Item, Pick, Pool, Round
from db.state import advance, open_records


@pytest.fixture
def records(database):
    records = open_records(database, create=True)
    yield records
    records.close()


def add_round(session, state="planned"):
    pool = Pool(name="p", source={})
    session.add(pool)
    session.flush()
    round_ = Round(pool_id=pool.id, number=1, seed=0, budget=1, config={}, versions={}, state=state)
    session.add(round_)
    session.add(Item(pool_id=pool.id, row=0, key="k" * 32, uri="a.png"))
    session.flush()
    return round_


@pytest.mark.skipif("config.getoption('--postgresql')", reason="about SQLite")
def test_pragmas(records):
    """Of a database that is there: one that is upgraded has foreign keys switched off and on."""
    again = open_records(records.engine.url)
    with again.engine.connect() as connection:
        ask = lambda name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()  # noqa: E731
        assert ask("journal_mode") == "wal"
        assert ask("foreign_keys") == 1
        assert ask("busy_timeout") == 10_000
        assert ask("synchronous") == 2  # FULL: an answer that was stored survives a power cut
    again.close()


@pytest.mark.skipif("config.getoption('--postgresql')", reason="about SQLite")
def test_a_writer_locks_others_out_from_its_first_moment(records):
    """What it reads before it writes can then not be outdated."""
    other = sqlite3.connect(records.engine.url.database, timeout=0)
    with records.write(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.close()


def test_write_is_all_or_nothing(records):
    with pytest.raises(RuntimeError), records.write() as session:
        add_round(session)
        raise RuntimeError
    with records.read() as session:
        assert session.query(Pool).count() == 0


def test_advance_moves_once(records):
    with records.write() as session:
        number = add_round(session).id
    with records.write() as session:
        advance(session, number, before="planned", after="scored")
    with pytest.raises(StaleRound, match="status"), records.write() as session:
        advance(session, number, before="planned", after="scored")


@pytest.mark.parametrize("values", [{"state": "broken"}, {"budget": -1}, {"number": -1}])
def test_round_constraints(records, values):
    with pytest.raises(IntegrityError), records.write() as session:
        round_ = add_round(session)
        for name, value in values.items():
            setattr(round_, name, value)
        session.flush()


def test_an_item_is_picked_once(records):
    with pytest.raises(IntegrityError), records.write() as session:
        round_ = add_round(session)
        item = session.query(Item).one()
        for rank in (0, 1):
            session.add(
                Pick(round_id=round_.id, item_id=item.id, arm="coreset", rank=rank, score=0)
            )
        session.flush()


def test_unknown_item_is_refused(records):
    with pytest.raises(IntegrityError), records.write() as session:
        round_ = add_round(session)
        session.add(Pick(round_id=round_.id, item_id=99, arm="coreset", rank=0, score=0))
        session.flush()


def test_missing_database(tmp_path):
    with pytest.raises(Missing, match="coreloop init"):
        open_records(f"sqlite:///{tmp_path / 'none.db'}")


def test_newer_database_is_refused_and_untouched(tmp_path):
    path = tmp_path / "a.db"
    open_records(f"sqlite:///{path}", create=True).close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    with pytest.raises(TooNew, match="9999"):
        open_records(f"sqlite:///{path}")


def test_an_emptied_file_is_named_and_stays_empty(tmp_path):
    path = tmp_path / "a.db"
    path.touch()
    with pytest.raises(Damaged, match=r"empty \(0 bytes\)"):
        open_records(f"sqlite:///{path}", mark=tmp_path / "mark")
    assert path.stat().st_size == 0


def test_damaged_database(tmp_path):
    path = tmp_path / "a.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(Damaged):
        open_records(f"sqlite:///{path}")


def test_migrations_make_what_the_models_say(records):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from db.models import Base

    with records.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, Base.metadata) == []


@pytest.mark.parametrize("url", ["postgresql://me:secret@[::1/x", "no url", "mysql+none://h/x", ""])
def test_what_is_no_address_of_a_database(url):
    with pytest.raises(Missing, match=r"\[project\]") as refused:
        open_records(url)
    assert "secret" not in str(refused.value)


def test_the_largest_seed_is_kept(records):
    with records.write() as session:
        add_round(session).seed = 2**63 - 1
    with records.read() as session:
        assert session.query(Round).one().seed == 2**63 - 1


@pytest.mark.timeout(60)
def test_a_pipe_in_place_of_the_mark_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "mark")
    assert watermark.read(tmp_path / "mark") is None
