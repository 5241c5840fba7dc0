"""Counting in the database and counting over loaded answers agree on any history."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, insert

from db import queries
from db.answers import (
    answer_tallies,
    current_answers,
    held_annotations,
    newest_annotations,
    odd_annotations,
    standing_answers,
)
from db.models import Annotation, Item, Pick, Pool, Round
from db.state import open_records
from loop.config import check
from loop.project import Project
from loop.project.labels import outstanding, tally
from tests import postgresql
from tests.db.test_upgrade import FIXTURES

ITEMS = 6
START = datetime(2026, 1, 1, tzinfo=UTC)
NOTES = st.lists(
    st.tuples(
        st.integers(1, ITEMS),  # item
        st.sampled_from("ab"),  # annotator
        st.integers(0, 8),  # annotation
        st.sampled_from(["cat", "dog", "no such class", None]),
        st.booleans(),  # cancelled
        st.sampled_from([False, False, True]),  # deleted
        st.sampled_from([None, 0, 1, 2]),  # hour when it was given
    ),
    max_size=30,
)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('queries') / 'a.db'}"
    if postgresql.server is not None:
        url = postgresql.server.new_database()
    records = open_records(url, create=True)
    with records.write() as session:
        session.add(Pool(id=1, name="p", source={}))
        session.flush()
        for number in (0, 1):
            session.add(
                Round(
                    id=number + 1,
                    pool_id=1,
                    number=number,
                    seed=0,
                    budget=3,
                    config={},
                    versions={},
                    state="pushed",
                )
            )
        for i in range(1, ITEMS + 1):
            session.add(Item(id=i, pool_id=1, row=i - 1, key=f"{i:032x}", uri=f"{i}.png"))
        session.flush()
        for i in range(1, ITEMS + 1):
            session.add(Pick(round_id=1 + i % 2, item_id=i, arm="coreset", rank=i, score=0.0))
    yield records
    records.close()


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(notes=NOTES, overlap=st.integers(1, 2))
def test_tallies_equal_counting(records, notes, overlap):
    values = {
        "project": {"name": "p", "classes": ["cat", "dog"]},
        "pool": {"path": "."},
        "labeler": {"kind": "csv", "overlap": overlap},
    }
    project = Project(None, check(values, "test"))
    rows = [
        {
            "item_id": item,
            "connector": "c",
            "external_id": f"{item}-{who}-{number}",
            "version": str(i),
            "annotator": who,
            "label": label,
            "cancelled": cancelled,
            "deleted": deleted,
            "at": hour if hour is None else START + timedelta(hours=hour),
            "seen_at": START + timedelta(minutes=10 * i),
        }
        for i, (item, who, number, label, cancelled, deleted, hour) in enumerate(notes)
    ]
    with records.read() as session:
        if rows:
            session.execute(insert(Annotation), rows)
        picks, answers = queries.picks(session, 1), current_answers(session, 1)
        rounds = queries.rounds(session, 1)
        counted = tally(rounds, picks, answers, project.config)
        assert outstanding(session, 1, project.config) == counted
        session.rollback()


def note(number, who, label, at, seen):
    return Annotation(
        item_id=1,
        connector="c",
        external_id=str(number),
        version="1",
        annotator=who,
        label=label,
        at=at,
        seen_at=seen,
    )


def test_answers_come_by_the_time_they_were_given(records):
    east = timezone(timedelta(hours=9))
    with records.read() as session:
        session.add_all(
            [
                note(1, "late", "dog", START + timedelta(hours=2), START + timedelta(hours=5)),
                note(2, "east", "cat", datetime(2026, 1, 1, 10, tzinfo=east), START),  # 1:00 UTC
                note(3, "seen", "cat", None, START + timedelta(minutes=90)),
                note(4, "twice", "dog", START, START),
                note(5, "twice", "cat", START + timedelta(hours=3), START),
                note(6, "early", "dog", START, START + timedelta(hours=9)),
            ]
        )
        session.flush()
        standing = standing_answers(session, 1)
        assert [a.annotator for a in standing] == [
            "twice",
            "early",
            "east",
            "seen",
            "late",
            "twice",
        ]
        labels = [(a.annotator, a.label) for a in current_answers(session, 1)]
        assert labels[0] == ("early", "dog")
        assert labels[-2:] == [("late", "dog"), ("twice", "cat")]
        session.rollback()


def test_a_label_outlives_a_later_skip_of_the_same_person(records):
    with records.read() as session:
        later = START + timedelta(hours=1)
        session.add_all([note(1, "ann", "dog", START, START), note(2, "ann", None, later, later)])
        session.flush()
        assert [a.label for a in current_answers(session, 1)] == ["dog"]
        session.rollback()


def test_an_odd_annotation_is_held_and_is_no_answer(tmp_path):
    """The kept file of the version that brought them has one."""
    path = tmp_path / "odd.db"
    with sqlite3.connect(path) as raw:
        raw.executescript((FIXTURES / "0002.sql").read_text(encoding="utf-8"))
    raw.close()
    records = open_records(f"sqlite:///{path}")
    with records.read() as session:
        ((note, _),) = odd_annotations(session, 1)
        assert note.problem.startswith("value.choices")
        assert held_annotations(session, [note.connector]) == 1
        assert note.external_id not in {a.external_id for a in standing_answers(session, 1)}
    records.close()


@pytest.mark.skipif("config.getoption('--postgresql')", reason="about SQLite")
@pytest.mark.parametrize(
    "ask",
    [
        lambda session: standing_answers(session, 1),
        lambda session: answer_tallies(session, 1, ["cat"], 1),
        lambda session: newest_annotations(session, ["c"], ["0" * 32]),
        lambda session: queries.picked_rows(session, 1),
        lambda session: queries.row_names(session, 1, [1, 2]),
        lambda session: odd_annotations(session, 1),
        lambda session: held_annotations(session, ["c"]),
    ],
)
def test_no_query_of_answers_walks_all_items(records, ask):
    """By SQLite's own plan: items are looked up by id or key, never scanned."""
    statements = []
    event.listen(records.engine, "before_cursor_execute", lambda *args: statements.append(args))
    with records.read() as session:
        ask(session)
        asked = [(statement, values) for _, _, statement, values, *_ in statements]
        assert asked
        for statement, values in asked:
            if not statement.startswith("SELECT"):
                continue
            lines = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            plan = [line[-1] for line in lines]
            assert not [line for line in plan if line.startswith("SCAN item")], plan
            whole_pool = [line for line in plan if "item" in line and line.endswith("(pool_id=?)")]
            assert not whole_pool, plan
