"""The plan to finish: the cheapest way from the newest model to a label for every image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from db import queries
from loop.errors import NotReady
from loop.finish.promise import allowed_wrong, check_alpha, spent
from loop.planning.curves import LearningCurve, forecast
from loop.planning.finish import Unfinished, Way, best, ladder, ways
from loop.planning.finish_backtest import (
    FinishOutcome,
    FinishSummary,
    backtest_finish,
    finish_summary,
)
from loop.planning.target import Estimate, Price
from loop.project import curves
from loop.project.completion import completion
from loop.project.corrections import in_words
from loop.project.labels import collect
from loop.project.model import newest_model
from loop.project.project import Project
from loop.project.promise import freeze
from loop.project.recorded import Wish, own_curve, price_of, recorded
from loop.seeds import generator
from loop.wording import agreeing, counted

NEARLY_ALL = 0.9
"""Share of the images left from which on a plan says that finishing by a model saves little."""


@dataclass(frozen=True)
class FinishPlan:
    """What finishing takes, by the picks before it.

    Attributes:
        max_error, confidence: what is to be promised.
        images: of the collection; ``unlabelled`` of these no round has picked.
        model: the round after which the newest model was trained.
        ways: by further picks, ascending; ``cheapest`` has the fewest labels.
        hours, money: of the cheapest; None where no price is known.
        command: what to type next.
        notes: what to know before trusting the numbers.
    """

    max_error: float
    confidence: float
    images: int
    unlabelled: int
    model: int
    ways: list[Way]
    cheapest: Way
    hours: Estimate | None
    money: Estimate | None
    price: Price
    command: str
    notes: list[str]


def plan_finish(
    project: Project, wish: Wish, max_error: float, confidence: float = 0.95
) -> FinishPlan:
    """The cheapest way.

    Args:
        wish: what labels cost; nothing else of it counts.

    Raises:
        NotReady: no model is kept, fewer than two rounds are trained, or nothing is left to label.
        DataError: a number outside (0, 1).
    """
    allowed_wrong(max_error, images=1)
    check_alpha(1 - confidence)
    seen = recorded(project)
    with project.records.read() as session:
        model, looks = newest_model(session, project).model.about.round, _looks(session)
        unfinished, waiting = _unfinished(session, project, max_error, confidence, looks)
    curve = own_curve(seen)
    if curve is None and seen.outdated:
        raise NotReady(in_words(seen.outdated))
    if curve is None:
        raise NotReady(
            "how good a model with more labels will be is forecast from two trained rounds, and "
            f"there is {len(seen.by_labels)}; what finishing takes with the model as it is: "
            f"coreloop autolabel --dry-run --max-error {max_error:g}"
        )
    left, seed = len(unfinished.confidence), project.config.project.seed
    some = ways(
        forecast(curve, generator(seed, "plan")),
        unfinished,
        ladder(project.config.selection.budgets[-1], left, curve.have),
        lambda: generator(seed, "plan-finish"),
    )
    chosen, price = best(some), price_of(project, wish, seen.answers)
    return FinishPlan(
        max_error=max_error,
        confidence=confidence,
        images=unfinished.images,
        unlabelled=left,
        model=model,
        ways=some,
        cheapest=chosen,
        hours=_times(chosen.labels, price.hours),
        money=_times(chosen.labels, price.money),
        price=price,
        command=_command(chosen, max_error, confidence),
        notes=_notes(chosen, curve, left, waiting, price),
    )


def measure_finish(folders: Sequence[Path]) -> tuple[list[FinishSummary], list[FinishOutcome]]:
    """Backtest on stored simulations that were finished: a line by set and goal, all outcomes.

    Raises:
        NotReady: no cell was finished, or no run has more than two budgets.
    """
    outcomes = list(backtest_finish(curves.finished(folders)))
    if not outcomes:
        raise NotReady(
            "no finished run has three budgets; simulate more, e.g. "
            "coreloop simulate FOLDER --methods random,auto --per-class 2,5,10,20 --finish"
        )
    return finish_summary(outcomes), outcomes


def _looks(session: Session) -> int:
    """Promises so far."""
    return len(queries.promises(session, queries.the_pool(session).id))


def _unfinished(
    session: Session, project: Project, max_error: float, confidence: float, looks: int
) -> tuple[Unfinished, int]:
    """The collection as it is, and images that were picked and have no label.

    Raises:
        NotReady: every image is labelled, or picked.
    """
    pool = queries.the_pool(session)
    so_far = completion(session, project)
    if so_far.finished:
        raise NotReady(
            f"every image has a label ({so_far.by_people} by people, {so_far.by_model} by the "
            "model), so nothing is left to plan; the labels: coreloop export --all"
        )
    frozen = freeze(session, project, newest_model(session, project))
    labels = collect(session, pool, project.config).by_row
    picked = queries.picked_rows(session, pool.id)
    waiting = sum(int(row) not in labels for row in picked)
    values = frozen.confidence[frozen.population]
    if not len(values):
        raise NotReady("every image is picked already, so nothing is left to plan: coreloop run")
    alpha = spent(1 - confidence, looks + 1)
    return Unfinished(values, len(labels) + len(values), max_error, alpha), waiting


def _times(labels: Estimate, each: float | None) -> Estimate | None:
    return None if each is None else Estimate(*(value * each for value in labels))


def _command(chosen: Way, max_error: float, confidence: float) -> str:
    """What to type next."""
    if chosen.picks:
        return f"coreloop run --budget {chosen.picks}"
    of_confidence = "" if confidence == 0.95 else f" --confidence {confidence:g}"
    return f"coreloop autolabel --max-error {max_error:g}{of_confidence}"


def _notes(chosen: Way, curve: LearningCurve, left: int, waiting: int, price: Price) -> list[str]:
    """What to know before trusting the numbers."""
    notes = []
    if chosen.labels.median > NEARLY_ALL * left:
        notes.append(
            f"so small an error of so few images saves little: people label nearly all {left}"
        )
    if waiting:
        notes.append(
            f"{counted(waiting, 'picked image')} without a label {agreeing(waiting, 'is')} no part "
            "of this"
        )
    if len(curve.labels) == 2:
        notes.append("two rounds say little of the curve; a third narrows the interval")
    if not price.seconds:
        notes.append("no labelling times are known, so no hours; give --seconds-per-label")
    return notes
