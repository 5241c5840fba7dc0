"""simulate: methods against each other on a project whose labels are known. No labeler, no rounds.

Cells are stored as they finish, under the digest of everything that determines them, and are never
computed twice. Groups of cells (one method, one seed) run in worker processes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors.parquet import Parquet
from db import queries
from db.models import Cell, Simulation
from db.state import log
from loop import config as settings
from loop import encoders, scorers, simulation, train
from loop.encoders.spec import located
from loop.engine import LOCAL, Engine
from loop.errors import ConfigError, NotReady
from loop.files import expanded
from loop.project import Project, create, find
from loop.project.classes import stated_classes
from loop.project.digests import numbers_digest, start_digest
from loop.project.problem import make_task, unfinished
from loop.project.versions import versions
from loop.simulation import kind
from loop.statistics import MethodRow, paired
from loop.train import Task


@dataclass(frozen=True)
class Grid:
    """What to simulate; ``methods`` maps a shown name to (scorer, its parameters)."""

    methods: dict[str, tuple[str, dict[str, Any]]]
    budgets: list[int]
    seeds: int
    trainer: str = "linear"
    params: dict[str, Any] = field(default_factory=dict)
    """Hyper-parameters of the trainer."""
    labels: str = ""
    """Column of the labels that annotators give (select and train with them); default: the true."""
    share: float = 0.8
    """Share of the pool that each seed draws, so that methods without randomness vary too."""


def all_methods(names: Sequence[str] = ()) -> dict[str, tuple[str, dict[str, Any]]]:
    """Every scorer, or the named ones (random is always there), with default parameters.

    Raises:
        ConfigError: unknown name.
    """
    wanted = list(names) or scorers.names()
    for name in wanted:
        scorers.load(name)
    return {name: (name, {}) for name in dict.fromkeys(["random", *wanted])}


def simulate(
    project: Project,
    grid: Grid,
    *,
    where: Engine = LOCAL,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[MethodRow]:
    """Runs the cells that are missing and returns the table.

    Raises:
        NotReady: images without a known label, or not embedded.
        ConfigError: budgets that do not fit, unknown names.
    """
    with project.writing() as records:
        with records.read() as session:
            task, labels = _problem(session, project, grid)
            pool = queries.the_pool(session)
        simulation.check_budgets(grid.budgets, simulation.drawn(len(task.pool), grid.share))
        config = {
            "coreloop": versions().get("coreloop"),  # the same names may be other methods there
            "pool": pool.digest,
            "encoder": project.config.encoder,
            "trainer": grid.trainer,
            "params": grid.params,
            "labels": grid.labels,
            "share": grid.share,
            "test": project.config.pool.model_dump(),
            # files may be others under the same name, and labels corrected
            "embeddings": encoders.get(project.config.encoder).digest,
            "start": start_digest(grid.params),
            "answers": numbers_digest(labels, task.test_labels),
        }
        digest = hashlib.blake2b(
            json.dumps(config, sort_keys=True).encode(), digest_size=16
        ).hexdigest()
        with records.write("simulate") as session:
            found = session.scalar(select(Simulation).where(Simulation.digest == digest))
            if found is None:
                found = Simulation(digest=digest, config=config, versions=versions())
                session.add(found)
                session.flush()
            number = found.id
            cells = session.scalars(select(Cell).where(Cell.simulation_id == number))
            done = {(c.method, c.budget, c.seed) for c in cells}
        wanted = {
            (_key(grid, name), b, s)
            for name in grid.methods
            for b in grid.budgets
            for s in range(grid.seeds)
        }
        count = len(wanted & done)
        for cell in _cells(task, labels, grid, done, where):
            with records.write("simulate-cell") as session:
                session.add(Cell(simulation_id=number, **cell))
            count += 1
            on_progress(count, len(wanted))
        with records.write("simulate-log") as session:
            log(session, "simulate", f"{len(grid.methods)} methods, {len(wanted)} cells")
            rows = _table(session, number, grid)
        shutil.rmtree(unfinished(project, pool.digest), ignore_errors=True)
        return rows


def _key(grid: Grid, name: str) -> str:
    """How a method with its parameters is stored."""
    scorer, params = grid.methods[name]
    return scorer + (json.dumps(params, sort_keys=True) if params else "")


def _problem(session: Session, project: Project, grid: Grid) -> tuple[Task, np.ndarray]:
    """The task, tested on true labels, and the pool labels that annotators give."""
    column = grid.labels
    pool = queries.the_pool(session)
    index = {name: i for i, name in enumerate(project.config.project.classes)}
    known, keys = queries.known_labels(session, pool.id), queries.row_keys(session, pool.id)
    rows = queries.split_rows(session, pool.id, "pool")
    test_rows = queries.split_rows(session, pool.id, "test")
    missing = [r for r in [*rows, *test_rows] if known.get(keys[int(r)]) not in index]
    if missing:
        raise NotReady(
            f"{len(missing)} images have no known label among the classes; 'simulate' needs the "
            "true label of every image (set labelled = true under [pool] before the scan)"
        )
    labels = np.array([index[known[keys[int(r)]]] for r in rows], dtype=np.int64)
    if column:
        images = project.source
        if not isinstance(images, Parquet):
            raise ConfigError("--labels names a column, so the images must be a parquet file")
        told, uris = images.labels(column), queries.row_uris(session, pool.id)
        labels = np.array([index.get(told[uris[int(r)]] or "", -1) for r in rows], dtype=np.int64)
        if (labels < 0).any():
            raise ConfigError(
                f"column {column!r} has no class for {int((labels < 0).sum())} images"
            )
    trainer = train.get(grid.trainer, **grid.params)
    side = int(getattr(trainer, "side", 0)) if trainer.wants == "images" else 0
    test_labels = np.array([index[known[keys[int(r)]]] for r in test_rows], dtype=np.int64)
    task = make_task(session, project, rows, test_rows, test_labels, side=side)
    return task, labels


def _cells(
    task: Task, labels: np.ndarray, grid: Grid, done: set[tuple[str, int, int]], where: Engine
) -> Iterator[dict[str, Any]]:
    """The cells that are missing, as they are done."""
    outcomes = simulation.simulate(
        task,
        labels,
        {_key(grid, name): scorers.get(s, **params) for name, (s, params) in grid.methods.items()},
        grid.budgets,
        range(grid.seeds),
        train.get(grid.trainer, **grid.params),
        skip=done,
        share=grid.share,
        engine=where,
    )
    for outcome in outcomes:
        yield {
            "method": outcome.method,
            "budget": outcome.budget,
            "seed": outcome.seed,
            "outcome": {
                "accuracy": outcome.metrics.accuracy,
                "balanced_accuracy": outcome.metrics.balanced_accuracy,
                "macro_f1": outcome.metrics.macro_f1,
                "notes": outcome.notes,
                "picks": outcome.picks.tolist(),
            },
            "seconds": outcome.seconds,
        }


def _table(session: Session, number: int, grid: Grid) -> list[MethodRow]:
    shown = {_key(grid, name): name for name in grid.methods}
    accuracy = {}
    for cell in session.scalars(select(Cell).where(Cell.simulation_id == number)):
        if cell.method in shown and cell.budget in grid.budgets and cell.seed < grid.seeds:
            accuracy[shown[cell.method], cell.budget, cell.seed] = float(cell.outcome["accuracy"])
    ordered = {
        (m, b, s): accuracy[m, b, s]
        for m in grid.methods
        for b in grid.budgets
        for s in range(grid.seeds)
        if (m, b, s) in accuracy
    }
    kinds = {name: kind(scorers.get(s, **params)) for name, (s, params) in grid.methods.items()}
    return paired(ordered, kinds, one_pool=grid.share == 1)


def project_for(source: Path | None, folder: Path | None, encoder: str | None) -> Project:
    """The project to simulate on: that of ``folder``, or one made of the images in ``source``.

    Args:
        source: a folder with one sub-folder per class, or a parquet file; None: the project's own.
        folder: default with ``source``: ./coreloop-simulate-NAME.
        encoder: for this command only; default with ``source``: pixels, else the project's.

    Raises:
        ConfigError: the folder holds no project, or one of other images.
    """
    if source is None:
        return _encoded_by(find(folder or Path()), encoder)
    path = expanded(source).resolve()
    root = folder or Path(f"coreloop-simulate-{path.stem}")
    if (root / settings.FILE).exists():
        return _encoded_by(_made_from(path, root), encoder or "pixels")
    return _new(root, path, encoder or "pixels")


def _encoded_by(project: Project, encoder: str | None) -> Project:
    """The project with another encoder, for this command only."""
    if encoder is None or located(encoder) == project.config.encoder:
        return project
    values = {**project.config.model_dump(), "encoder": located(encoder)}
    return Project(project.root, settings.check(values, "simulate"))


def _made_from(path: Path, root: Path) -> Project:
    """The project in ``root``. Raises ConfigError if its images are others than ``path``."""
    project = find(root)
    before = project.path(project.config.pool.path)
    if before != path:
        raise ConfigError(
            f"{root} was made from {before}, not from {path}; name another folder with --project"
        )
    return project


def _new(root: Path, path: Path, encoder: str) -> Project:
    values = {
        "project": {"name": path.stem, "classes": stated_classes(path)},
        "pool": {
            "source": "parquet" if path.suffix == ".parquet" else "folder",
            "path": str(path),
            "labelled": True,
            "test": 10_000,
        },
        "encoder": encoder,
        "labeler": {"kind": "oracle"},
    }
    return create(root, settings.check(values, "simulate"))
