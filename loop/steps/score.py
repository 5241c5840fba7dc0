"""score: how soon each image of the pool should be labelled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db import arrays, queries
from db.state import advance, log
from loop import scorers, train
from loop.engine import LOCAL, Engine
from loop.errors import DataError, NotReady
from loop.project import Project
from loop.project.problem import Problem, problem
from loop.project.rounds import current_round, edited_since, settings_of, stated
from loop.scorers import Inputs, Scorer
from loop.seeds import generator


def score(project: Project, where: Engine = LOCAL) -> dict[str, Any]:
    """Scores the pool for the current round; what the scorer explains of itself.

    Args:
        where: the engine for methods that fall into independent pieces; scores are the same.

    Raises:
        NotReady: no round is planned, or the scorer needs labels that are not there yet.
        DataError: the scorer answered something that is no score.
    """
    with project.writing() as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            round_ = current_round(session, pool, after="planned")
            problem_ = problem(session, project)
        selection = settings_of(round_, project.config).selection
        scorer = scorers.get(selection.scorer, **selection.params)
        learns_from = train.get(project.config.training.trainer).wants
        inputs = inputs_for(scorer, problem_, round_.budget, round_.seed, where, learns_from)
        scores = checked(scorer.score(inputs), selection.scorer, inputs.n)
        again = replace(inputs, rng=generator(round_.seed, "explain"))
        explanation = {"scorer": selection.scorer, **scorer.explain(again)}
        edited = edited_since(round_, project.config)
        path = arrays.write_file(scores, project.arrays)
        with records.write("score") as session:
            advance(
                session,
                round_.id,
                before="planned",
                after="scored",
                explanation=explanation,
                config=stated(round_, project.config, "encoder"),
            )
            arrays.record(
                session,
                path,
                pool_id=pool.id,
                kind="scores",
                name="coreset",
                of=f"round-{round_.number}",
            )
            log(session, "score", f"{selection.scorer}, {inputs.n} images", round=round_.number)
            if edited:
                log(session, "score", edited, round=round_.number, level="warning")
        return explanation


def inputs_for(
    scorer: Scorer, found: Problem, budget: int, seed: int, where: Engine, learns_from: str
) -> Inputs:
    """What the scorer asked for and nothing else: label-free scorers never see a label.

    Raises:
        NotReady: it needs labels and there are none.
    """
    task, n = found.task, len(found.task.pool)
    has_labels = bool((found.labels >= 0).any())
    needs = scorer.wants(has_labels)
    if "probabilities" in needs and "labels" not in needs and not has_labels:
        raise NotReady(
            "this scorer needs a model, so it cannot choose the first round; "
            "set scorer = 'auto' under [selection] for the first round"
        )
    if "labels" in needs:
        raise NotReady(
            "this scorer needs a label on every image, so it can only be compared with "
            "('coreloop simulate', baselines under [compare]), not choose what to label"
        )
    labels = found.labels if "collected" in needs else np.full(n, -1, np.int64)
    trainer = train.get("linear")
    probabilities = None
    if "probabilities" in needs:
        probabilities = trainer.train(
            task, found.labels, generator(seed, "score model"), pool_probabilities=True
        ).pool_probabilities
    return Inputs(
        embeddings=task.pool,
        budget=budget,
        rng=generator(seed, "score"),
        covered=found.covered,
        labels=labels,
        n_classes=task.n_classes,
        classifier=learns_from,
        probabilities=probabilities,
        fit=(lambda y: trainer.dynamics(task, y, generator(seed, "fit")))
        if "fit" in needs
        else None,
        device=task.device,
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
