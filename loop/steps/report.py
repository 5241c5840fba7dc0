"""report: stored rows -> report.html, report.md, report.json. Reads only."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from db import queries
from db.models import Run
from db.queries import Answer
from loop.compare import Row
from loop.costs import hours
from loop.encoders.spec import short
from loop.errors import NotReady
from loop.project import Project
from loop.reports import write
from loop.reports.facts import Annotator, Control, Difference, Facts, MethodCurve, Point, RoundShown
from loop.saved import saved_interval
from loop.seeds import generator
from loop.steps.compare import compared, compared_runs
from loop.steps.judged import Judged, issues_among, judged, none_judged
from loop.steps.labels import collected, outstanding
from loop.steps.opened import reading, versions
from loop.steps.pictures import contact_sheet, embedding_map
from loop.steps.train import CONTROL

ARMS = (
    ("all", "model", "live"),
    ("coreset", "first picks", "coreset"),
    ("control", "random control", "control"),
)
"""Arm of a run, name and kind of its curve."""
LABEL_ISSUES = 20
"""The report lists no more."""


def report(project: Project) -> dict[str, Path]:
    """Writes the three files into ``reports/``; format -> path.

    Raises:
        Missing: the images have not been scanned.
    """
    return write(facts(project), project.reports)


def facts(project: Project) -> Facts:
    """Everything the report shows, from the records."""
    config = project.config
    found = compared(project)
    rows = found.rows
    with reading(project) as records, records.read() as session:
        pool = queries.the_pool(session)
        answers = queries.by_people(queries.answers(session, pool.id))
        labels = collected(session, project, pool.id)
        picks = [p for p in queries.picks(session, pool.id) if p.arm != "test"]
        rounds = [_round(session, project, r) for r in queries.rounds(session, pool.id)]
        by_others = _judged(session, project, labels)
        runs = queries.runs(session, pool.id)
        cells = compared_runs(session, pool.id)
        live = [run for _, run in runs if run.arm == "all"]
        names = config.project.classes
        seconds = hours([a.seconds for a in answers])
        per_class = Counter(names[labels[p.row]] for p in picks if p.row in labels)
        return Facts(
            project=config.project.name,
            classes=names,
            counts=queries.counts(session, pool.id),
            encoder=short(config.encoder),
            labeler=config.labeler.kind,
            written_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            rounds=[r for r in rounds if r.number],
            curves=_curves(runs, cells, rows),
            differences=[
                Difference(
                    r.method,
                    r.kind,
                    r.budget,
                    r.difference,
                    *r.difference_interval,
                    r.saved,
                    r.n,
                    _saved_interval(project, cells, r),
                    found.among,
                )
                for r in rows
                if r.difference is not None
            ],
            control=_control(runs),
            metrics=live[-1].metrics if live else None,
            trained=_trained(live[-1].method, live[-1].notes) if live else "",
            labels_per_class=dict(per_class),
            annotators=_annotators(answers),
            agreement=_agreement(answers),
            hours=seconds,
            money=_money(project, seconds, len(answers)),
            currency=config.costs.currency,
            picks=contact_sheet(project, picks, labels, by_others.predicted),
            points=embedding_map(session, project, picks, labels, by_others.predicted),
            label_issues=issues_among(session, project, pool.id, by_others)[:LABEL_ISSUES],
            provenance={
                "pool": {"id": pool.id, "digest": pool.digest, "name": pool.name},
                "rounds": [vars(r) for r in rounds],
                "runs": [
                    {
                        "id": run.id,
                        "round": number,
                        "arm": run.arm,
                        "method": run.method,
                        "seed": run.seed,
                        "mode": run.mode,
                        "labels": run.labels,
                        "rows_digest": run.rows_digest,
                        "accuracy": run.metrics["accuracy"],
                    }
                    for number, run in runs
                ],
                "versions": versions(),
                "config": config.public(),
            },
            notes=_notes(project, rows, seconds),
        )


def _trained(method: str, notes: dict[str, Any]) -> str:
    """``propagate (2.0 labels per class, too few to hold any out)``."""
    used, why = str(notes.get("used", method)), str(notes.get("why", ""))
    return f"{used} ({why})" if why else used


def _round(session: Session, project: Project, found: Any) -> RoundShown:
    left = outstanding(session, project, found)
    said = found.explanation
    return RoundShown(
        found.id,
        found.number,
        found.state,
        str(said.get("scorer", "-")),
        str(said.get("reason", "")),
        said.get("reliability"),
        found.budget,
        left.picked - left.unanswered - left.skipped,
        left.skipped,
        found.seed,
    )


def _curves(runs: list[Any], cells: list[Run], rows: list[Row]) -> list[MethodCurve]:
    """This project's own curve first, then each compared method."""
    curves = []
    for arm, name, kind in ARMS:
        points = []
        by_labels: dict[int, list[Any]] = defaultdict(list)
        for _, run in runs:
            if run.arm == arm:
                by_labels[run.labels].append(run)
        for labels, mine in sorted(by_labels.items()):
            low, high = np.mean([m.metrics["intervals"]["accuracy"] for m in mine], axis=0)
            accuracy = float(np.mean([m.metrics["accuracy"] for m in mine]))
            points.append(
                Point(labels, accuracy, float(low), float(high), len(mine), [m.id for m in mine])
            )
        if points:
            curves.append(MethodCurve(name, kind, "live", points))
    ids: dict[tuple[str, int], list[int]] = defaultdict(list)
    for run in cells:
        ids[run.method, run.labels].append(run.id)
    for method in dict.fromkeys(row.method for row in rows):
        mine = [row for row in rows if row.method == method]
        points = [
            Point(r.budget, r.mean, r.interval[0], r.interval[1], r.n, ids[method, r.budget])
            for r in mine
        ]
        curves.append(MethodCurve(method, mine[0].kind, cells[-1].mode, points))
    return curves


