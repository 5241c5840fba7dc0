"""score: how soon each image of the pool should be labelled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db import arrays, queries
from db.models import Round
from db.state import Records, advance, log
from loop import scorers, train
from loop.config import SelectionSection
from loop.engine import LOCAL, Engine
from loop.errors import DataError, NotReady
from loop.project import Project
from loop.project.choice import undoubled
from loop.project.embeddings import embeddings
from loop.project.near_duplicates import find_duplicates
from loop.project.placed import placed
from loop.project.problem import Problem, problem
from loop.project.rounds import (
    begin_round,
    current_round,
    edited_since,
    is_over,
    one_more,
    settings_of,
)
from loop.scorers import Inputs, Scorer
from loop.scorers.inputs import inputs_for
from loop.seeds import generator
from loop.train import Trainer
from loop.wording import counted

NOTE = "note"
"""Key in an explanation: what a person should know before the picks are made."""


def score(project: Project, where: Engine = LOCAL) -> dict[str, Any]:
    """Scores the pool for the current round, or, where that is over, for the next one, which this
    begins; what the scorer explains of itself.

    Args:
        where: the engine for methods that fall into independent pieces; scores are the same.

    Raises:
        NotReady: the round is past this step, all rounds are over, the images are not embedded, or
            the scorer needs labels that are not there yet.
        DataError: the scorer answered something that is no score.
    """
    _begin_next(project)
    training = project.config.training
    with project.writing() as records:
        trainer = train.get(training.trainer, **training.params)
        with records.read() as session:
            pool = queries.the_pool(session)
            round_ = current_round(session, pool, after="planned")
            selection = settings_of(round_, project.config).selection
            edited = edited_since(round_, project.config)
            scorer = scorers.get(selection.scorer, **selection.params)
            fits_network = trainer.wants == "images" and "fit" in scorer.wants(True)
            problem_ = problem(session, project, side=trainer.image_side if fits_network else 0)
        available, doubled = _to_pick_from(project, records, selection, problem_, round_.budget)
        inputs = _inputs(scorer, problem_, available, round_, trainer, where)
        scores = checked(scorer.score(inputs), selection.scorer, inputs.n)
        again = replace(inputs, rng=generator(round_.seed, "explain"))
        explanation = {"scorer": selection.scorer, **scorer.explain(again)}
        if edited or doubled:
            explanation[NOTE] = edited or doubled
        with records.read() as session:
            by_place = placed(session, pool.id, problem_.rows, scores)
        path = arrays.write_file(by_place, project.arrays)
        with records.write("score") as session:
            advance(
                session,
                round_.id,
                before="planned",
                after="scored",
                explanation=explanation,
                config={**round_.config, "encoder": project.config.encoder},
            )
            of = f"round-{round_.number}"
            arrays.record(session, path, pool_id=pool.id, kind="scores", name="coreset", of=of)
            log(
                session,
                "score",
                f"{selection.scorer}, {counted(inputs.n, 'image')}",
                round=round_.number,
            )
        return explanation


def _begin_next(project: Project) -> None:
    """Begins a round where none is open.

    Raises:
        NotReady: the scan did not finish, the images are not embedded, or all rounds are over.
    """
    with project.records.read() as session:
        pool = queries.the_pool(session)
        if not is_over(session, pool):
            return
        embeddings(session, project)  # no round begins that nothing could be picked for
        more = one_more(session, project.config, pool.id)
    if begin_round(project) is None:
        rest = more or "every image is picked"
        raise NotReady(f"all planned rounds are over; {rest}")


def _to_pick_from(
    project: Project,
    records: Records,
    selection: SelectionSection,
    problem_: Problem,
    budget: int,
) -> tuple[NDArray[np.bool_], str]:
    """(N,) the images that may be picked: near-duplicates of picks only where the settings let
    them, or where nothing else is left, which is said."""
    if selection.near_duplicates == "one":
        find_duplicates(project, records, selection.near_duplicate_cosine)
    available, covered = problem_.available, problem_.covered
    with records.read() as session:
        one_each = undoubled(session, project, selection, problem_.rows, available, covered)
    if budget <= one_each.sum() or one_each.sum() == available.sum():
        return one_each, ""
    return available, "so few images are left that near-duplicates are picked too"


def _inputs(
    scorer: Scorer,
    problem_: Problem,
    available: NDArray[np.bool_],
    round_: Round,
    trainer: Trainer,
    where: Engine,
) -> Inputs:
    """What the scorer sees; nobody knows more labels than those collected."""
    seed = round_.seed
    return inputs_for(
        scorer,
        problem_.task,
        problem_.shown_labels,
        problem_.covered,
        round_.budget,
        trainer,
        seed=seed,
        rng=generator(seed, "score"),
        model_rng=generator(seed, "score model"),
        available=available,
        engine=where,
    )


def checked(scores: Any, name: str, n: int) -> NDArray[np.float64]:
    """The scorer's answer, if it keeps the contract.

    Raises:
        DataError: wrong shape or not finite.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != (n,):
        raise DataError(f"scorer {name!r} answered shape {scores.shape}, expected ({n},)")
    if not np.isfinite(scores).all():
        row = int(np.argmin(np.isfinite(scores)))
        raise DataError(f"scorer {name!r} answered {scores[row]} for row {row}, not a number")
    return scores
