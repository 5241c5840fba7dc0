"""compare: would other selections at the same budget have done better, and by how much?

With an oracle every method is run on the labels it would have got (``simulated``). With people only
their labels exist: baselines then choose among the labels collected so far (``hindsight``), which
shows whether fewer, better chosen labels would have been enough, not what other labels would have
brought; a control share of the budget answers that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from connectors.oracle import Oracle
from db import queries
from db.models import Run
from db.state import Records, advance, log
from loop import scorers, train
from loop.compare import Cell, Row, kind, paired, simulate
from loop.errors import ConfigError, DataError
from loop.project import Project
from loop.scorers import Scorer
from loop.steps.opened import current_round, labeler, reading, writing
from loop.steps.task import Problem, problem
from loop.steps.train import rows_digest

COMPARED = "compared"
"""Arm of the runs that this step stores."""


def compare(
    project: Project, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> list[Row]:
    """Runs what is missing for the current round, cell by cell, and moves the round on. What is
    compared already is only read.

    Raises:
        NotReady: the round is not trained.
        ConfigError: a baseline does not exist.
    """
    config = project.config
    methods = _methods(project)
    trainer = train.get(config.training.trainer, **config.training.params)
    with reading(project) as records, records.read() as session:
        newest = queries.newest_round(session, queries.the_pool(session).id)
    if newest is not None and newest.state == "compared":
        return comparison_rows(project)
    with writing(project) as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            found = current_round(session, pool, after="trained")
            problem_ = problem(session, project, images=trainer.wants == "images")
            people = labeler(project, session) if config.labeler.kind == "oracle" else None
            keys = queries.row_keys(session, pool.id)
            rounds = {r.number: r for r in queries.rounds(session, pool.id) if r.number}
            runs = [run for _, run in queries.runs(session, pool.id) if run.arm == COMPARED]
            done = {(run.method, run.labels, run.seed) for run in runs}
        mode, task_problem, labels = _labels(project, problem_, people, keys)
        ids = {b: rounds[n].id for n, b in _budgets(project, records).items()}
        ids = {b: i for b, i in ids.items() if mode == "simulated" or b < len(labels)}
        total = len(methods) * len(ids) * config.compare.seeds
        cells = simulate(
            task_problem.task, labels, methods, sorted(ids), range(config.compare.seeds), trainer,
            skip=done,
        ) if ids else iter(())  # fmt: skip
        for count, cell in enumerate(cells, 1 + len(done)):
            with records.write("compare-cell") as session:
                session.add(_run(cell, ids[cell.budget], mode, labels))
            on_progress(count, total)
        with records.write("compare") as session:
            advance(session, found.id, before="trained", after="compared")
            log(session, "compare", f"{', '.join(methods)} ({mode})", round=found.number)
    return comparison_rows(project)


def comparison_rows(project: Project) -> list[Row]:
    """What has been compared so far, by method and budget."""
    with reading(project) as records, records.read() as session:
        pool = queries.the_pool(session)
        runs = [run for _, run in queries.runs(session, pool.id) if run.arm == COMPARED]
    accuracy = {(run.method, run.labels, run.seed): float(run.metrics["accuracy"]) for run in runs}
    kinds = {name: kind(scorer) for name, scorer in _methods(project).items()}
    return paired(accuracy, kinds)


def _methods(project: Project) -> dict[str, Scorer]:
    """The project's own scorer first, then random, then the other baselines."""
    config = project.config
    own = scorers.get(config.selection.scorer, **config.selection.params)
    methods: dict[str, Scorer] = {config.selection.scorer: own}
    for name in ["random", *config.compare.baselines]:
        methods.setdefault(name, scorers.get(name))
    return methods


def _labels(
    project: Project, found: Problem, people: Any, keys: dict[int, str]
) -> tuple[str, Problem, np.ndarray]:
    """(mode, the problem to compare on, its labels)."""
    if isinstance(people, Oracle):
        index = {name: i for i, name in enumerate(project.config.project.classes)}
        told = people.reveal([keys[int(row)] for row in found.rows])
        if len(told) < len(found.rows):
            raise ConfigError("the oracle does not know the label of every image in the pool")
        labels = np.array([index[told[keys[int(row)]]] for row in found.rows], dtype=np.int64)
        return "simulated", found, labels
    mine = np.flatnonzero(found.labels >= 0)
    if not len(mine):
        raise DataError("no label has been collected; pull annotations first")
    task = replace(found.task, pool=found.task.pool[mine], pool_images=None)
    return "hindsight", replace(found, task=task, rows=found.rows[mine]), found.labels[mine]


def _budgets(project: Project, records: Records) -> dict[int, int]:
    """Round number -> images labelled up to its end."""
    with records.read() as session:
        pool = queries.the_pool(session)
        sizes = {r.number: r.budget for r in queries.rounds(session, pool.id) if r.number}
    return {n: sum(size for m, size in sizes.items() if m <= n) for n in sizes}


def _run(cell: Cell, round_id: int, mode: str, labels: np.ndarray) -> Run:
    known = np.full(len(labels), -1, np.int64)
    known[cell.picks] = labels[cell.picks]
    return Run(
        round_id=round_id, arm=COMPARED, method=cell.method, seed=cell.seed, mode=mode,
        labels=cell.budget, rows_digest=rows_digest(known), metrics=cell.metrics.to_json(),
        notes={**cell.notes, "seconds": round(cell.seconds, 3)},
    )  # fmt: skip
