"""Trainings that are out of date: their labels are not today's. Answers were corrected, came late
or count no more, or the random sample was enlarged, after the training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db import queries
from db.models import TrainingRun
from db.queries import Picked
from loop.project.digests import numbers_digest, rows_digest
from loop.project.labels import Labels, collect
from loop.project.project import Project

MEASURED = "measured on"
"""Key in the notes of a run on all labels: digest of the images that measured it, and their labels.
Runs of older versions have none."""


def outdated_rounds(
    session: Session, project: Project, labels: Labels | None = None
) -> tuple[int, ...]:
    """Numbers of the trained rounds whose newest training learned, or was measured on, other labels
    than people give today; ascending. A round learns the picks up to its own.

    Raises:
        ConfigError: see ``collect``.
    """
    pool = queries.the_pool(session)
    runs = dict(queries.runs(session, pool.id, "all"))
    if not runs:
        return ()
    labels = labels or collect(session, pool, project.config)
    picks = queries.picks(session, pool.id)
    measuring = measuring_rows(picks)
    rows = {number: _picked_until(picks, number) for number in runs}
    return tuple(
        number
        for number, run in runs.items()
        if run.rows_digest != _learned_digest(session, pool.id, labels, rows[number])
        or not _measured_on(run, measuring, labels)
    )


def measuring_rows(picks: Sequence[Picked]) -> NDArray[np.int64]:
    """(n,) array rows of the random sample, or else of the test images, ascending."""
    sample = [pick.row for pick in picks if pick.draw is not None]
    rows = sample or [pick.row for pick in picks if pick.arm == "test"]
    return np.sort(np.array(rows, dtype=np.int64))


def measured_digest(rows: NDArray[np.int64], labels: Labels) -> str:
    """32 hex digits of those of these array rows that have a label, and the labels."""
    given = labels.of(rows)
    return numbers_digest(rows[given >= 0], given[given >= 0])


def _measured_on(run: TrainingRun, rows: NDArray[np.int64], labels: Labels) -> bool:
    """Whether these rows with today's labels measured a run; older versions noted the count."""
    if MEASURED in run.notes:
        return bool(run.notes[MEASURED] == measured_digest(rows, labels))
    return int(run.metrics["n"]) == int((labels.of(rows) >= 0).sum())


def _picked_until(picks: Sequence[Picked], number: int) -> NDArray[np.int64]:
    """(k,) array rows that the rounds up to this one picked to learn from, ascending."""
    rows = [pick.row for pick in picks if pick.arm != "test" and pick.round <= number]
    return np.sort(np.array(rows, dtype=np.int64))


def _learned_digest(session: Session, pool_id: int, labels: Labels, rows: NDArray[np.int64]) -> str:
    """``rows_digest`` of what a training on these array rows learns today."""
    return rows_digest(queries.pool_places(session, pool_id, rows), labels.of(rows))


def in_words(outdated: Sequence[int]) -> str:
    """What has changed, and what to type; empty where nothing has."""
    if not outdated:
        return ""
    rounds = f"round {outdated[0]} was"
    if len(outdated) > 1:
        numbers = ", ".join(map(str, outdated[:-1]))
        rounds = f"rounds {numbers} and {outdated[-1]} were"
    return (
        f"labels have changed since {rounds} trained; 'coreloop train --again' trains and measures "
        "on today's"
    )
