"""What a plan goes by: the curve so far, the answers, and what a label takes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from db import queries
from db.answers import Answer, asked_for, standing_answers
from loop.costs import upcoming
from loop.goals import images_worth, interval, value
from loop.planning.curves import LearningCurve
from loop.planning.target import Price
from loop.project.corrections import outdated_rounds
from loop.project.labels import collect
from loop.project.project import Project


@dataclass(frozen=True)
class Wish:
    """What a person asks of a plan; None: not asked, or the project's own value."""

    target: float | None = None
    budget_money: float | None = None
    budget_hours: float | None = None
    hourly_rate: float | None = None
    per_label: float | None = None
    seconds_per_label: float | None = None
    labels_per_day: float | None = None
    rounds: int = 3
    days_per_round: float = 0.0
    stop_below: float = 0.005


@dataclass(frozen=True)
class Recorded:
    """What the records hold: points of the live curve in one metric, answers, labels, images left;
    and the rounds whose points are of other labels than people give now, which are no part of the
    curve. ``worth``: see ``loop.goals.images_worth``, of the ``test_images`` that measured;
    ``interval``: the 95 % interval of the newest point."""

    by_labels: dict[int, list[float]]
    test_images: int
    worth: int
    interval: tuple[float, float]
    answers: list[Answer]
    by_sample: bool
    classes_seen: int
    left: int
    have: int
    outdated: tuple[int, ...] = ()


def recorded(project: Project, metric: str = "accuracy") -> Recorded:
    """What a plan is made of.

    Args:
        metric: of the curve, see ``loop.goals``.
    """
    with project.records.read() as session:
        pool = queries.the_pool(session)
        answers = asked_for(standing_answers(session, pool.id))
        collected = collect(session, pool, project.config)
        labels, outdated = collected.by_row, outdated_rounds(session, project, collected)
        trained = queries.runs(session, pool.id, "all")
        runs = [run for number, run in trained if number not in outdated]
        picked = queries.picked_rows(session, pool.id)
        by_sample = len(queries.sample_rows(session, pool.id)) > 0
        left = queries.image_count(session, pool.id, "pool") - len(picked)
    by_labels: dict[int, list[float]] = {}
    for run in runs:
        by_labels.setdefault(run.labels, []).append(value(run.metrics, metric))
    classes = [labels[int(row)] for row in picked if int(row) in labels]
    return Recorded(
        by_labels=by_labels,
        test_images=int(runs[-1].metrics["n"]) if runs else 0,
        worth=images_worth(runs[-1].metrics, metric) if runs else 0,
        interval=interval(runs[-1].metrics, metric) if runs else (0.0, 1.0),
        answers=answers,
        by_sample=by_sample,
        classes_seen=len(set(classes)),
        left=left,
        have=len(classes),
        outdated=outdated,
    )


def price_of(project: Project, wish: Wish, answers: list[Answer]) -> Price:
    """From options, else config, else what the answers so far took."""
    costs = project.config.costs
    images = len({a.item_id for a in answers if a.label is not None})
    votes = len(answers) / images if images else float(project.config.labeler.overlap)
    seconds, per_day = wish.seconds_per_label, wish.labels_per_day
    return Price(
        seconds=upcoming(_in_order(answers)) if seconds is None else seconds,
        votes=votes,
        hourly_rate=costs.hourly_rate if wish.hourly_rate is None else wish.hourly_rate,
        per_label=costs.per_label if wish.per_label is None else wish.per_label,
        per_day=_per_day(answers, images) if per_day is None else per_day,
    )


def _in_order(answers: list[Answer]) -> list[tuple[str, float | None]]:
    """(person, seconds) of each answer, the oldest first."""
    dated = sorted(answers, key=lambda a: a.at.timestamp() if a.at else 0.0)
    return [(a.annotator, a.seconds) for a in dated]


def _per_day(answers: list[Answer], images: int) -> float | None:
    """Images labelled per calendar day, from the first answer's day to the last's."""
    days: list[date] = [a.at.date() for a in answers if a.at is not None]
    return images / ((max(days) - min(days)).days + 1) if days else None


def own_curve(seen: Recorded) -> LearningCurve | None:
    """The project's own; None before two trained rounds."""
    if len(seen.by_labels) < 2:
        return None
    labels = sorted(seen.by_labels)
    seeds = min(len(values) for values in seen.by_labels.values())
    table = np.array([seen.by_labels[n][:seeds] for n in labels]).T
    return LearningCurve(np.array(labels, dtype=np.float64), table, seen.worth)
