"""train: labels so far -> a model, and how good it is on the test split."""

from __future__ import annotations

import hashlib
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db import arrays, queries
from db.models import Round, Run
from db.queries import Picked
from db.state import advance, log
from loop import train as trainers
from loop.compare import t_interval
from loop.errors import DataError
from loop.project import Project
from loop.seeds import generator
from loop.steps.labels import CLASSES
from loop.steps.opened import current_round, writing
from loop.steps.task import Problem, problem, unfinished
from loop.train import Trained
from loop.train.metrics import Metrics

CONTROL = "coreset minus control"
"""Key in the notes of a control's runs: the difference in accuracy and its 95 % interval over the
test images."""


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
    with writing(project) as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            found = current_round(session, pool, after="labeled")
            problem_ = problem(session, project, images=trainer.wants == "images")
            picks = queries.picks(session, pool.id)
        arms = {"all": problem_.labels, **_apart(problem_, picks)}
        runs: list[Run] = []
        kept = None
        right: dict[str, list[NDArray[np.bool_]]] = defaultdict(list)
        for arm, labels in arms.items():
            for seed in range(settings.seeds):
                rng = generator(found.seed, "train", seed)
                kept_now = trainer.train(problem_.task, labels, rng, pool_probabilities=True)
                if arm == "all":
                    kept = kept_now
                right[arm].append(_right(kept_now, problem_.task.test_labels))
                runs.append(
                    Run(
                        round_id=found.id,
                        arm=arm,
                        method=settings.trainer,
                        seed=seed,
                        mode="live",
                        labels=int((labels >= 0).sum()),
                        rows_digest=rows_digest(labels),
                        metrics=kept_now.metrics.to_json(),
                        notes=kept_now.notes,
                    )
                )
        assert kept is not None  # "labeled" means that there is a label
        if "control" in arms:
            gaps = np.mean(right["coreset"], axis=0) - np.mean(right["control"], axis=0)
            for run in runs:
                if run.arm == "control" and len(gaps) > 1:
                    run.notes = {**run.notes, CONTROL: [float(gaps.mean()), *t_interval(gaps)]}
        paths = _write(kept, project)
        with records.write("train") as session:
            advance(session, found.id, before="labeled", after="trained")
            here = session.get_one(Round, found.id)
            here.versions = {**here.versions, CLASSES: project.config.project.classes}
            session.add_all(runs)
            _record(session, paths, found)
            text = f"{runs[0].labels} labels, accuracy {kept.metrics.accuracy:.3f}"
            log(session, "train", text, round=found.number)
        shutil.rmtree(unfinished(project, pool.digest), ignore_errors=True)
        return kept.metrics


def _apart(found: Problem, picks: list[Picked]) -> dict[str, NDArray[np.int64]]:
    """Labels of the control, and of as many first picks of the coreset: the same number of both."""
    labelled = set(found.rows[found.labels >= 0].tolist())
    rows = {
        arm: [p.row for p in picks if p.arm == arm and p.row in labelled]
        for arm in ("coreset", "control")
    }
    count = min(map(len, rows.values()))
    if not count:
        return {}
    return {
        arm: np.where(np.isin(found.rows, mine[:count]), found.labels, -1)
        for arm, mine in rows.items()
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
    with writing(project) as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            found, run = next(
                (r, run)
                for number, run in queries.runs(session, pool.id)
                for r in queries.rounds(session, pool.id)
                if run.arm == "all"
                and number == r.number
                and of == f"round-{number}"
                and run.seed == settings.seeds - 1
            )
            problem_ = problem(session, project, images=trainer.wants == "images")
        if run.rows_digest != rows_digest(problem_.labels) or run.method != settings.trainer:
            raise DataError("other labels have come since; the next training makes new ones")
        rng = generator(found.seed, "train", run.seed)
        kept = trainer.train(problem_.task, problem_.labels, rng, pool_probabilities=True)
        paths = _write(kept, project)
        with records.write("train-again") as session:
            _record(session, paths, found)


def _write(kept: Trained, project: Project) -> dict[str, Path]:
    files = {"test": kept.test_probabilities, "pool": kept.pool_probabilities}
    return {
        name: arrays.write_file(np.asarray(p, dtype=np.float32), project.arrays)
        for name, p in files.items()
    }


def _record(session: Session, paths: dict[str, Path], found: Round) -> None:
    for name, path in paths.items():
        arrays.record(
            session,
            path,
            pool_id=found.pool_id,
            kind="probabilities",
            name=name,
            of=f"round-{found.number}",
        )


def rows_digest(labels: NDArray[np.int64]) -> str:
    """32 hex digits that name the training rows and their labels."""
    rows = np.flatnonzero(labels >= 0)
    both = np.stack([rows, labels[rows]]).astype("<i8")
    return hashlib.blake2b(both.tobytes(), digest_size=16).hexdigest()
