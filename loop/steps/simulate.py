"""simulate: methods against each other on images whose labels are known; no labeler, no rounds."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from connectors.parquet import Parquet
from db import queries
from db.state import log
from loop import config as settings
from loop import scorers, train
from loop.encoders.spec import located
from loop.engine import LOCAL, Engine
from loop.errors import ConfigError, NotReady
from loop.finish.rows import MethodRows, finish_rows
from loop.finish.simulated import Goals
from loop.goals import key_of, metric_name, named
from loop.project import Project, create, find
from loop.project.cells import (
    METRICS,
    CellGrid,
    CellProgress,
    Method,
    StoredCell,
    deciding,
    fill,
    finished_cells,
    open_simulation,
    stored_cells,
)
from loop.project.class_folders import UnclearClasses, labelled_classes
from loop.project.classes import BY_NAME, check_kind, layout_of, place_of, pool_section
from loop.project.problem import (
    Problem,
    a_fifth,
    make_task,
    tested_on,
    unfinished,
    weigh_classes,
)
from loop.simulation import check_budgets, drawn, smallest_pool
from loop.statistics import paired
from loop.train import Trainer
from loop.wording import agreeing, counted


@dataclass(frozen=True)
class Grid:
    """What to simulate.

    Attributes:
        methods: names of scorers, or a mapping from a shown name to (scorer, its parameters).
        budgets: labels in all, ascending.
        seeds: paired repetitions.
    """

    methods: Mapping[str, tuple[str, dict[str, Any]]] | Sequence[str]
    budgets: list[int]
    seeds: int = 5
    trainer: str = "linear"
    params: dict[str, Any] = field(default_factory=dict)
    """Hyper-parameters of the trainer."""
    labels: str = ""
    """Column of the labels that annotators give (select and train with them); default: the true."""
    share: float = 0.8
    """Share of the pool that each seed draws, so that methods without randomness vary too."""
    sample: int = 0
    """Random images labelled first whatever the method, part of the budgets; models learn them."""
    metric: str = ""
    """What is compared, by name or key (see ``loop.goals``); every cell has them all. The trainer
    learns as that of a project with this goal. Empty: as the project's own goal says."""
    imbalance: str = ""
    """Classes of each seed's pool are thinned out to this shape, see ``loop.imbalance``."""
    finish: Goals | None = None
    """Each cell goes on to a finished collection for each of these goals."""

    def __post_init__(self) -> None:
        """Raises ConfigError: a share that is none, said before anything is embedded."""
        drawn(1, self.share)


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
    on_progress: CellProgress = lambda done, total: None,
) -> MethodRows:
    """Computes the cells that are missing on a project whose images are embedded; the table.

    Raises:
        NotReady: images without a known label, or not embedded.
        ConfigError: budgets that do not fit, unknown names.
    """
    metric = named(grid.metric or metric_name(project.config.goal.metric))
    by_name = grid.methods if isinstance(grid.methods, Mapping) else all_methods(grid.methods)
    methods = [Method(name, scorer, params) for name, (scorer, params) in by_name.items()]
    cell_grid = CellGrid(methods, grid.budgets, grid.seeds)
    trainer = train.get(grid.trainer, **grid.params)
    with project.writing() as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            known = _problem(session, project, grid.labels, trainer)
        if grid.metric and trainer.weighs:
            known = replace(known, task=replace(known.task, weigh_classes=weigh_classes(metric)))
        pooled = (known.task, known.labels, grid.share, grid.imbalance)
        check_budgets(grid.budgets, smallest_pool(*pooled, range(grid.seeds)), grid.sample)
        config = {
            **deciding(project, pool.digest, known, grid.trainer, grid.params),
            "labels": grid.labels,
            "share": grid.share,
            **({"sample": grid.sample} if grid.sample else {}),
            **({"finish": grid.finish.in_words} if grid.finish else {}),
            **({"imbalance": grid.imbalance} if grid.imbalance else {}),
        }
        simulation_id = open_simulation(records, config)
        fill(
            records,
            simulation_id,
            cell_grid,
            known,
            trainer,
            share=grid.share,
            sample=grid.sample,
            goals=grid.finish,
            imbalance=grid.imbalance,
            engine=where,
            on_progress=on_progress,
        )
        with records.write("simulate-log") as session:
            log(
                session,
                "simulate",
                f"{counted(len(methods), 'method')}, {counted(cell_grid.size, 'cell')}",
            )
            by_metric = {
                key: stored_cells(session, simulation_id, cell_grid, key) for key in METRICS
            }
            cells = by_metric[key_of(metric)]
            finished = finished_cells(session, simulation_id, cells) if grid.finish else None
        shutil.rmtree(unfinished(project, pool.digest), ignore_errors=True)
    accuracies = {(cell.method, cell.budget, cell.seed): cell.accuracy for cell in cells}
    kinds = {method.name: method.kind for method in methods}
    rows = paired(accuracies, kinds, one_pool=grid.share == 1)
    finish = finish_rows(finished, kinds) if finished else None
    beside = {key: _means(some) for key, some in by_metric.items()}
    return MethodRows(rows, finish, metric, beside)


