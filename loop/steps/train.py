"""train: labels so far -> a model, and how good it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db import arrays, queries
from db.models import Round, TrainingRun
from db.queries import Picked
from db.state import advance, log
from loop import train as trainers
from loop.errors import DataError
from loop.finish.cost import cheapest, costs
from loop.finish.promise import spent
from loop.measuring.by_holdout import measure_by_holdout
from loop.measuring.by_sample import measure_by_sample
from loop.measuring.runs import CALIBRATION, Measured, MeasuredRun
from loop.project import Project
from loop.project.digests import rows_digest
from loop.project.labels import CLASSES
from loop.project.model import MODEL, keep_model
from loop.project.problem import Problem, problem, unfinished
from loop.project.rounds import current_round
from loop.project.runs import FINISH
from loop.reports.facts import ExpectedCost
from loop.seeds import generator
from loop.train import Trained
from loop.train.kept import tempered
from loop.train.metrics import Metrics

MAX_ERROR = 0.05
"""Of the collection, for which the cost of finishing is noted."""


def train(
    project: Project, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Metrics:
    """Trains on everything labelled so far; metrics of the last of ``training.seeds`` runs.

    Where a random sample measures, its labels are learned too and compared with the picks; with
    test images a control share compares. The difference is noted with the control's runs.

    Args:
        on_progress: told how many of the models that measure are trained, and how many there are.

    Raises:
        NotReady: the round is not labelled.
        DataError: no labelled image to learn from or to measure on.
        TrainingFailed: the numbers are unusable; the round stays where it is.
    """
    settings = project.config.training
    trainer = trainers.get(settings.trainer, **settings.params)
    with project.writing() as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            round_ = current_round(session, pool, after="labeled")
            problem_ = problem(session, project, images=trainer.wants == "images")
            picks = queries.picks(session, pool.id)
            looks = len(queries.promises(session, pool.id))
        of_arm, seed, count = _by_arm(problem_, picks), round_.seed, settings.seeds
        given = (trainer, problem_.task, problem_.labels, of_arm["coreset"])
        folds = project.config.measure.folds
        if len(problem_.sample):
            measured = measure_by_sample(*given, problem_.sample, seed, count, folds, on_progress)
        else:
            measured = measure_by_holdout(*given, of_arm["control"], seed, count, folds)
        runs = [_run(round_, settings.trainer, run) for run in measured.runs]
        temperature = measured.calibration.temperature if measured.calibration else 1.0
        paths = _write(measured.kept, project.arrays)
        model = keep_model(project, measured.kept, temperature, round_.number, runs[0].labels)
        all_runs = [run for run in runs if run.arm == "all"]
        cost = _cost_to_finish(measured, temperature, problem_, looks, round_.seed)
        all_runs[-1].notes = {**all_runs[-1].notes, **cost}
        with records.write("train") as session:
            used = {**round_.config, "training": settings.model_dump()}
            advance(session, round_.id, before="labeled", after="trained", config=used)
            stored = session.get_one(Round, round_.id)
            stored.versions = {**stored.versions, CLASSES: project.config.project.classes}
            session.add_all(runs)
            of = f"round-{round_.number}"
            arrays.record_all(session, paths, pool_id=pool.id, kind="probabilities", of=of)
            arrays.record_all(session, model, pool_id=pool.id, kind=MODEL, of=of)
            text = f"{runs[0].labels} labels, accuracy {measured.metrics.accuracy:.3f}"
            log(session, "train", text, round=round_.number)
        shutil.rmtree(unfinished(project, pool.digest), ignore_errors=True)
        return measured.metrics


def _by_arm(problem_: Problem, picks: list[Picked]) -> dict[str, NDArray[np.int64]]:
    """Pool rows of the labelled picks of each arm, in the order picked, without the sample's."""
    pool_row = {int(row): i for i, row in enumerate(problem_.rows)}
    rows: dict[str, list[int]] = {"coreset": [], "control": []}
    for pick in picks:
        if pick.arm in rows and pick.draw is None and problem_.labels[pool_row[pick.row]] >= 0:
            rows[pick.arm].append(pool_row[pick.row])
    return {arm: np.array(some, dtype=np.int64) for arm, some in rows.items()}


def _cost_to_finish(
    measured: Measured, temperature: float, problem_: Problem, looks: int, seed: int
) -> dict[str, object]:
    """A note of what finishing will take; nothing where every image is labelled, or the collection
    is too small for such a promise."""
    unlabelled = problem_.labels < 0
    probabilities = measured.kept.pool_probabilities
    images = len(problem_.labels) + len(problem_.test_rows)
    if probabilities is None or not unlabelled.any() or MAX_ERROR * images < 1:
        return {}
    confidence = tempered(probabilities[unlabelled], temperature).max(axis=1)
    lower, upper = measured.metrics.intervals["accuracy"]
    accuracy = (measured.metrics.accuracy, lower, upper)
    alpha, rng = spent(0.05, looks + 1), generator(seed, "finish")
    cost = cheapest(costs(confidence, accuracy, images, MAX_ERROR, alpha, rng))
    noted = ExpectedCost(MAX_ERROR, cost.median, cost.lower, cost.upper)
    return {FINISH: asdict(noted)}


def _run(round_: Round, method: str, run: MeasuredRun) -> TrainingRun:
    return TrainingRun(
        round_id=round_.id,
        arm=run.arm,
        method=method,
        seed=run.seed,
        labels=int((run.labels >= 0).sum()),
        rows_digest=rows_digest(run.labels),
        metrics=run.metrics.to_json(),
        notes=run.notes,
    )


def train_again(project: Project, of: str) -> None:
    """Repeats the training whose probabilities or model were lost, if the labels are the same.

    Args:
        of: ``round-<number>``.

    Raises:
        DataError: other labels have come since.
    """
    settings = project.config.training
    trainer = trainers.get(settings.trainer, **settings.params)
    with project.writing() as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            round_, run = _kept_run(session, pool.id, of, settings.seeds - 1)
            problem_ = problem(session, project, images=trainer.wants == "images")
        if run.rows_digest != rows_digest(problem_.labels) or run.method != settings.trainer:
            raise DataError("other labels have come since; the next training makes new ones")
        rng = generator(round_.seed, "train", run.seed)
        kept = trainer.train(problem_.task, problem_.labels, rng, pool_probabilities=True)
        temperature = float(run.notes.get(CALIBRATION, {}).get("temperature", 1.0))
        paths = _write(kept, project.arrays)
        model = keep_model(project, kept, temperature, round_.number, run.labels)
        with records.write("train-again") as session:
            arrays.record_all(session, paths, pool_id=pool.id, kind="probabilities", of=of)
            arrays.record_all(session, model, pool_id=pool.id, kind=MODEL, of=of)


def _kept_run(session: Session, pool_id: int, of: str, seed: int) -> tuple[Round, TrainingRun]:
    """The round ``of`` names and the run whose probabilities were kept.

    Raises:
        DataError: there is no such run.
    """
    for round_ in queries.rounds(session, pool_id):
        for number, run in queries.runs(session, pool_id, "all"):
            if number == round_.number and of == f"round-{number}" and run.seed == seed:
                return round_, run
    raise DataError(f"no training of {of} is recorded")


def _write(kept: Trained, folder: Path) -> dict[str, Path]:
    """Split, ``test`` or ``pool`` -> file of its probabilities, (N, C) float32."""
    by_split = {"test": kept.test_probabilities, "pool": kept.pool_probabilities}
    return {
        split: arrays.write_file(np.asarray(probabilities, dtype=np.float32), folder)
        for split, probabilities in by_split.items()
    }
