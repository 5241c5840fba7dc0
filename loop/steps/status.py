"""status: where the project stands and what to type next; answers at once for any pool size."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from sqlalchemy import make_url, select

from db import queries
from db.errors import Missing
from db.models import Batch, Event, Run, round_name
from loop.encoders.spec import short
from loop.project import Project
from loop.secrets import origin, shown_address
from loop.steps.begin import one_more
from loop.steps.labels import Outstanding, changed_classes, outstanding_by_round
from loop.steps.opened import next_command, reading
from loop.steps.remote import gone_by_round


@dataclass(frozen=True)
class RoundLine:
    """One round at a glance."""

    number: int
    state: str
    budget: int
    labelled: int
    skipped: int
    scorer: str
    accuracy: float | None


@dataclass(frozen=True)
class Status:
    """The whole project at a glance."""

    name: str
    root: str
    counts: dict[str, Any]
    rounds: list[RoundLine]
    settings: dict[str, str]
    troubles: list[str]
    events: list[str]
    next: str


def status(project: Project) -> Status:
    """Reads only counts and the newest rows.

    Raises:
        Missing: the database has gone.
    """
    with reading(project) as records, records.read() as session:
        try:
            pool = queries.the_pool(session)
        except Missing:
            return Status(
                project.config.project.name,
                str(project.root),
                {},
                [],
                settings(project),
                [],
                [],
                "coreloop run",
            )
        live = dict(queries.runs(session, pool.id, "all"))
        standing = outstanding_by_round(session, project, pool.id)
        lines = []
        for found in queries.rounds(session, pool.id):
            left = standing.get(found.number, Outstanding(0, 0, 0))
            lines.append(
                RoundLine(
                    found.number,
                    found.state,
                    found.budget,
                    left.picked - left.unanswered - left.skipped,
                    left.skipped,
                    str(found.explanation.get("choice") or found.explanation.get("scorer") or "-"),
                    _accuracy(live.get(found.number)),
                )
            )
        changed = changed_classes(session, project, pool.id)
        troubles = [changed] if changed else []
        troubles += [
            f"batch {batch.uuid[:8]} {batch.state}: {batch.message}"
            for batch in session.scalars(
                select(Batch).where(Batch.state.in_(("SENT", "UNKNOWN", "REJECTED")))
            )
        ]
        troubles += [
            f"{round_name(number)}: {count} images sent are missing there; "
            "'coreloop push' sends those without an answer again"
            for number, count in gone_by_round(session)
        ]
        events = [
            f"{event.at:%Y-%m-%d %H:%M} {event.step}: {event.message}"
            for event in session.scalars(select(Event).order_by(Event.id.desc()).limit(3))
        ]
        newest = queries.newest_round(session, pool.id)
        following = next_command(newest) if newest else "coreloop run"
        planned = len(project.config.selection.budgets)
        if newest and newest.state == "compared" and newest.number >= planned:
            more = one_more(session, project, pool.id)
            following = "; ".join(filter(None, ["coreloop report", more]))
        return Status(
            pool.name,
            str(project.root),
            queries.counts(session, pool.id),
            lines,
            settings(project),
            troubles,
            events[::-1],
            following,
        )


def settings(project: Project) -> dict[str, str]:
    """What is in force, after flags, environment and file."""
    config = project.config
    labeler: str = config.labeler.kind
    if labeler == "label-studio":
        url = os.environ.get("LABEL_STUDIO_URL") or config.labeler.url or "no address"
        labeler = f"label-studio at {shown_address(url)} ({origin(project.root)})"
    return {
        "scorer": config.selection.scorer,
        "encoder": short(config.encoder),
        "labeler": labeler,
        "trainer": config.training.trainer,
        "budgets": ", ".join(map(str, config.selection.budgets)),
        "database": _database(config.project.database),
    }


def _database(url: str) -> str:
    """Where the records are, without user, password and options."""
    if not url:
        return "coreloop.db"
    parts = make_url(url)
    return f"{parts.database} at {parts.host or 'this machine'}, {parts.get_backend_name()}"


def _accuracy(run: Run | None) -> float | None:
    return None if run is None else float(run.metrics["accuracy"])
