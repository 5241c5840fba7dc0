"""plan: a learning curve, the project's own or a simulated one -> what a target takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from loop.errors import NotReady
from loop.goals import metric_name
from loop.planning import target as targets
from loop.planning.backtest import BacktestSummary, Outcome, SimulatedRun, backtest, summary
from loop.planning.curves import Floats, Forecast, LearningCurve, forecast
from loop.planning.rounds import Rounds, cheapest
from loop.planning.target import Estimate, ExpectedAccuracy, Plan, Price, Spread
from loop.project import Project, curves
from loop.project.corrections import in_words
from loop.project.recorded import Recorded, Wish, own_curve, price_of, recorded
from loop.seeds import generator
from loop.wording import counted

SMALL_TEST = 50
"""Test images under which a plan says how little its accuracies tell."""


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
        metric: that stands as the accuracy, by ``[goal]``.
        basis: where the curve comes from, in words.
        points: (labels, accuracy) of the curve.
        plan, rounds: for the target; ``rounds`` None where nothing is to be planned.
        buys: accuracy at two, four and eight times the labels.
        budget: further labels that the budget buys, and the accuracy then; None without one.
        gain_per_100: accuracy that 100 more labels gain, or as many as are left.
        advice: go on, unclear or stop.
        what_if: per simulated method.
        left: images of the pool that nobody has picked; no more labels are advised.
        notes: what to know before trusting the numbers.
    """

    metric: str
    basis: str
    points: list[tuple[int, float]]
    plan: Plan | None
    rounds: Rounds | None
    buys: list[ExpectedAccuracy]
    budget: ExpectedAccuracy | None
    gain_per_100: Estimate | None
    advice: str | None
    price: Price
    what_if: list[WhatIf]
    left: int
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
    metric = project.config.goal.metric
    seen = recorded(project, metric)
    price = price_of(project, wish, seen.answers)
    simulated = curves.curves(_simulated(project, folders, metric))
    rng = generator(project.config.project.seed, "plan")
    basis = _basis(project, seen, simulated)
    curve = basis.curve
    continued = forecast(curve, rng)
    plan_, rounds = None, None
    if wish.target is not None:
        more = _more(basis, continued, wish.target, seen.have, rng)
        plan_ = targets.plan(
            target=wish.target,
            now=curve.now if basis.own else None,
            have=seen.have,
            more=np.maximum(np.ceil(more), 0),
            limit=np.resize(continued.limit, len(more)),
            price=price,
            today=datetime.now(UTC).date(),
            left=seen.left,
        )
        in_pool = np.where(more <= seen.left, np.maximum(more, 0), np.inf)
        round_cost = targets.waiting(price, wish.days_per_round)
        rounds = cheapest(in_pool, wish.rounds, round_cost=round_cost)
    budget, affordable = None, None
    if wish.budget_money is not None or wish.budget_hours is not None:
        affordable = targets.affordable(price, money=wish.budget_money, hours=wish.budget_hours)
        bought = min(affordable, seen.left)
        accuracy = _bought(basis, continued, seen.have + bought, rng)
        budget = ExpectedAccuracy(bought, *accuracy)
    step = min(100, seen.left)
    per_100 = targets.gain(curve, continued, step) if basis.own and step else None
    return Outlook(
        metric=metric_name(metric),
        basis=basis.words,
        points=list(zip(map(int, curve.labels), curve.accuracy.mean(axis=0).tolist())),
        plan=plan_,
        rounds=rounds,
        buys=targets.buys(continued, _ahead(curve, seen), rng) if basis.own else [],
        budget=budget,
        gain_per_100=per_100,
        advice=targets.advice(per_100, wish.stop_below * step / 100) if per_100 else None,
        price=price,
        what_if=_what_if(simulated, wish.target, rng),
        left=seen.left,
        notes=_notes(seen, basis, plan_, price, affordable, metric_name(metric)),
    )


def _simulated(project: Project, folders: Sequence[Path], metric: str) -> list[SimulatedRun]:
    """Runs of these folders, else of the project's own simulation."""
    return curves.stored(folders, metric) if folders else curves.own(project, metric)


