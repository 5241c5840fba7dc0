"""train: labels so far -> a model, and how good it is on the test split."""

from __future__ import annotations

import shutil
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
from loop.project import Project
from loop.project.digests import rows_digest
from loop.project.labels import CLASSES
from loop.project.problem import Problem, problem, unfinished
from loop.project.rounds import current_round
from loop.project.runs import CONTROL
from loop.seeds import generator
from loop.statistics import t_interval
from loop.train import Trained, Trainer
from loop.train.metrics import Metrics


def train(project: Project) -> Metrics:
    """Trains on everything labelled so far; metrics of the last of ``training.seeds`` runs.

    With a control share, as many of the first coreset labels as the control has, and the control's,
    are also trained on apart, and the difference on the test images is noted.

    Raises:
        NotReady: the round is not labelled.
        DataError: no labelled image to learn from or to test on.
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
        arms = {"all": problem_.labels, **_apart(problem_, picks)}
        trained = {
            arm: _train_seeds(trainer, problem_, labels, round_.seed, settings.seeds)
            for arm, labels in arms.items()
        }
        runs = [
            _run(round_, arm, settings.trainer, seed, arms[arm], outcome)
            for arm, outcomes in trained.items()
            for seed, outcome in enumerate(outcomes)
        ]
        if "control" in arms:
            _note_control(runs, trained, problem_.task.test_labels)
        kept = trained["all"][-1]
        paths = _write(kept, project.arrays)
        with records.write("train") as session:
            used = {**round_.config, "training": settings.model_dump()}
            advance(session, round_.id, before="labeled", after="trained", config=used)
            stored = session.get_one(Round, round_.id)
            stored.versions = {**stored.versions, CLASSES: project.config.project.classes}
            session.add_all(runs)
            of = f"round-{round_.number}"
            arrays.record_all(session, paths, pool_id=pool.id, kind="probabilities", of=of)
            text = f"{runs[0].labels} labels, accuracy {kept.metrics.accuracy:.3f}"
            log(session, "train", text, round=round_.number)
        shutil.rmtree(unfinished(project, pool.digest), ignore_errors=True)
        return kept.metrics


def _train_seeds(
    trainer: Trainer, problem_: Problem, labels: NDArray[np.int64], seed: int, count: int
) -> list[Trained]:
    """``count`` trainings on the same labels, each with a generator of its own."""
    return [
        trainer.train(
            problem_.task, labels, generator(seed, "train", number), pool_probabilities=True
        )
        for number in range(count)
    ]


def _run(
    round_: Round, arm: str, method: str, seed: int, labels: NDArray[np.int64], trained: Trained
) -> TrainingRun:
    return TrainingRun(
        round_id=round_.id,
        arm=arm,
        method=method,
        seed=seed,
        labels=int((labels >= 0).sum()),
        rows_digest=rows_digest(labels),
        metrics=trained.metrics.to_json(),
        notes=trained.notes,
    )


def _note_control(
    runs: list[TrainingRun], trained: dict[str, list[Trained]], test_labels: NDArray[np.int64]
) -> None:
    """Notes with the control's runs how much more often the coreset's models are right."""
    coreset, control = (
        np.mean([_right(outcome, test_labels) for outcome in trained[arm]], axis=0)
        for arm in ("coreset", "control")
    )
    gaps = coreset - control
    if len(gaps) < 2:
        return
    for run in runs:
        if run.arm == "control":
            run.notes = {**run.notes, CONTROL: [float(gaps.mean()), *t_interval(gaps)]}


def _apart(problem_: Problem, picks: list[Picked]) -> dict[str, NDArray[np.int64]]:
    """Labels of the control, and of as many first picks of the coreset: the same number of both."""
    labelled = set(problem_.rows[problem_.labels >= 0].tolist())
    rows = {
        arm: [pick.row for pick in picks if pick.arm == arm and pick.row in labelled]
        for arm in ("coreset", "control")
    }
    count = min(map(len, rows.values()))
    if not count:
        return {}
    return {
        arm: np.where(np.isin(problem_.rows, arm_rows[:count]), problem_.labels, -1)
        for arm, arm_rows in rows.items()
    }


def _right(trained: Trained, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which labelled test images are classified correctly."""
    known = labels >= 0
    return np.asarray(trained.test_probabilities)[known].argmax(axis=1) == labels[known]


def probabilities_again(project: Project, of: str) -> None:
    """Repeats the training whose probabilities were lost, if the labels are still the same.

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
        paths = _write(kept, project.arrays)
        with records.write("train-again") as session:
            arrays.record_all(session, paths, pool_id=pool.id, kind="probabilities", of=of)


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
