"""The training of a round on today's labels: what it learns, how it is measured, what is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from db import arrays, queries
from db.answers import BEFORE
from db.models import Array, Round, TrainingRun
from db.queries import Picked
from loop import train as trainers
from loop.finish.cost import cheapest, costs
from loop.finish.promise import spent
from loop.measuring.by_holdout import measure_by_holdout
from loop.measuring.by_sample import measure_by_sample
from loop.measuring.runs import Measured, MeasuredRun
from loop.project.corrections import MEASURED, measured_digest, measuring_rows
from loop.project.digests import rows_digest
from loop.project.labels import CLASSES, collect
from loop.project.model import MODEL, keep_model
from loop.project.placed import placed
from loop.project.problem import Problem, problem
from loop.project.project import Project
from loop.project.promise import of_promise
from loop.project.runs import FINISH
from loop.reports.facts import ExpectedCost
from loop.seeds import generator
from loop.train import Trained, Trainer
from loop.train.kept import tempered

MAX_ERROR = 0.05
"""Of the collection, for which the cost of finishing is noted."""


@dataclass(frozen=True)
class Training:
    """What trainings go by today, whatever their round.

    Attributes:
        places: (N,) of the problem's rows, see ``queries.pool_places``.
        measured: digest of the images that measure, with their labels.
        looks: promises made so far.
    """

    project: Project
    trainer: Trainer
    problem: Problem
    places: NDArray[np.int64]
    picks: list[Picked]
    measured: str
    looks: int

    def learned(self, number: int) -> NDArray[np.int64]:
        """(N,) int64 labels that the training of a round learns, -1 elsewhere: of the picks up to
        its own."""
        return labels_until(self.problem, self.picks, number)

    def measure(
        self, round_: Round, on_progress: Callable[[int, int], None] = lambda done, total: None
    ) -> Measured:
        """Trains and measures. Raises DataError, TrainingFailed: see ``measure_by_sample``."""
        config, learned = self.project.config, self.learned(round_.number)
        by_arm = self._by_arm(learned)
        given = (self.trainer, self.problem.task, learned, by_arm["coreset"])
        seed, count, folds = round_.seed, config.training.seeds, config.measure.folds
        if not len(self.problem.sample.rows):
            return measure_by_holdout(*given, by_arm["control"], seed, count, folds, by_arm[BEFORE])
        sample, answers = self.problem.sample, self.problem.labels
        return measure_by_sample(
            *given, sample, seed, count, folds, on_progress, answers, by_arm[BEFORE]
        )

    def _by_arm(self, learned: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """Pool rows of each arm's labelled picks, in the order picked, without the sample's."""
        pool_row = {int(row): i for i, row in enumerate(self.problem.rows)}
        rows: dict[str, list[int]] = {"coreset": [], "control": [], BEFORE: []}
        for pick in self.picks:
            if pick.arm in rows and pick.draw is None and learned[pool_row[pick.row]] >= 0:
                rows[pick.arm].append(pool_row[pick.row])
        return {arm: np.array(some, dtype=np.int64) for arm, some in rows.items()}

    def runs(self, round_: Round, measured: Measured) -> list[TrainingRun]:
        """Those of a round, the ones on all labels first."""
        runs = [self._run(round_, run) for run in measured.runs]
        delivered = [run for run in runs if run.arm == "all"]
        for run in delivered:
            run.notes = {**run.notes, MEASURED: self.measured}
        delivered[-1].notes = {**delivered[-1].notes, **self._cost_to_finish(round_, measured)}
        return runs

    def _run(self, round_: Round, run: MeasuredRun) -> TrainingRun:
        return TrainingRun(
            round_id=round_.id,
            arm=run.arm,
            method=self.project.config.training.trainer,
            seed=run.seed,
            labels=int((run.labels >= 0).sum()),
            rows_digest=rows_digest(self.places, run.labels),
            metrics=run.metrics.to_json(),
            notes=run.notes,
        )

    def _cost_to_finish(self, round_: Round, measured: Measured) -> dict[str, object]:
        """A note of what finishing will take; nothing where every image is labelled, or the
        collection is too small for such a promise."""
        problem_, unlabelled = self.problem, self.problem.labels < 0
        probabilities = measured.kept.pool_probabilities
        images = len(problem_.labels) + len(problem_.test_rows)
        if probabilities is None or not unlabelled.any() or MAX_ERROR * images < 1:
            return {}
        confidence = tempered(probabilities[unlabelled], temperature(measured)).max(axis=1)
        lower, upper = measured.metrics.intervals["accuracy"]
        accuracy = (measured.metrics.accuracy, lower, upper)
        alpha, rng = spent(0.05, self.looks + 1), generator(round_.seed, "finish")
        cost = cheapest(costs(confidence, accuracy, images, MAX_ERROR, alpha, rng))
        return {FINISH: asdict(ExpectedCost(MAX_ERROR, cost.median, cost.lower, cost.upper))}


def begin_training(session: Session, project: Project) -> Training:
    """Loads what is learned and measured on today.

    Raises:
        NotReady, ConfigError: see ``problem``.
    """
    settings, pool = project.config.training, queries.the_pool(session)
    trainer = trainers.get(settings.trainer, **settings.params)
    problem_ = problem(session, project, side=trainer.image_side)
    picks = queries.picks(session, pool.id)
    labels = collect(session, pool, project.config)
    return Training(
        project=project,
        trainer=trainer,
        problem=problem_,
        places=queries.pool_places(session, pool.id, problem_.rows),
        picks=picks,
        measured=measured_digest(measuring_rows(picks), labels),
        looks=len(queries.promises(session, pool.id)),
    )


def labels_until(problem_: Problem, picks: list[Picked], number: int) -> NDArray[np.int64]:
    """(N,) int64 labels of the picks up to this round, -1 elsewhere."""
    later = [pick.row for pick in picks if pick.round > number]
    return np.where(np.isin(problem_.rows, later), -1, problem_.labels)


def temperature(measured: Measured) -> float:
    """Of the delivered model's probabilities; 1 where no answer was held out."""
    return measured.calibration.temperature if measured.calibration else 1.0


