"""autolabel: the model's labels for what nobody labelled, with a promise about their error.

The model is frozen, a random sample of the unlabelled images goes to people like a round, and the
loosest confidence is found from which on so few of its labels are wrong that the goal holds. Images
below it go to people as a last round, the most doubtful first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db import arrays, queries
from db.answers import asked_for
from db.errors import Missing, StaleRound
from db.models import Pool, Promise, Round
from db.picks import add_picks
from db.state import advance, log
from loop.errors import ConfigError, NotReady
from loop.finish.by_class import draw
from loop.finish.cost import Cost, cheapest, costs
from loop.finish.promise import (
    check_alpha,
    check_possible,
    spent,
)
from loop.planning.target import Price
from loop.project import Project
from loop.project.completion import Completion, completion
from loop.project.labels import Labels, collect
from loop.project.measurement import newest_measurement
from loop.project.model import Kept, model_of, newest_model
from loop.project.outcome import outcome_of, rest_of
from loop.project.promise import (
    PREDICTED,
    Frozen,
    freeze,
    load_frozen,
    of_promise,
    write_frozen,
)
from loop.project.recorded import Wish, price_of
from loop.project.rounds import new_round, over
from loop.seeds import generator
from loop.wording import counted

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Goal:
    """What is promised.

    Attributes:
        max_error: wrong labels, as a share of all images of the collection.
        confidence: probability that it holds.
        per_class: the share holds for the images of each class instead.
        more_people: what the model is not sure of goes to people; else it is left out.
    """

    max_error: float
    confidence: float = 0.95
    per_class: bool = False
    more_people: bool = True


@dataclass(frozen=True)
class FinishOutlook:
    """What finishing will take, said before anything is drawn.

    Attributes:
        goal: what is to be promised.
        images: of the collection; ``unlabelled`` of these.
        model: the round after which the model was trained.
        look: how many promises there will have been; ``alpha`` what this one may break.
        cost: labels from now on; of one class at a time it is not simulated: None.
        sizes: cost by the size of the calibration sample.
        price: of a label, in ``currency``.
    """

    goal: Goal
    images: int
    unlabelled: int
    model: int
    look: int
    alpha: float
    cost: Cost | None
    sizes: list[Cost]
    price: Price
    currency: str


def outlook(project: Project, goal: Goal, size: int | None = None) -> FinishOutlook:
    """What the goal takes with the model as it is.

    Args:
        size: images of the calibration sample, if a person said; None: the cheapest.

    Raises:
        NotReady: no model is kept, or a round is open.
        StaleRound: a promise is open.
        DataError: the goal cannot be, or every image is labelled.
    """
    with project.records.read() as session:
        start = _start(session, project, goal)
        measured = newest_measurement(session, queries.the_pool(session).id, project.config)
        price = price_of(project, Wish(), asked_for(start.labels.answers))
    if size is not None:
        _check_size(start, goal, size)
    accuracy = (0.5, 0.0, 1.0)
    if measured is not None:
        accuracy = (measured.accuracy, measured.lower, measured.upper)
    confidence = start.frozen.confidence[start.frozen.population]
    sizes = []
    if not goal.per_class:
        rng = generator(project.config.project.seed, "finish")
        sizes = costs(confidence, accuracy, start.images, goal.max_error, start.alpha, rng)
    return FinishOutlook(
        goal=goal,
        images=start.images,
        unlabelled=len(confidence),
        model=start.kept.model.about.round,
        look=start.look,
        alpha=start.alpha,
        cost=cheapest(sizes) if sizes else None,
        sizes=sizes,
        price=price,
        currency=project.config.costs.currency,
    )


@dataclass(frozen=True)
class _Start:
    """What a promise is made of, before its sample is drawn."""

    kept: Kept
    frozen: Frozen
    labels: Labels
    images: int
    look: int
    alpha: float


def _start(session: Session, project: Project, goal: Goal) -> _Start:
    """Raises: see ``outlook``."""
    check_alpha(1 - goal.confidence)
    pool = queries.the_pool(session)
    _check_over(session, pool)
    kept = newest_model(session, project)
    labels = collect(session, pool, project.config)
    frozen = freeze(session, project, kept)
    images = len(labels.by_row) + len(frozen.population)
    look = 1 + len(queries.promises(session, pool.id))
    alpha = spent(1 - goal.confidence, look)
    check_possible(len(frozen.population), len(frozen.population), images, goal.max_error, alpha)
    return _Start(kept, frozen, labels, images, look, alpha)


def _check_over(session: Session, pool: Pool) -> None:
    newest = queries.newest_round(session, pool.id)
    promised = queries.promise_of(session, newest.id) if newest else None
    if newest and promised and newest.state != "compared":
        raise StaleRound(
            f"promise {promised.look} (at most {100 * promised.max_error:g} % errors) is open: "
            f"{newest.name} is {newest.state!r}. 'coreloop run' goes on with it; 'coreloop pull "
            "--close' ends it with the answers there are"
        )
    over(session, pool)


def _check_size(start: _Start, goal: Goal, size: int) -> None:
    """Raises ConfigError, DataError: no sample of that size can be drawn, or promise the goal."""
    population = len(start.frozen.population)
    if not 1 <= size <= population:
        raise ConfigError(
            f"the calibration sample has between 1 and {counted(population, 'image')} (those that "
            f"no round has picked), got {size}"
        )
    if not goal.per_class:
        check_possible(population, size, start.images, goal.max_error, start.alpha)


def autolabel(project: Project, goal: Goal, size: int) -> int:
    """Freezes the model, draws the calibration sample and begins its round; the round's number.

    Args:
        size: images of the sample.

    Raises:
        NotReady, StaleRound, DataError: see ``outlook``.
        DataError: so few labels can promise nothing; says how many can.
    """
    with project.writing() as records:
        with records.read() as session:
            start = _start(session, project, goal)
        frozen, population = start.frozen, start.frozen.population
        _check_size(start, goal, size)
        paths = write_frozen(frozen, project.arrays)
        with records.write("autolabel") as session:
            pool = queries.the_pool(session)
            _check_over(session, pool)
            round_ = new_round(session, pool, project.config, size, selected=True)
            rng = generator(round_.seed, "calibration")
            if goal.per_class:
                drawn = population[draw(frozen.labels[population].astype(np.int64), size, rng)]
            else:
                drawn = rng.permutation(population)[:size]
            share = size / len(population)
            add_picks(session, round_, drawn, "calibration", probability=share)
            arrays.record_all(
                session, paths, pool_id=pool.id, kind=PREDICTED, of=of_promise(start.look)
            )
            session.add(
                Promise(
                    round_id=round_.id,
                    look=start.look,
                    max_error=goal.max_error,
                    confidence=goal.confidence,
                    alpha=start.alpha,
                    per_class=goal.per_class,
                    more_people=goal.more_people,
                    model=start.kept.digest,
                    images=start.images,
                )
            )
            most = f"an error of at most {100 * goal.max_error:g} %"
            text = f"{counted(size, 'image')} to calibrate {most}"
            log(session, "autolabel", text, round=round_.number)
            return round_.number


def settle(project: Project) -> Completion:
    """Ends a round of a promise that people have labelled: by the calibration sample the threshold
    is found, and what lies below it becomes the last round.

    An image of the sample without a label counts as one on which the model is wrong.

    Raises:
        NotReady: the newest round is no labelled one of a promise.
    """
    with project.writing() as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            newest, made = _labelled(session, pool)
            outcome: dict[str, Any] | None = None
            rest: Rows = np.empty(0, np.int64)
            if made.round_id == newest.id:
                frozen = load_frozen(session, project, made)
                labels = collect(session, pool, project.config, absent=True)
                outcome = outcome_of(session, project, made, frozen, labels)
                rest = rest_of(session, made, frozen, outcome)
                rest = rest[~np.isin(rest, list(queries.absences(session, pool.id)))]
        with records.write("settle") as session:
            advance(session, newest.id, before="labeled", after="compared")
            if outcome is not None:
                kept = session.get_one(Promise, made.id)
                kept.outcome = outcome
                if len(rest) and made.more_people and outcome["accepted"]:
                    last = new_round(session, pool, project.config, len(rest), selected=True)
                    add_picks(session, last, rest, "rest", -frozen.confidence[rest])
                    kept.rest_id = last.id
                accepted = counted(outcome["accepted"], "image")
                text = f"{accepted} labelled by the model, {len(rest)} left"
                log(session, "settle", text, round=newest.number)
        with records.read() as session:
            return completion(session, project)


def _labelled(session: Session, pool: Pool) -> tuple[Round, Promise]:
    """The newest round, if it is a labelled one of a promise. Raises NotReady."""
    newest = queries.newest_round(session, pool.id)
    promised = queries.promise_of(session, newest.id) if newest else None
    if newest is None or promised is None or newest.state != "labeled":
        raise NotReady("no labelled round of a promise waits; next: coreloop status")
    return newest, promised


def freeze_again(project: Project, of: str, count: int) -> None:
    """Computes again what the model of a promise said of the ``count`` images that there were.

    Args:
        of: ``promise-<look>``.

    Raises:
        Missing, DataError: the promise or its model is not there any more.
    """
    with project.writing() as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            made = next(
                (p for p in queries.promises(session, pool.id) if of_promise(p.look) == of), None
            )
            if made is None:
                raise Missing(f"{of} is not recorded")
            kept = model_of(session, project, made.model)
            number = session.get_one(Round, made.round_id).number
            frozen = freeze(session, project, kept, before=number, count=count)
        paths = write_frozen(frozen, project.arrays)
        with records.write("freeze-again") as session:
            arrays.record_all(session, paths, pool_id=pool.id, kind=PREDICTED, of=of)
