"""Cells of simulations in the records: what is done, what is missing, stored one by one.

The comparison of a round and ``coreloop simulate`` both keep their cells here, under a simulation
whose digest names everything that decides them besides their own method, budgets and seed; so no
cell is computed twice, and none is taken for one of other labels, embeddings or versions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Simulation, SimulationCell
from db.state import Records
from loop import encoders, scorers
from loop.engine import LOCAL, Engine
from loop.errors import ConfigError
from loop.finish.simulated import FinishedCell, Goals
from loop.project.digests import numbers_digest, start_digest
from loop.project.problem import Problem
from loop.project.project import Project
from loop.project.versions import versions
from loop.scorers import Scorer
from loop.select import picks
from loop.simulation import HIGHEST, CellOutcome, Rule, Schedule, kind, simulate
from loop.train import Trainer

CellProgress = Callable[[int, int], None]
"""(cells done, cells in all)"""
FINISH = "finish"
"""Key of a cell's outcome that holds its finished collections."""
METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "classes_found")
"""Keys of a cell's outcome by which methods can be compared."""


@dataclass(frozen=True)
class Method:
    """A scorer with its hyper-parameters, and the rule that picks by its scores.

    Attributes:
        name: what tables call it.
        rule, skip: as under ``[selection]``.
    """

    name: str
    scorer: str
    params: dict[str, Any] = field(default_factory=dict)
    rule: str = "top"
    skip: float = 0.1

    @property
    def key(self) -> str:
        """What its cells are stored under."""
        params = json.dumps(self.params, sort_keys=True) if self.params else ""
        rule = "" if self.rule == "top" else f" {self.rule}"
        share = f" {self.skip}" if self.rule == "window" else ""
        return f"{self.scorer}{params}{rule}{share}"

    @property
    def kind(self) -> str:
        """See ``loop.simulation.kind``; empty where the scorer is not installed any more."""
        try:
            return kind(scorers.load(self.scorer))
        except ConfigError:
            return ""

    def made(self) -> Scorer:
        """The scorer. Raises ConfigError: unknown name or hyper-parameter."""
        return scorers.get(self.scorer, **self.params)

    def picking(self) -> Rule:
        """The rule."""
        return HIGHEST if self.rule == "top" else partial(picks, self.rule, skip=self.skip)


@dataclass(frozen=True)
class CellGrid:
    """Methods x budgets x seeds. ``budgets``: images labelled in all, ascending."""

    methods: Sequence[Method]
    budgets: Sequence[int]
    seeds: int

    @property
    def size(self) -> int:
        """Cells in it."""
        return len(self.methods) * len(self.budgets) * self.seeds

    def schedules(self, budget: int) -> set[str]:
        """Under which its cells of a budget may be stored: that of rounds at its budgets, or none
        where a method's rounds do not depend on each other."""
        return {"", stored_schedule(tuple(b for b in self.budgets if b <= budget))}


@dataclass(frozen=True)
class StoredCell:
    """A cell as the records have it. ``method``: its name in tables."""

    id: int
    method: str
    budget: int
    seed: int
    accuracy: float


def stored_schedule(schedule: Schedule) -> str:
    """``3,6,15``; empty where the rounds before do not matter."""
    return ",".join(map(str, schedule))


def read_schedule(text: str) -> Schedule:
    """The budgets that ``stored_schedule`` wrote."""
    return tuple(map(int, text.split(","))) if text else ()


def deciding(
    project: Project, pool_digest: str, problem: Problem, trainer: str, params: dict[str, Any]
) -> dict[str, Any]:
    """What decides a cell besides method, budgets and seed; names alone decide nothing, as files
    may be others under the same name, and labels corrected."""
    return {
        "coreloop": versions().get("coreloop"),  # the same names may be other methods there
        "cells": "by schedule",
        "pool": pool_digest,
        "encoder": project.config.encoder,
        "embeddings": encoders.get(project.config.encoder).digest,
        **({"names": problem.task.prior.head.digest} if problem.task.prior else {}),
        **_goal(problem),
        "trainer": trainer,
        "params": params,
        "start": start_digest(trainer, params),
        "answers": numbers_digest(
            problem.rows, problem.labels, problem.test_rows, problem.task.test_labels
        ),
    }


