"""How good the newest model is, as the records have it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from db import queries
from db.answers import asked_for, current_answers
from db.models import TrainingRun
from loop.config import Config
from loop.costs import hours, money
from loop.goals import interval, metric_name, value
from loop.measuring.by_sample import SAMPLE
from loop.project.runs import newest_control
from loop.reports.facts import Control, unseen


@dataclass(frozen=True)
class Measurement:
    """How good the newest model is; figures in [0, 1].

    Attributes:
        by: sample or holdout.
        images: labelled images that it is measured on.
        metric: that the project is after, as ``[goal]`` has it: accuracy where none is set.
        value: in that metric; interval: ends of its 95 % interval.
        accuracy: plain; lower, upper: ends of its 95 % interval.
        labels: that the model learned.
        unseen: classes of which no image measures.
        worth: images that a sample without the model's confidences would need for the same
            interval, over ``images``.
        difference: the first picks against as many random labels; None where not measured.
    """

    by: str
    images: int
    metric: str
    value: float
    interval: tuple[float, float]
    accuracy: float
    lower: float
    upper: float
    labels: int
    unseen: tuple[str, ...]
    worth: float
    difference: Control | None

    @property
    def width(self) -> float:
        """Of the accuracy's interval."""
        return self.upper - self.lower


@dataclass(frozen=True)
class RoundResult:
    """What the newest trained round brought, and what it took.

    Attributes:
        round: its number.
        before: the round trained before it, and the metric's value then; None for the first.
        labels: images of the round that people labelled.
        hours, money: their work on it; None: not known.
    """

    round: int
    measured: Measurement
    before: tuple[int, float] | None
    labels: int
    hours: float | None
    money: float | None
    currency: str


def newest_result(session: Session, pool_id: int, config: Config) -> RoundResult | None:
    """Of the round trained last; None before the first."""
    metric = config.goal.metric
    measured = newest_measurement(session, pool_id, config)
    if measured is None:
        return None
    newest = dict(queries.runs(session, pool_id, "all"))
    *earlier, number = newest
    before = (earlier[-1], value(newest[earlier[-1]].metrics, metric)) if earlier else None
    picked = {pick.item_id for pick in queries.picks(session, pool_id, number)}
    answers = [
        answer
        for answer in asked_for(current_answers(session, pool_id))
        if answer.item_id in picked
    ]
    spent = hours([answer.seconds for answer in answers])
    return RoundResult(
        round=number,
        measured=measured,
        before=before,
        labels=len({answer.item_id for answer in answers if answer.label is not None}),
        hours=spent,
        money=money(config.costs, spent, len(answers)),
        currency=config.costs.currency,
    )


def newest_measurement(session: Session, pool_id: int, config: Config) -> Measurement | None:
    """Of the last training on all labels, in the metric of the goal; None before the first."""
    runs = [run for _, run in queries.runs(session, pool_id)]
    trained = [run for run in runs if run.arm == "all"]
    return (
        _measurement(trained[-1], newest_control(runs, config.goal.metric), config)
        if trained
        else None
    )


def _measurement(run: TrainingRun, difference: Control | None, config: Config) -> Measurement:
    metric = config.goal.metric
    lower, upper = run.metrics["intervals"]["accuracy"]
    by_sample = run.notes.get(SAMPLE)
    return Measurement(
        by="sample" if by_sample else "holdout",
        images=int(run.metrics["n"]),
        metric=metric_name(metric),
        value=value(run.metrics, metric),
        interval=interval(run.metrics, metric),
        accuracy=float(run.metrics["accuracy"]),
        lower=float(lower),
        upper=float(upper),
        labels=run.labels,
        unseen=tuple(unseen(config.project.classes, run.metrics["class_support"])),
        worth=float(by_sample["worth"]) if by_sample else 1.0,
        difference=difference,
    )
