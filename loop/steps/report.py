"""report: stored rows -> report.html, report.md, report.json. Reads only."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db import queries
from db.models import Pool, Round, Run
from db.queries import Answer, Picked
from loop.compare import Row
from loop.config import Config
from loop.costs import hours
from loop.encoders.spec import short
from loop.errors import NotReady
from loop.project import Project
from loop.project.embeddings import embeddings
from loop.project.labels import Labels, Outstanding, collect, tally
from loop.project.left_out import LeftOut, issues_among, nothing_left_out, predict_left_out
from loop.project.pictures import contact_sheet, embedding_map
from loop.project.runs import newest_control
from loop.project.versions import versions
from loop.reports import write
from loop.reports.facts import (
    UNSCORED,
    Annotator,
    Difference,
    Facts,
    MapPoint,
    MethodCurve,
    Point,
    RoundShown,
)
from loop.saved import saved_interval
from loop.seeds import generator
from loop.steps.compare import Compared, compared, compared_runs

ARMS = (
    ("all", "model", "live"),
    ("coreset", "first picks", "coreset"),
    ("control", "random control", "control"),
)
"""Arm of a run, name and kind of its curve."""
LABEL_ISSUES = 20
"""The report lists no more."""


def report(project: Project, out: Path | None = None) -> dict[str, Path]:
    """Writes the three files into ``out`` (default: the project's ``reports``); format -> path.

    Raises:
        Missing: the images have not been scanned.
    """
    return write(facts(project), out or project.reports)


@dataclass(frozen=True)
class _Recorded:
    """What the records hold, read in one session."""

    pool: Pool
    counts: dict[str, Any]
    labels: Labels
    picks: list[Picked]
    rounds: list[RoundShown]
    runs: list[tuple[int, Run]]
    cells: list[Run]
    pool_rows: NDArray[np.int64]
    embedded: NDArray[np.float32] | None


def _read(session: Session, project: Project) -> _Recorded:
    pool, config = queries.the_pool(session), project.config
    labels = collect(session, pool, config)
    picks = queries.picks(session, pool.id)
    open_ = tally(picks, labels.answers, config)
    try:
        embedded = embeddings(session, project)
    except NotReady:
        embedded = None
    return _Recorded(
        pool=pool,
        counts=queries.counts(session, pool.id),
        labels=labels,
        picks=[pick for pick in picks if pick.arm != "test"],
        rounds=[
            _round(round_, open_.get(round_.number, Outstanding(0, 0, 0)))
            for round_ in queries.rounds(session, pool.id)
        ],
        runs=queries.runs(session, pool.id),
        cells=compared_runs(session, pool.id),
        pool_rows=queries.split_rows(session, pool.id, "pool"),
        embedded=embedded,
    )


def facts(project: Project) -> Facts:
    """Everything the report shows, from the records."""
    config = project.config
    names = config.project.classes
    comparison = compared(project)
    with project.records.read() as session:
        recorded = _read(session, project)
    labels, picks = recorded.labels.by_row, recorded.picks
    answers = queries.by_people(recorded.labels.answers)
    left_out = _left_out(recorded, len(names))
    with project.records.read() as session:
        issues = issues_among(session, names, left_out)
    live = [run for _, run in recorded.runs if run.arm == "all"]
    seconds = hours([answer.seconds for answer in answers])
    return Facts(
        project=config.project.name,
        classes=names,
        counts=recorded.counts,
        encoder=short(config.encoder),
        labeler=config.labeler.kind,
        written_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        rounds=[round_ for round_ in recorded.rounds if round_.number],
        curves=_curves(recorded.runs, recorded.cells, comparison.rows),
        differences=_differences(project, recorded.cells, comparison),
        control=newest_control([run for _, run in recorded.runs]),
        metrics=live[-1].metrics if live else None,
        trained=_trained(live[-1].method, live[-1].notes) if live else "",
        labels_per_class=dict(
            Counter(names[labels[pick.row]] for pick in picks if pick.row in labels)
        ),
        annotators=_annotators(answers),
        agreement=_agreement(answers),
        hours=seconds,
        money=_money(project, seconds, len(answers)),
        currency=config.costs.currency,
        picks=contact_sheet(project.source, names, picks, labels, left_out.predicted),
        points=_points(recorded, names, left_out),
        label_issues=issues[:LABEL_ISSUES],
        provenance=_provenance(recorded, config),
        notes=_notes(project, comparison.rows, seconds),
    )


def _left_out(recorded: _Recorded, n_classes: int) -> LeftOut:
    if recorded.embedded is not None:
        try:
            return predict_left_out(recorded.embedded, recorded.labels.by_row, n_classes)
        except NotReady:
            pass
    return nothing_left_out(n_classes)


def _points(recorded: _Recorded, names: list[str], left_out: LeftOut) -> list[MapPoint]:
    if recorded.embedded is None:
        return []
    return embedding_map(
        recorded.embedded,
        recorded.pool_rows,
        names,
        recorded.picks,
        recorded.labels.by_row,
        left_out.predicted,
    )


def _differences(project: Project, cells: list[Run], comparison: Compared) -> list[Difference]:
    return [
        Difference(
            row.method,
            row.kind,
            row.budget,
            row.difference,
            *row.difference_interval,
            row.saved,
            row.n,
            _saved_interval(project, cells, row),
            comparison.among,
        )
        for row in comparison.rows
        if row.difference is not None
    ]


def _provenance(recorded: _Recorded, config: Config) -> dict[str, Any]:
    pool = recorded.pool
    return {
        "pool": {"id": pool.id, "digest": pool.digest, "name": pool.name},
        "rounds": [vars(round_) for round_ in recorded.rounds],
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
            for number, run in recorded.runs
        ],
        "versions": versions(),
        "config": config.public(),
    }


def _trained(method: str, notes: dict[str, Any]) -> str:
    """``propagate (2.0 labels per class, too few to hold any out)``."""
    used, why = str(notes.get("used", method)), str(notes.get("why", ""))
    return f"{used} ({why})" if why else used


def _round(round_: Round, open_: Outstanding) -> RoundShown:
    explained = round_.explanation
    return RoundShown(
        round_.id,
        round_.number,
        round_.state,
        str(explained.get("scorer", UNSCORED)),
        str(explained.get("reason", "")),
        explained.get("reliability"),
        round_.budget,
        open_.answered,
        open_.skipped,
        round_.seed,
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
        for labels, same in sorted(by_labels.items()):
            low, high = np.mean([m.metrics["intervals"]["accuracy"] for m in same], axis=0)
            accuracy = float(np.mean([m.metrics["accuracy"] for m in same]))
            points.append(
                Point(labels, accuracy, float(low), float(high), len(same), [m.id for m in same])
            )
        if points:
            curves.append(MethodCurve(name, kind, "live", points))
    ids: dict[tuple[str, int], list[int]] = defaultdict(list)
    for run in cells:
        ids[run.method, run.labels].append(run.id)
    for method in dict.fromkeys(row.method for row in rows):
        same = [row for row in rows if row.method == method]
        points = [
            Point(r.budget, r.mean, r.interval[0], r.interval[1], r.n, ids[method, r.budget])
            for r in same
        ]
        curves.append(MethodCurve(method, same[0].kind, cells[-1].mode, points))
    return curves


def _saved_interval(
    project: Project, cells: list[Run], row: Row
) -> tuple[float | None, float | None] | None:
    if row.saved is None:
        return None
    accuracy = {(r.method, r.labels, r.seed): float(r.metrics["accuracy"]) for r in cells}
    rng = generator(project.config.project.seed, "labels saved", row.method, row.budget)
    return saved_interval(accuracy, row.method, row.budget, rng)


def _annotators(answers: list[Answer]) -> list[Annotator]:
    by_name: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_name[answer.annotator].append(answer)
    annotators = []
    for name, own in sorted(by_name.items()):
        times = [a.seconds for a in own if a.seconds]
        annotators.append(
            Annotator(
                name,
                sum(a.label is not None for a in own),
                sum(a.label is None for a in own),
                median(times) if times else None,
            )
        )
    return annotators


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