def open_simulation(records: Records, config: dict[str, Any]) -> int:
    """Id of the simulation that this config decides; a new one at its first use."""
    text = json.dumps(config, sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    with records.write("simulation") as session:
        number = session.scalar(select(Simulation.id).where(Simulation.digest == digest))
        if number is not None:
            return number
        simulation = Simulation(digest=digest, config=config, versions=versions())
        session.add(simulation)
        session.flush()
        return simulation.id


def _goal(problem: Problem) -> dict[str, Any]:
    """What the goal changes; nothing where none is set."""
    weigh = problem.task.weigh_classes
    return {} if weigh == "uneven" else {"weigh classes": weigh}


def fill(
    records: Records,
    simulation_id: int,
    grid: CellGrid,
    problem: Problem,
    trainer: Trainer,
    *,
    hindsight: bool = False,
    share: float = 1.0,
    sample: int = 0,
    goals: Goals | None = None,
    imbalance: str = "",
    engine: Engine = LOCAL,
    on_progress: CellProgress = lambda done, total: None,
) -> None:
    """Computes the cells of the grid that are not stored, and stores each as it comes.

    Args:
        problem: its ``labels`` are known for every row of the pool.
        hindsight: the pool are images that are labelled already.
        share: of the pool that each seed draws.
        sample: size of the random sample that each seed labels first.
        goals, imbalance: see ``loop.simulation.simulate``.

    Raises:
        ConfigError: budgets that do not fit, unknown names.
    """
    with records.read() as session:
        stored = stored_cells(session, simulation_id, grid)
    keys = {method.name: method.key for method in grid.methods}
    made = {method.key: method.made() for method in grid.methods}
    outcomes = simulate(
        problem.task,
        problem.labels,
        {key: scorer.in_hindsight() for key, scorer in made.items()} if hindsight else made,
        grid.budgets,
        range(grid.seeds),
        trainer,
        skip={(keys[cell.method], cell.budget, cell.seed) for cell in stored},
        rules={method.key: method.picking() for method in grid.methods if method.rule != "top"},
        share=share,
        sample=sample,
        goals=goals,
        imbalance=imbalance,
        engine=engine,
    )
    for done, outcome in enumerate(outcomes, 1 + len(stored)):
        with records.write("cell") as session:
            session.add(_row(simulation_id, outcome))
        on_progress(done, grid.size)


def stored_cells(
    session: Session, simulation_id: int, grid: CellGrid, metric: str = "accuracy"
) -> list[StoredCell]:
    """The grid's cells that are stored: method by method, budgets and seeds ascending.

    Args:
        metric: of METRICS, what stands as the cells' accuracy.
    """
    names = {method.key: method.name for method in grid.methods}
    schedules = {budget: grid.schedules(budget) for budget in grid.budgets}
    order = {method.name: number for number, method in enumerate(grid.methods)}
    cells = [
        StoredCell(id_, names[key], budget, seed, float(value))
        for id_, key, schedule, budget, seed, value in session.execute(
            select(
                SimulationCell.id,
                SimulationCell.method,
                SimulationCell.schedule,
                SimulationCell.budget,
                SimulationCell.seed,
                SimulationCell.outcome[metric].as_float(),
            ).where(SimulationCell.simulation_id == simulation_id)
        )
        if key in names
        and seed < grid.seeds
        and schedule in schedules.get(budget, ())
        and value is not None  # a metric that an older version did not know
    ]
    return sorted(cells, key=lambda cell: (order[cell.method], cell.budget, cell.seed))


def finished_cells(
    session: Session, simulation_id: int, cells: Sequence[StoredCell]
) -> dict[tuple[str, int, int], FinishedCell]:
    """(method, budget, seed) -> the finished collections of these cells."""
    by_id = finished_by_id(session, simulation_id)
    return {(cell.method, cell.budget, cell.seed): by_id[cell.id] for cell in cells}


def finished_by_id(session: Session, simulation_id: int) -> dict[int, FinishedCell]:
    """Id of a simulation's cell -> its finished collections."""
    kept = session.execute(
        select(SimulationCell.id, SimulationCell.outcome[FINISH].as_json()).where(
            SimulationCell.simulation_id == simulation_id
        )
    )
    return {id_: FinishedCell.from_json(finished) for id_, finished in kept}


def to_json(methods: Sequence[Method]) -> list[dict[str, Any]]:
    """As the records keep methods."""
    return [asdict(method) for method in methods]


def _row(simulation_id: int, outcome: CellOutcome) -> SimulationCell:
    metrics = outcome.metrics
    finished = {FINISH: outcome.finished.to_json()} if outcome.finished else {}
    return SimulationCell(
        simulation_id=simulation_id,
        method=outcome.method,
        schedule=stored_schedule(outcome.schedule),
        budget=outcome.budget,
        seed=outcome.seed,
        outcome={
            "accuracy": metrics.accuracy,
            "balanced_accuracy": metrics.balanced_accuracy,
            "macro_f1": metrics.macro_f1,
            "classes_found": outcome.classes_found,
            "notes": outcome.notes,
            "picks": outcome.picks.tolist(),
            **finished,
        },
        seconds=outcome.seconds,
    )