def _more(
    basis: _Basis, continued: Forecast, target: float, have: int, rng: np.random.Generator
) -> Floats:
    """(B,) labels needed beyond those at hand; below 0 where they are more than enough."""
    curve = basis.curve
    if basis.own:
        return targets.further(curve, continued, target) - (have - curve.have)
    return targets.needed(curve, continued, target, rng) * basis.scale - have


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
class _Basis:
    """The curve that a plan continues.

    Attributes:
        words: where it comes from.
        own: it is the project's, not a simulation's.
        scale: labels here over labels of the curve.
    """

    curve: LearningCurve
    words: str
    own: bool
    scale: float = 1.0


def _basis(
    project: Project, seen: Recorded, simulated: dict[tuple[str, str], tuple[LearningCurve, int]]
) -> _Basis:
    """The project's own curve from two points on; else the first simulation's."""
    own = own_curve(seen)
    if own is not None:
        return _Basis(own, f"this project, {counted(len(own.labels), 'round')}", own=True)
    if seen.outdated:
        raise NotReady(in_words(seen.outdated))
    if not simulated:
        raise NotReady(
            f"a plan needs two trained rounds, there are {len(seen.by_labels)}; before that, name "
            "a 'coreloop simulate' folder of a similar set: coreloop plan FOLDER"
        )
    first = next(iter(simulated))[0]
    methods = [method for name, method in simulated if name == first]
    wanted = (project.config.selection.scorer, "auto", "random", methods[0])
    method = next(method for method in wanted if method in methods)
    curve, simulated_classes = simulated[first, method]
    classes = len(project.config.project.classes)
    words = f"simulation of {first!r}, {method}, {counted(len(curve.accuracy), 'seed')}"
    if classes != simulated_classes:
        words += f"; labels times {classes}/{simulated_classes}, for the number of classes"
    return _Basis(curve, words, own=False, scale=classes / simulated_classes)


def _ahead(curve: LearningCurve, seen: Recorded) -> list[int]:
    """Two, four and eight times the labels measured, as far as the pool goes."""
    return [k * curve.have for k in (2, 4, 8) if k * curve.have <= seen.have + seen.left]


def _bought(basis: _Basis, continued: Forecast, labels: int, rng: np.random.Generator) -> Estimate:
    """Accuracy with so many labels in all."""
    curve, total = basis.curve, labels / basis.scale
    if total < curve.have:  # inside a simulated curve: what was measured
        log_labels = np.log(curve.labels)
        values = [np.interp(np.log(total), log_labels, row) for row in curve.accuracy]
        return targets.estimate(np.array(values))
    return targets.estimate(continued.measured(min(total, continued.grid[-1]), rng))


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
    seen: Recorded,
    basis: _Basis,
    plan_: Plan | None,
    price: Price,
    affordable: int | None,
    metric: str,
) -> list[str]:
    """What to know before trusting the numbers."""
    curve = basis.curve
    notes = [in_words(seen.outdated)] if seen.outdated else []
    measuring = seen.test_images if basis.own else curve.test_images
    if measuring < SMALL_TEST:
        images, remedy = "test images", "label more test images"
        if seen.by_sample:
            images, remedy = "images in the random sample", "add images"
            if seen.left:
                remedy = f"type: coreloop measure --add {min(50, seen.left)}"
        notes.append(
            f"there are only {measuring} {images}: one more right or wrong moves the "
            f"accuracy by {100 / max(measuring, 1):.0f} points"
            f"{'' if metric == 'accuracy' else f', the {metric} by more'}; {remedy}"
        )
    if seen.classes_seen == 1:
        notes.append("all labels so far are of one class; the curve says nothing yet")
    if basis.own and curve.now < float(curve.accuracy[:, -2].mean()):
        notes.append(f"{metric} fell in the last round; by chance, or new labels are wrong")
    if price.seconds is None or price.seconds == 0:
        notes.append("no labelling times are known, so no hours; give --seconds-per-label")
    short = plan_ is not None and plan_.verdict == "pool"
    if short or (affordable is not None and affordable > seen.left):
        notes.append(f"the pool has only {counted(seen.left, 'image')} left to label; add images")
    if plan_ is not None and plan_.verdict == "reached" and plan_.now is not None:
        lower, upper = seen.interval
        if lower < plan_.target:
            more = "a larger random sample" if seen.by_sample else "more test images"
            notes.append(
                f"the target lies within the 95 % interval of what was measured "
                f"({100 * lower:.1f} to {100 * upper:.1f} %); {more} would tell"
            )
    return notes
