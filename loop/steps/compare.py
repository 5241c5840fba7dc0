"""compare: would other selections at the same budget have done better, and by how much?

With an oracle every method is run on the labels it would have got (``simulated``). With people only
their labels exist: methods then choose among the labels collected so far (``hindsight``), which
shows whether fewer, better chosen labels would have been enough, not what other labels would have
brought; the random sample, or a control share of the budget, answers that.

Where a random sample measures there are no test images: methods are then tested on the sample, with
an oracle on a random fifth of the pool, and choose from the other images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from connectors.oracle import Oracle
from db import queries
from db.models import Comparison, Pool, Round
from db.state import Records, advance, log
from loop import train
from loop.config import Config
from loop.project import Project
from loop.project.cells import (
    CellGrid,
    CellProgress,
    Method,
    deciding,
    fill,
    open_simulation,
    to_json,
)
from loop.project.comparison import HINDSIGHT, SIMULATED, Compared, compared
from loop.project.labeler import connect_labeler
from loop.project.problem import Problem, a_fifth, problem, tested_on
from loop.project.rounds import current_round, settings_of
from loop.project.training import labels_until
from loop.train import Trainer


@dataclass(frozen=True)
class _Ground:
    """What a round is compared on.

    Attributes:
        problem: its pool is what methods choose from, its labels what they would get.
        config: what decides the cells besides methods, budgets and seeds.
    """

    round_: Round
    problem: Problem
    trainer: Trainer
    grid: CellGrid
    config: dict[str, Any]

    @property
    def mode(self) -> str:
        """simulated or hindsight."""
        return str(self.config["mode"])


def compare(project: Project, on_progress: CellProgress = lambda done, total: None) -> Compared:
    """Computes the cells that are missing for the current round and moves the round on. What is
    compared already is only read.

    Raises:
        NotReady: the round is not trained.
        ConfigError: a baseline does not exist.
    """
    with project.records.read() as session:
        newest = _newest_trained(session, queries.the_pool(session))
    if newest.state != "compared":
        _compare(project, on_progress)
    return compared(project)


def _newest_trained(session: Session, pool: Pool) -> Round:
    """The round to compare: the newest one; or, once a promise has been made, the newest one that
    is trained. Raises NotReady: there is none."""
    newest = queries.newest_round(session, pool.id)
    runs = queries.runs(session, pool.id, "all")
    if newest is not None and newest.state == "compared" and runs:
        return session.get_one(Round, runs[-1][1].round_id)
    if newest is not None and newest.state == "compared":
        return newest
    return current_round(session, pool, after="trained")


def _compare(project: Project, on_progress: CellProgress) -> None:
    """Fills the grid of the current round and moves the round on."""
    with project.writing() as records:
        with records.read() as session:
            ground = _ground(session, project)
        simulation_id = _fill(records, ground, on_progress)
        names = ", ".join(method.name for method in ground.grid.methods)
        with records.write("compare") as session:
            advance(session, ground.round_.id, before="trained", after="compared")
            if simulation_id is not None:
                session.merge(_comparison(ground, simulation_id))
            log(session, "compare", f"{names} ({ground.mode})", round=ground.round_.number)


def _ground(session: Session, project: Project) -> _Ground:
    """Raises NotReady, ConfigError: see ``compare``."""
    config, pool = project.config, queries.the_pool(session)
    round_ = _newest_trained(session, pool)
    methods = _methods(config, settings_of(round_, config))
    training = config.training
    trainer = train.get(training.trainer, **training.params)
    collected = problem(session, project, side=trainer.image_side)
    learned = labels_until(collected, queries.picks(session, pool.id), round_.number)
    collected = replace(collected, labels=learned)
    labeler = connect_labeler(session, project) if config.labeler.kind == "oracle" else None
    rounds = queries.rounds(session, pool.id)
    sizes = [each.budget for each in rounds if 0 < each.number <= round_.number]
    budgets = list(dict.fromkeys(accumulate(sizes)))
    by_sample = len(collected.sample) > 0
    if isinstance(labeler, Oracle):
        chosen_from = _answered(session, pool, labeler, collected, config.project.classes)
        if by_sample:
            fifth = a_fifth(len(chosen_from.rows), config.project.seed)
            chosen_from = tested_on(chosen_from, fifth)
        if len(chosen_from.rows) < len(collected.rows):
            budgets = [budget for budget in budgets if budget <= len(chosen_from.rows)]
        told: dict[str, Any] = {"mode": SIMULATED}
    else:
        chosen_from = _labelled(
            tested_on(collected, collected.sample.at_random) if by_sample else collected
        )
        among = len(chosen_from.labels)
        budgets = [budget for budget in budgets if budget < among]
        told = {"mode": HINDSIGHT, "among": among}
    decided = deciding(project, pool.digest, chosen_from, training.trainer, training.params)
    grid = CellGrid(methods, budgets, config.compare.seeds)
    return _Ground(round_, chosen_from, trainer, grid, {**decided, **told})


def _methods(config: Config, begun_with: Config) -> list[Method]:
    """The round's own method first, by the settings that it was begun with, then random, then the
    other baselines.

    Raises:
        ConfigError: a scorer or a hyper-parameter is unknown.
    """
    own = begun_with.selection
    methods = [Method(own.scorer, own.scorer, own.params, own.rule, own.skip)]
    for name in dict.fromkeys(["random", *config.compare.baselines]):
        if name != own.scorer:
            methods.append(Method(name, name))
    for method in methods:
        method.made()
    return methods


def _answered(
    session: Session, pool: Pool, oracle: Oracle, collected: Problem, classes: list[str]
) -> Problem:
    """The whole pool, with the labels that the oracle gives or would have given, without images
    whose labels it does not know."""
    index = {name: i for i, name in enumerate(classes)}
    keys = queries.row_keys(session, pool.id)
    pool_keys = [keys[int(row)] for row in collected.rows]
    answers = oracle.reveal(pool_keys)
    known = [index[answers[key]] if key in answers else -1 for key in pool_keys]
    answered = replace(collected, labels=np.array(known, dtype=np.int64))
    return answered if len(answers) == len(pool_keys) else _labelled(answered)


def _labelled(collected: Problem) -> Problem:
    """The images labelled so far alone; none where people skipped every pick."""
    rows = np.flatnonzero(collected.labels >= 0)
    return replace(
        collected,
        task=collected.task.restricted(rows),
        labels=collected.labels[rows],
        rows=collected.rows[rows],
        covered=collected.covered[rows],
    )


def _fill(records: Records, ground: _Ground, on_progress: CellProgress) -> int | None:
    """Id of the simulation that holds the cells; None in hindsight while there is nothing to
    choose: no budget leaves out an image that is labelled."""
    if not ground.grid.budgets:
        return None
    simulation_id = open_simulation(records, ground.config)
    fill(
        records,
        simulation_id,
        ground.grid,
        ground.problem,
        ground.trainer,
        hindsight=ground.mode == HINDSIGHT,
        on_progress=on_progress,
    )
    return simulation_id


def _comparison(ground: _Ground, simulation_id: int) -> Comparison:
    return Comparison(
        round_id=ground.round_.id,
        simulation_id=simulation_id,
        methods=to_json(ground.grid.methods),
        budgets=list(ground.grid.budgets),
        seeds=ground.grid.seeds,
    )
