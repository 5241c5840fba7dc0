"""train: labels so far -> a model, and how good it is on the test split."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db import arrays, queries
from db.models import Round, Run
from db.state import advance, log
from loop import train as trainers
from loop.errors import DataError
from loop.project import Project
from loop.seeds import generator
from loop.steps.labels import CLASSES
from loop.steps.opened import current_round, writing
from loop.steps.task import problem, unfinished
from loop.train import Trained
from loop.train.metrics import Metrics


def train(project: Project) -> Metrics:
    """Trains on everything labelled so far; metrics of the last of ``training.seeds`` runs.

    With a control share, the coreset's and the control's labels are also trained on apart.

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
        arms = {"all": problem_.labels}
        if any(pick.arm == "control" for pick in picks):
            for arm in ("coreset", "control"):
                mine = np.isin(problem_.rows, [p.row for p in picks if p.arm == arm])
                arms[arm] = np.where(mine, problem_.labels, -1)
        runs: list[Run] = []
        kept = None
        for arm, labels in arms.items():
            if not (labels >= 0).any():
                continue
            for seed in range(settings.seeds):
                rng = generator(found.seed, "train", seed)
                kept_now = trainer.train(problem_.task, labels, rng, pool_probabilities=True)
                if arm == "all":
                    kept = kept_now
                runs.append(
                    Run(
                        round_id=found.id, arm=arm, method=settings.trainer, seed=seed, mode="live",
                        labels=int((labels >= 0).sum()), rows_digest=rows_digest(labels),
                        metrics=kept_now.metrics.to_json(), notes=kept_now.notes,
                    )
                )  # fmt: skip
        assert kept is not None  # "labeled" means that there is a label
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
                if run.arm == "all" and number == r.number and of == f"round-{number}"
                and run.seed == settings.seeds - 1
            )  # fmt: skip
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
            session, path, pool_id=found.pool_id, kind="probabilities",
            name=name, of=f"round-{found.number}",
        )  # fmt: skip


def rows_digest(labels: NDArray[np.int64]) -> str:
    """32 hex digits that name the training rows and their labels."""
    rows = np.flatnonzero(labels >= 0)
    both = np.stack([rows, labels[rows]]).astype("<i8")
    return hashlib.blake2b(both.tobytes(), digest_size=16).hexdigest()
