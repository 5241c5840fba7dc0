"""What a command opens and reads: the records once, the annotations once."""

from __future__ import annotations

import pytest
from sqlalchemy import event

from db import state
from loop.project import find
from loop.steps.report import report
from loop.steps.run import run


@pytest.fixture
def opened(monkeypatch):
    """Grows by one for each database that is opened."""
    urls = []
    open_records = state.open_records

    def counted(url, **options):
        urls.append(url)
        return open_records(url, **options)

    monkeypatch.setattr(state, "open_records", counted)
    return urls


def test_a_run_over_all_rounds_opens_the_records_once(project, opened):
    with find(project.root) as again:
        assert run(again).why == "done"
        assert len(again.config.selection.budgets) > 1
    assert len(opened) == 1


def test_a_report_reads_the_annotations_once(finished_project):
    statements = []
    engine = finished_project.records.engine
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    report(finished_project)
    listed = [s for s in statements if "annotation.label" in s or "annotation.external_id" in s]
    assert len(listed) == 1, listed


def test_no_session_is_open_while_pictures_are_made(finished_project, monkeypatch):
    from loop import images

    pool = finished_project.records.engine.pool
    thumbnail = images.thumbnail

    def looked_at(data, **options):
        assert pool.checkedout() == 0
        return thumbnail(data, **options)

    monkeypatch.setattr(images, "thumbnail", looked_at)
    report(finished_project)


@pytest.fixture
def finished_project(project):
    run(project)
    return project
