"""Comparisons: a round's own method is the one it was begun with; older records keep theirs."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from loop import config
from loop.project import create
from loop.project.comparison import compared
from loop.reports.answers import beats_random
from loop.steps.report import facts
from loop.steps.run import run
from tests.conftest import rows, small_values

FIXTURES = Path(__file__).parents[1] / "db" / "fixtures"


def edited(project, **selection):
    """The project as it is when coreloop.toml was edited."""
    changed = project.config.selection.model_copy(update=selection)
    return replace(project, written=project.config.model_copy(update={"selection": changed}))


def test_the_own_method_is_the_one_that_the_round_was_begun_with(project, monkeypatch):
    """coreloop.toml is edited after the picks were made and before they are compared."""
    with monkeypatch.context() as patch:
        patch.setattr("loop.steps.run.compare", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(project)
    assert rows(project, "SELECT state FROM round WHERE number = 1") == [("trained",)]
    other = edited(project, scorer="norm", rule="middle", budgets=[6])
    run(other)
    assert {row.method for row in compared(other).rows} == {"kmeans", "random"}
    run(other, budget=6)
    assert {row.method for row in compared(other).rows} == {"norm", "random"}
    assert {key for (key,) in rows(project, "SELECT DISTINCT method FROM cell")} == {
        "kmeans",
        "norm middle",
        "random",
    }


def interrupt(project, on_progress):
    raise KeyboardInterrupt


def test_before_the_first_comparison_there_is_none(project):
    from loop.steps.scan import scan

    scan(project)
    nothing = compared(project)
    assert (nothing.rows, nothing.cells, nothing.mode, nothing.among) == ([], [], "", None)


def old_project(tmp_path, images, change=""):
    """A finished project as coreloop 0.5.0 left it, its statements ``change`` run before it is
    opened; (project, rows of its compared runs as that version showed them)."""
    project = create(tmp_path / "old", config.check(small_values(images), "test"))
    project.close()
    file = project.root / "coreloop.db"
    for path in project.root.glob("coreloop.db*"):
        path.unlink()
    with sqlite3.connect(file) as raw:
        raw.executescript((FIXTURES / "0001.sql").read_text(encoding="utf-8"))
        raw.executescript(change)
        raw.execute("DELETE FROM array")  # files that are not here
        shown = raw.execute(
            "SELECT method, labels, avg(metrics ->> 'accuracy'), count(*) FROM run "
            "WHERE arm = 'compared' GROUP BY method, labels ORDER BY method, labels"
        ).fetchall()
    raw.close()
    assert len(shown) == 4
    return project, shown


def sqlite_only():
    from tests import postgresql

    if postgresql.server is not None:
        pytest.skip("the records are not on this disk")


@pytest.mark.parametrize("mode", ["simulated", "hindsight"])
def test_older_records_keep_their_comparison(tmp_path, images, mode):
    sqlite_only()
    change = f"UPDATE run SET mode = '{mode}' WHERE arm = 'compared'"
    project, before = old_project(tmp_path, images, change)
    comparison = compared(project)
    after = sorted((row.method, row.budget, row.mean, row.n) for row in comparison.rows)
    assert after == [pytest.approx(row) for row in before]
    assert {row.kind for row in comparison.rows} == {"label-free"}
    assert comparison.mode == mode
    assert (comparison.among is None) == (mode == "simulated")
    differences = {row.method: row.difference for row in comparison.rows if row.budget == 12}
    assert differences["random"] is None
    assert differences["kmeans"] == pytest.approx(
        before[1][2] - before[3][2]  # both are ordered by method and budget
    )
    assert "Not measured" not in beats_random(facts(project))
    assert rows(project, "SELECT count(*) FROM run WHERE arm = 'compared'") == [(0,)]


def test_only_the_newest_settings_of_older_records_are_shown(tmp_path, images):
    """The cells of older ones stay, but no table mixes the two."""
    sqlite_only()
    change = (
        "UPDATE run SET notes = json_set(notes, '$.settings', 'other') "
        "WHERE arm = 'compared' AND labels = 6"
    )
    project, before = old_project(tmp_path, images, change)
    comparison = compared(project)
    assert [(row.method, row.budget) for row in comparison.rows] == [("kmeans", 12), ("random", 12)]
    assert [row.mean for row in comparison.rows] == pytest.approx([before[1][2], before[3][2]])
    assert len(rows(project, "SELECT id FROM cell")) == 8
    assert rows(project, "SELECT count(*) FROM simulation") == [(2,)]
