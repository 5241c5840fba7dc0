"""compare: would other selections at the same budget have done better, and by how much?

With an oracle every method is run on the labels it would have got (``simulated``). With people only
their labels exist: baselines then choose among the labels collected so far (``hindsight``), which
shows whether fewer, better chosen labels would have been enough, not what other labels would have
brought; a control share of the budget answers that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from sqlalchemy import delete
from sqlalchemy.orm import Session

from connectors.oracle import Oracle
from db import queries
from db.models import Run
from db.state import Records, advance, log
from loop import encoders, scorers, train
from loop.errors import ConfigError, DataError
from loop.project import Project
from loop.project.digests import numbers_digest, rows_digest, start_digest
from loop.project.labeler import connect_labeler
from loop.project.problem import Problem, problem
from loop.project.rounds import current_round
from loop.project.versions import versions
from loop.scorers import Scorer
from loop.select import picks
from loop.simulation import CellOutcome, Rule, kind, restricted, revealed, simulate
from loop.statistics import MethodRow, paired

COMPARED = "compared"
"""Arm of the runs that this step stores."""
SETTINGS = "settings"
"""Key in their notes: the digest of what decided them."""


@dataclass(frozen=True)
class Compared:
    """Rows by method and budget, and the ``cells`` behind them. ``among``: the images labelled,
    which is all that methods could choose from in hindsight; None where they chose from the pool.
    """

    rows: list[MethodRow]
    among: int | None
    cells: list[Run] = field(compare=False, repr=False)

    def to_json(self) -> list[dict[str, Any]]:
        """A row each, with ``among``."""
        return [{**asdict(row), "among": self.among} for row in self.rows]


def compare(
    project: Project, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Compared:
    """Runs what is missing for the current round, cell by cell, and moves the round on. What is
    compared already is only read; cells of other settings, or of fewer labels in hindsight, are
    computed again, so that a curve never mixes them.

    Raises:
        NotReady: the round is not trained.
        ConfigError: a baseline does not exist.
    """
    config = project.config
    methods = _methods(project)
    trainer = train.get(config.training.trainer, **config.training.params)
    with project.records.read() as session:
        newest = queries.newest_round(session, queries.the_pool(session).id)
    if newest is not None and newest.state == "compared":
        return compared(project)
    with project.writing() as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            found = current_round(session, pool, after="trained")
            problem_ = problem(session, project, images=trainer.wants == "images")
            people = connect_labeler(session, project) if config.labeler.kind == "oracle" else None
            keys = queries.row_keys(session, pool.id)
            rounds = {r.number: r for r in queries.rounds(session, pool.id) if r.number}
            runs = [run for _, run in queries.runs(session, pool.id) if run.arm == COMPARED]
        mode, task_problem, labels = _labels(project, problem_, people, keys)
        hindsight = mode == "hindsight"
        settings = _settings(project, pool.digest, mode, task_problem, labels)
        done = {(r.method, r.labels, r.seed) for r in runs if r.notes.get(SETTINGS) == settings}
        ids = {b: rounds[n].id for n, b in _budgets(project, records).items()}
        ids = {b: i for b, i in ids.items() if not hindsight or b < len(labels)}
        total = len(methods) * len(ids) * config.compare.seeds
        cells = (
            simulate(
                task_problem.task,
                labels,
                _open(methods) if hindsight else methods,
                sorted(ids),
                range(config.compare.seeds),
                trainer,
                skip=done,
                rules=_rules(project),
            )
            if ids
            else iter(())
        )
        for count, cell in enumerate(cells, 1 + len(done)):
            run = _run(cell, ids[cell.budget], mode, labels)
            run.notes[SETTINGS] = settings
            with records.write("compare-cell") as session:
                _forget(session, run)
                session.add(run)
            on_progress(count, total)
        with records.write("compare") as session:
            advance(session, found.id, before="trained", after="compared")
            log(session, "compare", f"{', '.join(methods)} ({mode})", round=found.number)
    return compared(project)


def compared(project: Project) -> Compared:
    """What has been compared so far, by method and budget."""
    with project.records.read() as session:
        runs = compared_runs(session, queries.the_pool(session).id)
    accuracy = {(run.method, run.labels, run.seed): float(run.metrics["accuracy"]) for run in runs}
    kinds = {name: kind(scorer) for name, scorer in _methods(project).items()}
    rows = paired(accuracy, kinds, one_pool=True)
    if not runs or runs[-1].mode != "hindsight":
        return Compared(rows, None, runs)
    # more random labels would be other images than those at hand
    among = int(runs[-1].notes.get("among", max(run.labels for run in runs)))
    return Compared([replace(row, saved=None) for row in rows], among, runs)


def compared_runs(session: Session, pool_id: int) -> list[Run]:
    """The cells of the newest settings."""
    runs = [run for _, run in queries.runs(session, pool_id) if run.arm == COMPARED]
    if not runs:
        return []
    newest = max(runs, key=lambda run: run.id).notes.get(SETTINGS)
    return [run for run in runs if run.notes.get(SETTINGS) == newest]


def _methods(project: Project) -> dict[str, Scorer]:
    """The project's own scorer first, then random, then the other baselines."""
    config = project.config
    own = scorers.get(config.selection.scorer, **config.selection.params)
    methods: dict[str, Scorer] = {config.selection.scorer: own}
    for name in ["random", *config.compare.baselines]:
        methods.setdefault(name, scorers.get(name))
    return methods