def _saved_interval(
    project: Project, cells: list[Run], row: Row
) -> tuple[float | None, float | None] | None:
    if row.saved is None:
        return None
    accuracy = {(r.method, r.labels, r.seed): float(r.metrics["accuracy"]) for r in cells}
    rng = generator(project.config.project.seed, "labels saved", row.method, row.budget)
    return saved_interval(accuracy, row.method, row.budget, rng)


def _control(runs: list[Any]) -> Control | None:
    """The newest."""
    found = [run for _, run in runs if run.arm == "control" and CONTROL in run.notes]
    if not found:
        return None
    mean, low, high = found[-1].notes[CONTROL]
    return Control(found[-1].labels, mean, low, high, int(found[-1].metrics["n"]))


def _annotators(answers: list[Answer]) -> list[Annotator]:
    by_name: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_name[answer.annotator].append(answer)
    found = []
    for name, mine in sorted(by_name.items()):
        times = [a.seconds for a in mine if a.seconds]
        found.append(
            Annotator(
                name,
                sum(a.label is not None for a in mine),
                sum(a.label is None for a in mine),
                median(times) if times else None,
            )
        )
    return found


def _agreement(answers: list[Answer]) -> float | None:
    from loop.annotators import krippendorff_alpha

    return krippendorff_alpha(
        [(a.item_id, a.annotator, a.label) for a in answers if a.label is not None]
    )


def _money(project: Project, hours_: float | None, count: int) -> float | None:
    """None without a rate, and with one by the hour but no times: half a price is none."""
    costs = project.config.costs
    if costs.hourly_rate and hours_ is None:
        return None
    return costs.per_label * count + costs.hourly_rate * (hours_ or 0.0) or None


def _notes(project: Project, rows: list[Row], hours_: float | None) -> list[str]:
    notes = []
    same = sorted({r.method for r in rows if r.n > 1 and r.sd == 0})
    if same:
        notes.append(
            f"{', '.join(same)}: every seed gave the same accuracy at some number of labels, so "
            "the band over seeds has no width there. That is no certainty: accuracy still depends "
            "on the test images and on which images the pool has."
        )
    if project.config.costs.hourly_rate and hours_ is None:
        notes.append("No labelling times are known, so pay by the hour gives no cost.")
    return notes


def _judged(session: Session, project: Project, labels: dict[int, int]) -> Judged:
    try:
        return judged(session, project, labels)
    except NotReady:
        return none_judged(project)
