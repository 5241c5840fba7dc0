"""plan: a learning curve, the project's own or a simulated one -> what a target takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np

from db import queries
from db.queries import Answer
from loop.costs import upcoming
from loop.errors import NotReady
from loop.planning import target as targets
from loop.planning.backtest import BacktestSummary, Outcome, backtest, summary
from loop.planning.curves import Forecast, LearningCurve, forecast
from loop.planning.rounds import Rounds, cheapest
from loop.planning.target import Plan, Price, Spread
from loop.project import Project, curves
from loop.project.labels import collect
from loop.seeds import generator
from loop.train.metrics import wilson

SMALL_TEST = 50
"""Test images under which a plan says how little its accuracies tell."""


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
    stop_below: float = 0.005


@dataclass(frozen=True)
class WhatIf:
    """Labels in all that a method took, or is forecast to take, to the target in a simulation."""

    set: str
    method: str
    labels: Spread


@dataclass(frozen=True)
class Outlook:
    """Everything a plan says. Accuracies in [0, 1].

    Attributes:
        basis: where the curve comes from, in words.
        points: (labels, accuracy) of the curve.
        plan, rounds: for the target; ``rounds`` None where nothing is to be planned.
        buys: (labels, median, 5 %, 95 %), at two, four and eight times the labels.
        budget: what the budget buys, likewise; None without one.
        gain_per_100: (median, 5 %, 95 %); ``advice``: go on, unclear or stop.
        what_if: per simulated method.
        notes: what to know before trusting the numbers.
    """

    basis: str
    points: list[tuple[int, float]]
    plan: Plan | None
    rounds: Rounds | None
    buys: list[tuple[int, float, float, float]]
    budget: tuple[int, float, float, float] | None
    gain_per_100: tuple[float, float, float] | None
    advice: str | None
    price: Price
    what_if: list[WhatIf]
    notes: list[str]


def plan(project: Project, wish: Wish, folders: Sequence[Path] = ()) -> Outlook:
    """The plan; ``folders`` are projects with simulated cells of similar sets.

    From round 2 on the project's own curve counts; before, the first simulation's.

    Raises:
        NotReady: fewer than two trained rounds, and no simulation.
        ConfigError: a number out of range, a budget without a price, a folder that is no project.
    """
    if wish.target is not None:
        targets.check_target(wish.target)
    seen = _seen(project)
    price = _price(project, wish, seen.answers)
    simulated = curves.curves(curves.stored(folders) if folders else curves.own(project))
    rng = generator(project.config.project.seed, "plan")
    curve, basis, scale, have = _basis(project, seen, simulated)
    found = forecast(curve, rng)
    own = scale is None
    made, rounds = None, None
    if wish.target is not None:
        if own:
            more = targets.further(curve, found, wish.target) - (have - curve.have)
        else:
            more = targets.needed(curve, found, wish.target, rng) * (scale or 1.0) - have
        limit = np.resize(found.limit, len(more))
        now = curve.now if own else None
        made = targets.plan(
            wish.target,
            now,
            have,
            np.maximum(np.ceil(more), 0),
            limit,
            price,
            datetime.now(UTC).date(),
        )
        rounds = cheapest(np.maximum(more, 0), wish.rounds)
    budget, count = None, None
    if wish.budget_money is not None or wish.budget_hours is not None:
        count = targets.affordable(price, money=wish.budget_money, hours=wish.budget_hours)
        budget = (count, *_bought(curve, found, have + min(count, seen.left), scale, rng))
    per_100 = targets.gain(curve, found) if own else None
    return Outlook(
        basis,
        [(int(n), float(a)) for n, a in zip(curve.labels, curve.accuracy.mean(axis=0))],
        made,
        rounds,
        targets.buys(found, _ahead(curve, seen), rng) if own else [],
        budget,
        per_100,
        targets.advice(per_100, wish.stop_below) if per_100 else None,
        price,
        _what_if(simulated, wish.target, rng),
        _notes(seen, curve, made, price, own, count),
    )


def measure(
    folders: Sequence[Path],
) -> tuple[list[BacktestSummary], list[BacktestSummary], list[Outcome]]:
    """Backtest of stored simulations: lines from 10 labels per class on, lines below, all outcomes.

    Raises:
        NotReady: no cells, or no run with points at twice the labels of a prefix.
    """
    outcomes = list(backtest(curves.stored(folders)))
    if not outcomes:
        raise NotReady(
            "no run has three points and one at twice the labels of the last; simulate a ladder, "
            "e.g. coreloop simulate FOLDER --methods random --per-class 1,2,4,8,16,32"
        )
    late = [o for o in outcomes if o.per_class >= 10]
    early = [o for o in outcomes if o.per_class < 10]
    return summary(late), summary(early), outcomes


@dataclass(frozen=True)
class _Seen:
    """What the records hold: points of the live curve, answers, labels, images left."""

    by_labels: dict[int, list[float]]
    test_images: int
    answers: list[Answer]
    classes_seen: int
    left: int
    have: int


def _seen(project: Project) -> _Seen:
    with project.records.read() as session:
        pool = queries.the_pool(session)
        runs = [run for _, run in queries.runs(session, pool.id) if run.arm == "all"]
        answers = queries.by_people(queries.standing(session, pool.id))
        labels = collect(session, pool, project.config).by_row
        picked = queries.picked_rows(session, pool.id)
        left = queries.item_count(session, pool.id, "pool") - len(picked)
    by_labels: dict[int, list[float]] = {}
    for run in runs:
        by_labels.setdefault(run.labels, []).append(float(run.metrics["accuracy"]))
    mine = {labels[int(row)] for row in picked if int(row) in labels}
    have = sum(int(row) in labels for row in picked)
    test_images = int(runs[-1].metrics["n"]) if runs else 0
    return _Seen(by_labels, test_images, answers, len(mine), left, have)


def _price(project: Project, wish: Wish, answers: list[Answer]) -> Price:
    """From options, else config, else what the answers so far took."""
    costs = project.config.costs
    images = len({a.item_id for a in answers if a.label is not None})
    votes = len(answers) / images if images else float(project.config.labeler.overlap)
    return Price(
        upcoming(_in_order(answers)) if wish.seconds_per_label is None else wish.seconds_per_label,
        votes,
        costs.hourly_rate if wish.hourly_rate is None else wish.hourly_rate,
        costs.per_label if wish.per_label is None else wish.per_label,
        _per_day(answers, images) if wish.labels_per_day is None else wish.labels_per_day,
    )


def _in_order(answers: list[Answer]) -> list[tuple[str, float | None]]:
    """(person, seconds) of each answer, the oldest first."""
    dated = sorted(answers, key=lambda a: a.at.timestamp() if a.at else 0.0)
    return [(a.annotator, a.seconds) for a in dated]


def _per_day(answers: list[Answer], images: int) -> float | None:
    """Images labelled per calendar day, from the first answer's day to the last's."""
    days: list[date] = [a.at.date() for a in answers if a.at is not None]
    return images / ((max(days) - min(days)).days + 1) if days else None


def _basis(
    project: Project, seen: _Seen, simulated: dict[tuple[str, str], tuple[LearningCurve, int]]
) -> tuple[LearningCurve, str, float | None, int]:
    """(curve, words, factor on its labels or None for the project's own, labels there are)."""
    if len(seen.by_labels) >= 2:
        labels = sorted(seen.by_labels)
        seeds = min(len(values) for values in seen.by_labels.values())
        table = np.array([seen.by_labels[n][:seeds] for n in labels]).T
        curve = LearningCurve(np.array(labels, dtype=np.float64), table, seen.test_images)
        return curve, f"this project, {len(labels)} rounds", None, seen.have
    if not simulated:
        raise NotReady(
            f"a plan needs two trained rounds, there are {len(seen.by_labels)}; before that, name "
            "a 'coreloop simulate' folder of a similar set: coreloop plan FOLDER"
        )
    first = next(iter(simulated))[0]
    methods = [method for name, method in simulated if name == first]
    method = next(
        (m for m in (project.config.selection.scorer, "auto", "random") if m in methods), methods[0]
    )
    curve, classes = simulated[first, method]
    mine = len(project.config.project.classes)
    words = f"simulation of {first!r}, {method}, {len(curve.accuracy)} seeds"
    if mine != classes:
        words += f"; labels times {mine}/{classes}, for the number of classes"
    return curve, words, mine / classes, seen.have


def _ahead(curve: LearningCurve, seen: _Seen) -> list[int]:
    """Two, four and eight times the labels measured, as far as the pool goes."""
    return [k * curve.have for k in (2, 4, 8) if k * curve.have <= seen.have + seen.left]


def _bought(
    curve: LearningCurve,
    found: Forecast,
    labels: int,
    scale: float | None,
    rng: np.random.Generator,
) -> tuple[float, float, float]:
    """(median, 5 %, 95 %) accuracy with so many labels in all."""
    total = labels / (scale or 1.0)
    if total < curve.have:  # inside a simulated curve: what was measured
        values = [
            float(np.interp(np.log(total), np.log(curve.labels), row)) for row in curve.accuracy
        ]
        low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
        return float(middle), float(low), float(high)
    ((_, middle, low, high),) = targets.buys(found, [min(total, found.grid[-1])], rng)
    return middle, low, high


def _what_if(
    simulated: dict[tuple[str, str], tuple[LearningCurve, int]],
    target: float | None,
    rng: np.random.Generator,
) -> list[WhatIf]:
    if target is None:
        return []
    rows = []
    for (name, method), (curve, _) in simulated.items():
        values = targets.needed(curve, forecast(curve, rng), target, rng)
        rows.append(WhatIf(name, method, Spread.of(values)))
    return sorted(rows, key=lambda r: (r.set, r.labels.middle is None, r.labels.middle))


def _notes(
    seen: _Seen,
    curve: LearningCurve,
    made: Plan | None,
    price: Price,
    own: bool,
    bought: int | None,
) -> list[str]:
    notes = []
    if curve.test_images < SMALL_TEST:
        notes.append(
            f"there are only {curve.test_images} test images: one more right or wrong moves the "
            f"accuracy by {100 / max(curve.test_images, 1):.0f} points; label more test images"
        )
    if seen.classes_seen == 1:
        notes.append("all labels so far are of one class; the curve says nothing yet")
    if own and curve.now < float(curve.accuracy[:, -2].mean()):
        notes.append("accuracy fell in the last round; by chance, or new labels are wrong")
    if price.seconds is None or price.seconds == 0:
        notes.append("no labelling times are known, so no hours; give --seconds-per-label")
    more = made.labels.middle if made else None
    if (more is not None and more > seen.left) or (bought is not None and bought > seen.left):
        notes.append(f"the pool has only {seen.left} images left to label; add images")
    if made is not None and made.verdict == "reached" and made.now is not None:
        low, high = wilson(round(made.now * curve.test_images), curve.test_images)
        if low < made.target:
            notes.append(
                f"the target lies within the 95 % interval of what was measured "
                f"({100 * low:.1f} to {100 * high:.1f} %); more test images would tell"
            )
    return notes