def store_runs(session: Session, project: Project, round_id: int, runs: list[TrainingRun]) -> None:
    """Puts the runs of a round in place of earlier ones, and notes what they went by."""
    session.execute(delete(TrainingRun).where(TrainingRun.round_id == round_id))
    round_ = session.get_one(Round, round_id)
    round_.config = {**round_.config, "training": project.config.training.model_dump()}
    round_.versions = {**round_.versions, CLASSES: project.config.project.classes}
    session.add_all(runs)
    session.flush()


@dataclass(frozen=True)
class KeptFiles:
    """Files of the newest training, by name: its probabilities of each split, and its model."""

    probabilities: dict[str, Path]
    model: dict[str, Path]

    def record(self, session: Session, round_: Round) -> None:
        """Puts them in place of the round's earlier ones; the model of a promise stays beside."""
        of, pool_id = f"round-{round_.number}", round_.pool_id
        arrays.record_all(session, self.probabilities, pool_id=pool_id, kind="probabilities", of=of)
        _keep_promised(session, pool_id, of)
        arrays.record_all(session, self.model, pool_id=pool_id, kind=MODEL, of=of)


def write_kept(
    training: Training, trained: Trained, temperature_: float, number: int, labels: int
) -> KeptFiles:
    """Writes what a round's training is remembered by: (T, C) and (P, C) float32 probabilities of
    the test images and, ``placed``, of the pool; and the model where the trainer keeps one."""
    project, rows = training.project, training.problem.rows
    pool = np.asarray(trained.pool_probabilities, dtype=np.float32)
    with project.records.read() as session:
        pool = placed(session, queries.the_pool(session).id, rows, pool)
    by_split = {"test": np.asarray(trained.test_probabilities, dtype=np.float32), "pool": pool}
    files = {
        split: arrays.write_file(probabilities, project.arrays)
        for split, probabilities in by_split.items()
    }
    return KeptFiles(files, keep_model(project, trained, temperature_, number, labels))


def _keep_promised(session: Session, pool_id: int, of: str) -> None:
    """Names a round's model after the promise that was made with it, so that another one may take
    its place."""
    row = session.scalar(select(Array).where(Array.kind == MODEL, Array.of == of))
    if row is None:
        return
    for promise in queries.promises(session, pool_id):
        if promise.model == row.digest:
            renamed = update(Array).where(Array.id == row.id).values(of=of_promise(promise.look))
            session.execute(renamed)
            session.expire(row)
            return
