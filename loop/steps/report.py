"""report: stored rows -> report.html, report.md, report.json. Reads only."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from connectors.base import SourceError
from db import arrays, queries
from db.queries import Answer, Picked
from loop.costs import hours
from loop.errors import DataError, NotReady
from loop.project import Project
from loop.report import write
from loop.report.facts import Annotator, Curve, Difference, Facts, PickShown, Point, RoundShown
from loop.select import strata_budgets
from loop.steps.compare import COMPARED, comparison_rows
from loop.steps.embed import embeddings
from loop.steps.labels import collected, outstanding
from loop.steps.opened import reading, source, versions

THUMBNAILS = 200
MAP_POINTS = 2000


def report(project: Project) -> dict[str, Path]:
    """Writes the three files into ``reports/``; format -> path.

    Raises:
        Missing: the images have not been scanned.
    """
    return write(facts(project), project.reports)


def facts(project: Project) -> Facts:
    """Everything the report shows, from the records."""
    config = project.config
    rows = comparison_rows(project)
    with reading(project) as records, records.read() as session:
        pool = queries.the_pool(session)
        answers = queries.answers(session, pool.id)
        labels = collected(session, project, pool.id)
        picks = [p for p in queries.picks(session, pool.id) if p.arm != "test"]
        rounds = [_round(session, project, r) for r in queries.rounds(session, pool.id)]
        predicted, sure = _predictions(session, project, pool.id)
        runs = queries.runs(session, pool.id)
        live = [run for _, run in runs if run.arm == "all"]
        names = config.project.classes
        seconds = hours([a.seconds for a in answers])
        per_class = Counter(names[labels[p.row]] for p in picks if p.row in labels)
        return Facts(
            project=config.project.name,
            classes=names,
            counts=queries.counts(session, pool.id),
            encoder=config.encoder,
            labeler=config.labeler.kind,
            written_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            rounds=[r for r in rounds if r.number],
            curves=_curves(runs, rows),
            differences=[
                Difference(r.method, r.kind, r.budget, r.difference, *r.difference_interval,
                           r.saved, r.n)
                for r in rows if r.difference is not None
            ],
            metrics=live[-1].metrics if live else None,
            labels_per_class=dict(per_class),
            annotators=_annotators(answers),
            agreement=_agreement(answers),
            hours=seconds,
            money=_money(project, seconds, len(answers)),
            currency=config.costs.currency,
            picks=_shown(project, picks, labels, predicted),
            points=_map(session, project, picks, labels, predicted),
            suspicious=_suspicious(project, picks, labels, predicted, sure),
            provenance={
                "pool": {"id": pool.id, "digest": pool.digest, "name": pool.name},
                "rounds": [vars(r) for r in rounds],
                "runs": [
                    {"id": run.id, "round": number, "arm": run.arm, "method": run.method,
                     "seed": run.seed, "mode": run.mode, "labels": run.labels,
                     "rows_digest": run.rows_digest, "accuracy": run.metrics["accuracy"]}
                    for number, run in runs
                ],
                "versions": versions(),
                "config": config.model_dump(exclude={"project": {"database"}}),
            },
        )  # fmt: skip


def _round(session: Session, project: Project, found: Any) -> RoundShown:
    left = outstanding(session, project, found)
    said = found.explanation
    return RoundShown(
        found.id, found.number, found.state,
        str(said.get("scorer", "-")), str(said.get("reason", "")), said.get("reliability"),
        found.budget, left.picked - left.unanswered - left.skipped, left.skipped, found.seed,
    )  # fmt: skip


def _curves(runs: list[Any], rows: list[Any]) -> list[Curve]:
    """This project's own curve first, then each compared method."""
    curves = []
    for arm, name in (("all", "model"), ("coreset", "coreset part"), ("control", "random control")):
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
            curves.append(Curve(name, "live" if arm == "all" else "control", "live", points))
    modes = {run.method: run.mode for _, run in runs if run.arm == COMPARED}
    ids: dict[tuple[str, int], list[int]] = defaultdict(list)
    for _, run in runs:
        if run.arm == COMPARED:
            ids[run.method, run.labels].append(run.id)
    for method in dict.fromkeys(row.method for row in rows):
        mine = [row for row in rows if row.method == method]
        points = [
            Point(r.budget, r.mean, r.interval[0], r.interval[1], r.n, ids[method, r.budget])
            for r in mine
        ]
        curves.append(Curve(method, mine[0].kind, modes.get(method, ""), points))
    return curves


