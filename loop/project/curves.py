"""What ``simulate`` has stored, as learning curves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sqlalchemy import select

from db import queries
from db.models import Cell, Simulation
from loop.encoders.spec import short
from loop.errors import NotReady
from loop.planning.backtest import SimulatedRun
from loop.planning.curves import LearningCurve
from loop.project.project import Project, find

TOLD = ("encoder", "trainer", "params", "labels", "share", "coreloop")
"""What tells simulations of one project apart, in words."""


def stored(folders: Sequence[Path]) -> list[SimulatedRun]:
    """Every (simulation, method, seed) of these project folders, as a run.

    Raises:
        ConfigError: a folder is no project.
        NotReady: a project has no simulated cell.
    """
    runs: list[SimulatedRun] = []
    for folder in folders:
        with find(folder) as project:
            runs += _runs(project)
    return runs


def own(project: Project) -> list[SimulatedRun]:
    """The runs of a project's own simulation; none if there is none."""
    try:
        return _runs(project)
    except NotReady:
        return []


def _runs(project: Project) -> list[SimulatedRun]:
    classes, name = len(project.config.project.classes), project.config.project.name
    with project.records.read() as session:
        pool = queries.the_pool(session)
        test_images = queries.item_count(session, pool.id, "test")
        simulations = session.scalars(select(Simulation).order_by(Simulation.id)).all()
        names = _names(name, simulations)
        points: dict[tuple[str, str, int], dict[int, float]] = defaultdict(dict)
        for found, shown in zip(simulations, names, strict=True):
            cells = select(
                Cell.method, Cell.seed, Cell.budget, Cell.outcome["accuracy"].as_float()
            ).where(Cell.simulation_id == found.id)
            for method, seed, budget, accuracy in session.execute(cells):
                points[shown, method, seed][budget] = accuracy
    if not points:
        raise NotReady(
            f"{project.root} has no simulated cell; make some, e.g. "
            "coreloop simulate FOLDER --methods random,auto --per-class 1,2,4,8,16"
        )
    return [
        SimulatedRun(
            shown,
            method,
            seed,
            np.array(sorted(found), dtype=np.float64),
            np.array([found[n] for n in sorted(found)]),
            test_images,
            classes,
        )
        for (shown, method, seed), found in sorted(points.items())
    ]


def _names(name: str, simulations: Sequence[Simulation]) -> list[str]:
    """A name for each simulation of a project: what they differ in follows the project's name, so
    that runs on other labels, shares or embeddings are never taken for seeds of one another."""
    told = [{key: str(one.config.get(key) or "-") for key in TOLD} for one in simulations]
    told = [{**mine, "encoder": short(mine["encoder"])} for mine in told]
    differ = [key for key in TOLD if len({mine[key] for mine in told}) > 1]
    names = [", ".join([name, *(f"{key} {mine[key]}" for key in differ)]) for mine in told]
    return [
        one if names.count(one) == 1 else f"{one}, number {found.id}"
        for one, found in zip(names, simulations, strict=True)
    ]


def curves(runs: Sequence[SimulatedRun]) -> dict[tuple[str, str], tuple[LearningCurve, int]]:
    """(set, method) -> (curve over the seeds, classes), at the budgets that all its seeds have.

    Methods with fewer than two such budgets are left out.
    """
    groups: dict[tuple[str, str], list[SimulatedRun]] = defaultdict(list)
    for run in runs:
        groups[run.set, run.method].append(run)
    out = {}
    for key, mine in groups.items():
        shared = sorted(set.intersection(*[set(run.labels) for run in mine]))
        if len(shared) > 1:
            table = np.array([run.accuracy[np.isin(run.labels, shared)] for run in mine])
            curve = LearningCurve(np.array(shared), table, mine[0].test_images)
            out[key] = curve, mine[0].classes
    return out
