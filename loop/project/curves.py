"""What ``simulate`` has stored, as learning curves."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from db import queries
from db.models import Simulation, SimulationCell
from loop.encoders.spec import short
from loop.errors import NotReady
from loop.finish.simulated import Goals
from loop.goals import key_of
from loop.planning.backtest import SimulatedRun
from loop.planning.curves import LearningCurve
from loop.planning.finish_backtest import FinishedRun
from loop.project.cells import finished_by_id, read_schedule
from loop.project.project import Project, find
from loop.simulation import Schedule

TOLD = ("encoder", "trainer", "params", "labels", "share", "sample", "finish", "coreloop")
"""What tells simulations of one project apart, in words."""


def stored(folders: Sequence[Path], metric: str = "accuracy") -> list[SimulatedRun]:
    """Every (simulation, method, seed) of these project folders, as a run.

    Args:
        metric: see ``loop.goals``.

    Raises:
        ConfigError: a folder is no project.
        NotReady: a project has no simulated cell.
    """
    runs: list[SimulatedRun] = []
    for folder in folders:
        with find(folder) as project:
            runs += _runs(project, metric)
    return runs


def own(project: Project, metric: str = "accuracy") -> list[SimulatedRun]:
    """The runs of a project's own simulation; none if there is none."""
    try:
        return _runs(project, metric)
    except NotReady:
        return []


def finished(folders: Sequence[Path]) -> list[FinishedRun]:
    """Those of the stored runs whose cells went on to finished collections.

    Raises:
        ConfigError: a folder is no project.
        NotReady: there is none.
    """
    runs: list[FinishedRun] = []
    for folder in folders:
        with find(folder) as project, project.records.read() as session:
            runs += _finished(session, project)
    if not runs:
        raise NotReady(
            "no simulated cell went on to a finished collection; make some, e.g. "
            "coreloop simulate FOLDER --methods random,auto --per-class 2,5,10,20 --finish"
        )
    return runs


def _finished(session: Session, project: Project) -> list[FinishedRun]:
    runs = []
    for simulated in _simulated(session, project):
        goals = simulated.simulation.config.get("finish")
        if goals:
            by_id = finished_by_id(session, simulated.simulation.id)
            cells = [by_id[id_] for id_ in simulated.cell_ids]
            runs.append(FinishedRun(simulated.run, cells, Goals.read(goals).confidence))
    return runs


def _runs(project: Project, metric: str) -> list[SimulatedRun]:
    """One for each simulation, method and seed. Raises NotReady: there is none."""
    with project.records.read() as session:
        runs = [simulated.run for simulated in _simulated(session, project, metric)]
    if not runs:
        raise NotReady(
            f"{project.root} has no simulated cell; make some, e.g. "
            "coreloop simulate FOLDER --methods random,auto --per-class 1,2,4,8,16"
        )
    return runs


@dataclass(frozen=True)
class _Simulated:
    """A run with the ids of its cells, one for each point."""

    run: SimulatedRun
    cell_ids: list[int]
    simulation: Simulation


def _simulated(session: Session, project: Project, metric: str = "accuracy") -> list[_Simulated]:
    """By name, method and seed."""
    pool = queries.the_pool(session)
    test_images = queries.item_count(session, pool.id, "test")
    simulations = [
        simulation
        for simulation in session.scalars(select(Simulation).order_by(Simulation.id))
        if "mode" not in simulation.config  # else a round's comparison
    ]
    names = _names(project.config.project.name, simulations)
    runs = []
    for simulation, name in zip(simulations, names, strict=True):
        for (method, seed), by_budget in _points(session, simulation.id, metric).items():
            budgets = sorted(by_budget)
            run = SimulatedRun(
                name,
                method,
                seed,
                np.array(budgets, dtype=np.float64),
                np.array([by_budget[budget].accuracy for budget in budgets]),
                test_images,
                len(project.config.project.classes),
            )
            ids = [by_budget[budget].cell_id for budget in budgets]
            runs.append(_Simulated(run, ids, simulation))
    return sorted(runs, key=lambda each: (each.run.set, each.run.method, each.run.seed))


class _CellAccuracy(NamedTuple):
    cell_id: int
    accuracy: float


def _points(
    session: Session, simulation_id: int, metric: str
) -> dict[tuple[str, int], dict[int, _CellAccuracy]]:
    """(method, seed) -> budget -> its cell, of the rounds that were measured most."""
    stored = session.execute(
        select(
            SimulationCell.id,
            SimulationCell.method,
            SimulationCell.schedule,
            SimulationCell.seed,
            SimulationCell.budget,
            SimulationCell.outcome[key_of(metric)].as_float(),
        ).where(SimulationCell.simulation_id == simulation_id)
    )
    by_method: dict[str, list[tuple[Schedule, int, int, _CellAccuracy]]] = defaultdict(list)
    for id_, method, schedule, seed, budget, accuracy in stored:
        point = _CellAccuracy(id_, accuracy)
        by_method[method].append((read_schedule(schedule), seed, budget, point))
    points: dict[tuple[str, int], dict[int, _CellAccuracy]] = defaultdict(dict)
    for method, cells in by_method.items():
        rounds = most_measured([schedule for schedule, *_ in cells])
        for schedule, seed, budget, point in cells:
            if schedule in rounds:
                points[method, seed][budget] = point
    return points


def most_measured(schedules: Sequence[Schedule]) -> set[Schedule]:
    """Of the schedules of a method's cells, those of rounds that go on from each other and have the
    most cells: rounds of other sizes are another curve."""
    counts = Counter(schedules)

    def rounds(last: Schedule) -> set[Schedule]:
        return {last[:size] for size in range(1, len(last) + 1)} or {last}

    def cells(last: Schedule) -> tuple[int, Schedule]:
        return sum(counts[schedule] for schedule in rounds(last)), last

    return rounds(max(counts, key=cells))


def _names(name: str, simulations: Sequence[Simulation]) -> list[str]:
    """A name for each simulation of a project: what they differ in follows the project's name, so
    that runs on other labels, shares or embeddings are never taken for seeds of one another."""
    settings = [
        {key: str(simulation.config.get(key) or "-") for key in TOLD} for simulation in simulations
    ]
    for values in settings:
        values["encoder"] = short(values["encoder"])
    keys = [key for key in TOLD if len({values[key] for values in settings}) > 1]
    names = [", ".join([name, *(f"{key} {values[key]}" for key in keys)]) for values in settings]
    return [
        told if names.count(told) == 1 else f"{told}, number {simulation.id}"
        for told, simulation in zip(names, simulations, strict=True)
    ]


def curves(runs: Sequence[SimulatedRun]) -> dict[tuple[str, str], tuple[LearningCurve, int]]:
    """(set, method) -> (curve over the seeds, classes), at the budgets that all its seeds have.

    Methods with fewer than two such budgets are left out.
    """
    groups: dict[tuple[str, str], list[SimulatedRun]] = defaultdict(list)
    for run in runs:
        groups[run.set, run.method].append(run)
    drawn = {}
    for key, seeds in groups.items():
        shared = sorted(set.intersection(*[set(run.labels) for run in seeds]))
        if len(shared) > 1:
            table = np.array([run.accuracy[np.isin(run.labels, shared)] for run in seeds])
            curve = LearningCurve(np.array(shared), table, seeds[0].test_images)
            drawn[key] = curve, seeds[0].classes
    return drawn