def _open(methods: dict[str, Scorer]) -> dict[str, Scorer]:
    return {name: scorer.in_hindsight() for name, scorer in methods.items()}


def _rules(project: Project) -> dict[str, Rule]:
    """How the project's own scorer picks, unless as all others do."""
    chosen = project.config.selection
    if chosen.rule == "top":
        return {}
    return {chosen.scorer: partial(picks, chosen.rule, skip=chosen.skip)}


def _settings(
    project: Project, pool_digest: str, mode: str, found: Problem, labels: np.ndarray
) -> str:
    """Names everything that decides a cell besides (method, budget, seed)."""
    config = project.config
    training = config.training.model_dump(include={"trainer", "params"})
    chosen = config.selection.model_dump(include={"scorer", "params", "rule", "skip"})
    embedded = encoders.get(config.encoder).digest
    start = start_digest(config.training.params)
    numbers = numbers_digest(found.rows, labels, found.test_rows, found.task.test_labels)
    what = [versions().get("coreloop"), mode, pool_digest, embedded, training, start, chosen]
    return hashlib.blake2b(repr([*what, numbers]).encode(), digest_size=16).hexdigest()


def _forget(session: Session, run: Run) -> None:
    """Makes room for a cell computed again with other settings."""
    session.execute(
        delete(Run).where(
            Run.round_id == run.round_id,
            Run.arm == run.arm,
            Run.method == run.method,
            Run.seed == run.seed,
        )
    )


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
    labelled = replace(found, task=restricted(found.task, mine), rows=found.rows[mine])
    return "hindsight", labelled, found.labels[mine]


def _budgets(project: Project, records: Records) -> dict[int, int]:
    """Round number -> images labelled up to its end."""
    with records.read() as session:
        pool = queries.the_pool(session)
        sizes = {r.number: r.budget for r in queries.rounds(session, pool.id) if r.number}
    return {n: sum(size for m, size in sizes.items() if m <= n) for n in sizes}


def _run(cell: CellOutcome, round_id: int, mode: str, labels: np.ndarray) -> Run:
    return Run(
        round_id=round_id,
        arm=COMPARED,
        method=cell.method,
        seed=cell.seed,
        mode=mode,
        labels=cell.budget,
        rows_digest=rows_digest(revealed(labels, cell.picks)),
        metrics=cell.metrics.to_json(),
        notes={**cell.notes, "seconds": round(cell.seconds, 3), "among": len(labels)},
    )