def _predictions(
    session: Session, project: Project, pool_id: int
) -> tuple[dict[int, str], dict[int, float]]:
    """Array row -> class the newest model says, and how sure it is."""
    for found in reversed(queries.rounds(session, pool_id)):
        row = arrays.find(
            session, pool_id=pool_id, kind="probabilities", name="pool", of=f"round-{found.number}"
        )
        if row is not None:
            p = np.asarray(arrays.load(row, project.arrays), dtype=np.float64)
            rows = queries.split_rows(session, pool_id, "pool")[: len(p)]
            names = project.config.project.classes
            best = p.argmax(axis=1)
            said = {int(r): names[int(b)] for r, b in zip(rows, best, strict=True)}
            return said, {int(r): float(v) for r, v in zip(rows, p.max(axis=1), strict=True)}
    return {}, {}


def _annotators(answers: list[Answer]) -> list[Annotator]:
    by_name: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_name[answer.annotator].append(answer)
    found = []
    for name, mine in sorted(by_name.items()):
        times = [a.seconds for a in mine if a.seconds]
        found.append(
            Annotator(name, sum(a.label is not None for a in mine),
                      sum(a.label is None for a in mine), median(times) if times else None)
        )  # fmt: skip
    return found


def _agreement(answers: list[Answer]) -> float | None:
    from loop.annotators import krippendorff_alpha

    return krippendorff_alpha(
        [(a.item_id, a.annotator, a.label) for a in answers if a.label is not None]
    )


def _money(project: Project, hours_: float | None, count: int) -> float | None:
    costs = project.config.costs
    total = costs.per_label * count + costs.hourly_rate * (hours_ or 0.0)
    return total or None


def _shown(
    project: Project, picks: list[Picked], labels: dict[int, int], predicted: dict[int, str]
) -> list[PickShown]:
    """The first picks of each round, at most ``THUMBNAILS`` in all, shared evenly."""
    from loop.images import thumbnail

    images, names = source(project), project.config.project.classes
    sizes = Counter(p.round for p in picks)
    numbers = sorted(sizes)
    budgets = strata_budgets(np.array([sizes[n] for n in numbers], dtype=np.int64), THUMBNAILS)
    share = dict(zip(numbers, budgets, strict=True))
    taken: Counter[int] = Counter()
    shown = []
    for pick in picks:
        if taken[pick.round] >= share[pick.round]:
            continue
        taken[pick.round] += 1
        try:
            small = thumbnail(images.read(pick.uri), name=pick.uri)
        except (SourceError, DataError):
            continue  # a picture that has gone is no reason to have no report
        shown.append(
            PickShown(
                pick.key, pick.uri, pick.round, pick.arm, pick.rank,
                names[labels[pick.row]] if pick.row in labels else None,
                predicted.get(pick.row), small,
            )
        )  # fmt: skip
    return shown


def _map(
    session: Session,
    project: Project,
    picks: list[Picked],
    labels: dict[int, int],
    predicted: dict[int, str],
) -> list[tuple[float, float, str]]:
    """(x, y, kind) in [0, 1] of picks and of a sample of the pool; kind names picked files."""
    try:
        all_rows = embeddings(session, project)
    except NotReady:
        return []
    pool = queries.the_pool(session)
    rows = queries.split_rows(session, pool.id, "pool")
    step = max(1, len(rows) // MAP_POINTS)
    chosen = {p.row: p for p in picks[:MAP_POINTS]}
    shown = np.array(sorted({int(r) for r in rows[::step]} | set(chosen)), dtype=np.int64)
    if len(shown) < 3:
        return []
    places = _plane(np.asarray(all_rows[shown], dtype=np.float64))
    names = project.config.project.classes
    points = []
    for row, (x, y) in zip(shown, places, strict=True):
        kind = "pool"
        if int(row) in chosen:
            label = names[labels[int(row)]] if int(row) in labels else None
            said = predicted.get(int(row))
            state = "wrong" if label and said and label != said else "picked"
            kind = f"{state}: {chosen[int(row)].uri} ({label or 'no label yet'})"
        points.append((float(x), float(y), kind))
    return points


def _plane(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M, 2) first two principal directions, each scaled to [0, 1]."""
    x = x - x.mean(axis=0)
    if x.shape[1] == 1:
        x = np.hstack([x, np.zeros_like(x)])
    _, axes = np.linalg.eigh(x.T @ x)
    flat = x @ axes[:, :-3:-1]
    span = np.maximum(np.ptp(flat, axis=0), 1e-12)
    out: NDArray[np.float64] = (flat - flat.min(axis=0)) / span
    return out


def _suspicious(
    project: Project,
    picks: list[Picked],
    labels: dict[int, int],
    predicted: dict[int, str],
    sure: dict[int, float],
) -> list[dict[str, Any]]:
    """Labels that the newest model contradicts although it was trained on them, surest first."""
    names = project.config.project.classes
    found = [
        {"uri": p.uri, "key": p.key, "label": names[labels[p.row]], "predicted": predicted[p.row],
         "confidence": sure[p.row]}
        for p in picks
        if p.row in labels and p.row in predicted and names[labels[p.row]] != predicted[p.row]
    ]  # fmt: skip
    return sorted(found, key=lambda one: -float(str(one["confidence"])))[:20]
