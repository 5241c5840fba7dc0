"""report: stored rows -> report.html, report.md, report.json. Reads only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from db.answers import Answer
from db.models import Round, TrainingRun
from loop.config import CostsSection
from loop.costs import hours, money
from loop.encoders.spec import short
from loop.goals import interval, metric_name, value
from loop.measuring.by_sample import EACH
from loop.measuring.runs import CALIBRATION
from loop.project import Project
from loop.project.comparison import Compared, compared
from loop.project.corrections import in_words
from loop.project.evidence import Evidence, gather
from loop.project.few_labels import few_labels
from loop.project.labels import Outstanding
from loop.project.model import model_of_names, pool_predictions
from loop.project.pictures import contact_sheet, embedding_map, group_pictures, issue_pictures
from loop.project.runs import newest_control
from loop.project.versions import versions
from loop.reports import write
from loop.reports.answers import (
    before_any_label,
    missing_classes,
    names_in_words,
    of_few_labels,
    sentence,
    weighed_in_words,
)
from loop.reports.facts import (
    UNSCORED,
    Annotator,
    Difference,
    Facts,
    MethodCurve,
    Point,
    RoundShown,
)
from loop.seeds import generator
from loop.statistics import MethodRow, saved_interval

ARMS = (
    ("all", "model", "live"),
    ("coreset", "first picks", "coreset"),
    ("control", "as many at random", "control"),
)
"""Arm of a run, name and kind of its curve."""
SPENT = {
    "test": "test images",
    "sample": "of the random sample",
    "coreset": "picks",
    "control": "of the control",
    "calibration": "to calibrate",
    "rest": "of the last round",
    "before": "labelled before",
}
"""Arm of a pick -> what its label was bought for."""
BLOCK = 4096
"""Images predicted at once."""
CLASSES_NAMED = 10
"""Classes with few labels that the report names."""
LABEL_ISSUES = 20
"""The report lists no more."""


def report(project: Project, out: Path | None = None) -> dict[str, Path]:
    """Writes the three files into ``out`` (default: the project's ``reports``); format -> path.

    Raises:
        Missing: the images have not been scanned.
    """
    return write(facts(project), out or project.reports)


def facts(project: Project) -> Facts:
    """Everything the report shows, from the records."""
    evidence = gather(project)
    return _facts(evidence, compared(project), _of_names(project, evidence))


def _facts(evidence: Evidence, comparison: Compared, of_names: list[str]) -> Facts:
    config, classes, answers = evidence.config, evidence.classes, evidence.answers
    labels, predicted = evidence.labels.by_row, evidence.left_out.predicted
    labelled = [classes[labels[pick.row]] for pick in evidence.chosen if pick.row in labels]
    rounds = [_round(round_, evidence.open) for round_ in evidence.rounds]
    newest = evidence.live[-1] if evidence.live else None
    issue_keys = {issue.key for issue in evidence.label_issues}
    seconds = hours([answer.seconds for answer in answers])
    return Facts(
        project=config.project.name,
        classes=classes,
        counts=evidence.counts,
        encoder=short(config.encoder),
        labeler=config.labeler.kind,
        written_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        rounds=[round_ for round_ in rounds if round_.number],
        curves=_live_curves(evidence.runs, evidence.outdated, config.goal.metric)
        + _compared_curves(comparison),
        differences=_differences(comparison, config.project.seed),
        control=newest_control([run for _, run in evidence.runs], config.goal.metric),
        metric=metric_name(config.goal.metric),
        metrics=newest.metrics if newest else None,
        trained=_trained(newest.method, newest.notes) if newest else "",
        calibration=newest.notes.get(CALIBRATION) if newest else None,
        completion=evidence.completion,
        spent=_spent(evidence),
        labels_per_class=dict(Counter(labelled)),
        annotators=_annotators(answers),
        agreement=_agreement(answers),
        hours=seconds,
        money=money(config.costs, seconds, len(answers)),
        currency=config.costs.currency,
        picks=contact_sheet(
            evidence.source,
            classes,
            evidence.chosen,
            labels,
            predicted,
            issue_keys,
            evidence.skipped,
        ),
        points=embedding_map(
            evidence.embedded,
            evidence.pool_rows,
            classes,
            evidence.chosen,
            labels,
            issue_keys,
            evidence.skipped,
        ),
        label_issues=evidence.label_issues[:LABEL_ISSUES],
        issue_pictures=issue_pictures(evidence.source, evidence.label_issues[:LABEL_ISSUES]),
        quality=evidence.quality,
        group_pictures=group_pictures(evidence.source, evidence.quality),
        provenance=_provenance(evidence, rounds, comparison),
        notes=[
            *_outdated(evidence.outdated),
            *of_names,
            *_rare_classes(evidence, newest),
            *_encoders(evidence.rounds),
            *_notes(config.costs, comparison, seconds),
        ],
    )


def _rare_classes(evidence: Evidence, newest: TrainingRun | None) -> list[str]:
    """What the trainer did about rare classes, which have few labels, and what more would cost."""
    if newest is None:
        return []
    noted = newest.notes.get("rare classes")
    told = [weighed_in_words(noted, evidence.config.goal.metric)] if noted else []
    few = few_labels(evidence.classes, evidence.picks, evidence.labels.by_row)
    missing = [each.name for each in few if not each.labels]
    if missing:
        told.append(missing_classes(missing, len(evidence.classes)))
    return told + of_few_labels(few, CLASSES_NAMED)


def _encoders(rounds: Sequence[Round]) -> list[str]:
    """What labels said of the encoders to choose among: the changes, and the newest word."""
    told = [(round_, round_.explanation["encoder"]) for round_ in rounds if _chose(round_)]
    return [
        sentence(f"{round_.name} compared the encoders: {choice['why']}")
        for round_, choice in told
        if choice["encoder"] != choice["before"] or round_ is told[-1][0]
    ]


def _chose(round_: Round) -> bool:
    return "encoder" in round_.explanation


def _of_names(project: Project, evidence: Evidence) -> list[str]:
    """What the class names say and how far they are trusted; nothing where the encoder knows no
    words."""
    from loop.name_head import remarks_on
    from loop.train.named import NamedProbe

    if evidence.live:
        noted = evidence.live[-1].notes.get("names")
        return names_in_words(noted) if noted else []
    unused = project.config.names_unused
    if unused and "open_clip:" in project.config.encoder:
        return [f"Class names are not used: {unused}."]
    if unused or evidence.embedded is None:
        return []
    with project.records.read() as session:
        kept = model_of_names(session, project)
        if kept is None or not len(evidence.pool_rows):
            return []
        assert isinstance(kept.model.classifier, NamedProbe)
        head = kept.model.classifier.head
        answered, named = np.zeros((2, len(evidence.classes)), np.int64)
        for rows, told in pool_predictions(session, project, kept, evidence.pool_rows, BLOCK):
            answered += np.bincount(told.argmax(axis=1), minlength=len(answered))
            by_name = head.probabilities(evidence.embedded[rows])
            named += np.bincount(by_name.argmax(axis=1), minlength=len(named))
    counts = dict(zip(evidence.classes, answered.tolist(), strict=True))
    remarks = remarks_on(head, named, evidence.classes)
    return [before_any_label(counts), *map(sentence, remarks)]


def _differences(comparison: Compared, seed: int) -> list[Difference]:
    return [
        Difference(
            row.method,
            row.kind,
            row.budget,
            row.difference,
            *row.difference_interval,
            row.saved,
            row.n,
            _saved_interval(comparison, row, seed),
            comparison.among,
        )
        for row in comparison.rows
        if row.difference is not None
    ]


def _spent(evidence: Evidence) -> dict[str, int]:
    """What labels were bought for -> images that people labelled."""
    people = {answer.item_id for answer in evidence.answers if answer.label is not None}
    counts = Counter(SPENT[pick.arm] for pick in evidence.picks if pick.item_id in people)
    return {name: counts[name] for name in SPENT.values() if counts[name]}


def _provenance(
    evidence: Evidence, rounds: list[RoundShown], comparison: Compared
) -> dict[str, Any]:
    pool = evidence.pool
    return {
        "pool": {"id": pool.id, "digest": pool.digest, "name": pool.name},
        "rounds": [vars(round_) for round_ in rounds],
        "runs": [
            {
                "id": run.id,
                "round": number,
                "arm": run.arm,
                "method": run.method,
                "seed": run.seed,
                "labels": run.labels,
                "rows_digest": run.rows_digest,
                "accuracy": run.metrics["accuracy"],
            }
            for number, run in evidence.runs
        ],
        "cells": [asdict(cell) for cell in comparison.cells],
        "versions": versions(),
        "config": evidence.config.public(),
    }


def _trained(method: str, notes: dict[str, Any]) -> str:
    """``propagate (2.0 labels per class, too few to hold any out)``."""
    used, why = str(notes.get("used", method)), str(notes.get("why", ""))
    if why and "names" in notes:
        why += "; class names come on top"
    return f"{used} ({why})" if why else used


def _round(round_: Round, open_: dict[int, Outstanding]) -> RoundShown:
    explained, counts = round_.explanation, open_.get(round_.number, Outstanding(0, 0, 0))
    like = [f"like {name}: {how}" for name, how in explained.get("like", {}).items()]
    return RoundShown(
        round_.id,
        round_.number,
        round_.state,
        str(explained.get("scorer", UNSCORED)),
        "; ".join(filter(None, [str(explained.get("reason", "")), *like])),
        explained.get("reliability"),
        max(counts.picked, round_.budget),
        counts.answered,
        counts.skipped,
        round_.seed,
        counts.unanswered,
        explained.get("encoder"),
    )


def _live_curves(
    runs: list[tuple[int, TrainingRun]], outdated: Collection[int], metric: str
) -> list[MethodCurve]:
    """This project's own curve first, then those of its control; points of the outdated rounds are
    marked, so that one curve never passes for being of one state of the labels when it is not."""
    curves = []
    for arm, name, kind in ARMS:
        by_labels: dict[int, list[tuple[int, TrainingRun]]] = defaultdict(list)
        for number, run in runs:
            if run.arm == arm:
                by_labels[int(run.notes.get(EACH, run.labels))].append((number, run))
        points = [
            replace(
                _point(labels, [run for _, run in seeds], metric),
                outdated=any(number in outdated for number, _ in seeds),
            )
            for labels, seeds in sorted(by_labels.items())
        ]
        if points:
            curves.append(MethodCurve(name, kind, "live", points))
    return curves


def _point(labels: int, seeds: list[TrainingRun], metric: str) -> Point:
    """Mean over the training seeds of one number of labels."""
    intervals = [interval(run.metrics, metric) for run in seeds]
    lower, upper = np.mean(intervals, axis=0)
    accuracy = float(np.mean([value(run.metrics, metric) for run in seeds]))
    ids = [run.id for run in seeds]
    return Point(labels, accuracy, float(lower), float(upper), len(seeds), ids)


def _outdated(outdated: Sequence[int]) -> list[str]:
    """What to know of the points that are marked."""
    if not outdated:
        return []
    changed = in_words(outdated)
    return [f"{changed[0].upper()}{changed[1:]}. Until then their points are of earlier labels."]


def _compared_curves(comparison: Compared) -> list[MethodCurve]:
    """A curve for each compared method."""
    ids: dict[tuple[str, int], list[int]] = defaultdict(list)
    for cell in comparison.cells:
        ids[cell.method, cell.budget].append(cell.id)
    by_method: dict[str, list[MethodRow]] = defaultdict(list)
    for row in comparison.rows:
        by_method[row.method].append(row)
    curves = []
    for method, rows in by_method.items():
        points = [
            Point(row.budget, row.mean, *row.interval, row.n, cells=ids[method, row.budget])
            for row in rows
        ]
        curves.append(MethodCurve(method, rows[0].kind, comparison.mode, points))
    return curves


def _saved_interval(
    comparison: Compared, row: MethodRow, seed: int
) -> tuple[float | None, float | None] | None:
    if row.saved is None:
        return None
    rng = generator(seed, "labels saved", row.method, row.budget)
    return saved_interval(comparison.accuracies, row.method, row.budget, rng)


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


def _notes(costs: CostsSection, comparison: Compared, hours_: float | None) -> list[str]:
    notes, metric = [], comparison.metric
    same = sorted({r.method for r in comparison.rows if r.n > 1 and r.sd == 0})
    if same:
        notes.append(
            f"{', '.join(same)}: every seed gave the same {metric} at some number of labels, so "
            f"the band over seeds has no width there. That is no certainty: {metric} still depends "
            "on the test images and on which images the pool has."
        )
    if costs.hourly_rate and hours_ is None:
        notes.append("No labelling times are known, so pay by the hour gives no cost.")
    return notes