def _means(cells: Sequence[StoredCell]) -> dict[tuple[str, int], float]:
    """(method, budget) -> mean over seeds."""
    by_row: dict[tuple[str, int], list[float]] = {}
    for cell in cells:
        by_row.setdefault((cell.method, cell.budget), []).append(cell.accuracy)
    return {row: float(np.mean(values)) for row, values in by_row.items()}


def check_labels(project: Project) -> None:
    """Raises NotReady: an image of a scanned project has no known label; said before the images are
    embedded, which may take an hour."""
    with project.records.read() as session:
        pool = queries.the_pool(session)
        stated = queries.known_labels(session, pool.id)
        keys = queries.row_keys(session, pool.id)
    classes = set(project.config.project.classes)
    _check_known(sum(stated.get(key, "") not in classes for key in keys.values()))


def _check_known(missing: int) -> None:
    if missing:
        raise NotReady(
            f"{counted(missing, 'image')} {agreeing(missing, 'has')} no known label among the "
            "classes; 'simulate' needs the true label of every image (set labelled = true under "
            "[pool] before the scan)"
        )


def _problem(session: Session, project: Project, column: str, trainer: Trainer) -> Problem:
    """The whole pool, tested on true labels, with the labels that annotators give. Without test
    images it is tested on a random fifth.

    Args:
        column: of a parquet file, with annotators' labels; empty: the true ones.

    Raises:
        NotReady: an image has no known label.
        ConfigError: the column is not there, or names no class for some image.
    """
    pool = queries.the_pool(session)
    index = {name: i for i, name in enumerate(project.config.project.classes)}
    stated, keys = queries.known_labels(session, pool.id), queries.row_keys(session, pool.id)
    rows = queries.split_rows(session, pool.id, "pool")
    test_rows = queries.split_rows(session, pool.id, "test")
    labels, test_labels = (
        np.array([index.get(stated.get(keys[int(row)], ""), -1) for row in some], dtype=np.int64)
        for some in (rows, test_rows)
    )
    _check_known(int((labels < 0).sum() + (test_labels < 0).sum()))
    if column:
        labels = _of_column(project, column, rows, queries.row_uris(session, pool.id))
    task = make_task(session, project, rows, test_rows, test_labels, side=trainer.image_side)
    known = Problem(task, labels, rows, test_rows, np.zeros(len(rows), bool))
    if len(test_rows):
        return known
    return tested_on(known, a_fifth(len(rows), project.config.project.seed))


def _of_column(
    project: Project, column: str, rows: NDArray[np.int64], uris: dict[int, str]
) -> NDArray[np.int64]:
    """(len(rows),) class indices of a column of the parquet file.

    Raises:
        ConfigError: the images are no parquet file, or the column names no class for some image.
    """
    source = project.source
    if not isinstance(source, Parquet):
        raise ConfigError("--labels names a column, so the images must be a parquet file")
    index = {name: i for i, name in enumerate(project.config.project.classes)}
    names = source.labels(column)
    labels = np.array([index.get(names[uris[int(row)]] or "", -1) for row in rows], dtype=np.int64)
    if (labels < 0).any():
        raise ConfigError(
            f"column {column!r} has no class for {counted(int((labels < 0).sum()), 'image')}"
        )
    return labels


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
    images = place_of(source)
    check_kind(images)
    root = folder or Path(f"coreloop-simulate-{Path(images).stem}")
    if (root / settings.FILE).exists():
        return _encoded_by(_made_from(images, root), encoder or "pixels")
    return _new(root, images, encoder or "pixels")


def _encoded_by(project: Project, encoder: str | None) -> Project:
    """The project with another encoder, for this command only."""
    if encoder is None or located(encoder) == project.config.encoder:
        return project
    of_encoder = {"encoder": located(encoder), "encoder_candidates": []}
    values = {**project.config.model_dump(), **of_encoder}
    return Project(project.root, settings.check(values, "simulate"))


def _made_from(images: str | Path, root: Path) -> Project:
    """The project in ``root``. Raises ConfigError if its images are others than these."""
    project = find(root)
    if project.images_at != str(images):
        raise ConfigError(
            f"{root} was made from {project.images_at}, not from {images}; name another folder "
            "with --project"
        )
    return project


def _new(root: Path, images: str | Path, encoder: str) -> Project:
    """Raises ConfigError: the images have no classes, or unclear ones."""
    try:
        classes = labelled_classes(images)
    except UnclearClasses:
        raise
    except ConfigError:
        if layout_of(images) in BY_NAME:
            raise
        raise ConfigError(
            f"{images} has no sub-folder for each class, and 'simulate' takes their names for the "
            "true labels; sort the images into folders, two at least"
        ) from None
    values = {
        "project": {"name": Path(images).stem, "classes": classes},
        "pool": {**pool_section(images), "labelled": True},
        "measure": {"by": "holdout", "images": 10_000},
        "encoder": encoder,
        "labeler": {"kind": "oracle"},
    }
    return create(root, settings.check(values, "simulate"))
