"""What a report is made of: the records of a project, read in one session."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from connectors.base import Source
from db import queries
from db.answers import Answer, asked_for
from db.models import Pool, Round, TrainingRun
from db.queries import Picked
from loop.config import Config
from loop.errors import NotReady
from loop.label_issues import LabelIssue
from loop.project.completion import completion
from loop.project.corrections import outdated_rounds
from loop.project.embeddings import embeddings
from loop.project.labels import Labels, Outstanding, collect, tally
from loop.project.left_out import (
    LeftOut,
    issues_among,
    labelled_images,
    nothing_left_out,
    predict_left_out,
)
from loop.project.project import Project
from loop.project.quality import quality
from loop.quality import Quality
from loop.reports.facts import Completion


@dataclass(frozen=True)
class Evidence:
    """The records, and what follows from them alone.

    Attributes:
        source: where the pictures are.
        picks: of every round, the test split's too, in labelling order.
        open: round number -> how much of it is answered.
        runs: (round number, training run), oldest first.
        pool_rows: (N,) array rows of the pool.
        embedded: (all items, D) float32 in array rows; None where the images are not embedded.
        completion: how far the collection is.
        quality: what ``coreloop scan --quality`` found; None where nobody asked.
        outdated: numbers of the rounds trained on other labels than people give now.
    """

    config: Config
    source: Source
    pool: Pool
    counts: dict[str, Any]
    labels: Labels
    picks: list[Picked]
    rounds: list[Round]
    open: dict[int, Outstanding]
    runs: list[tuple[int, TrainingRun]]
    pool_rows: NDArray[np.int64]
    embedded: NDArray[np.float32] | None
    completion: Completion
    quality: Quality | None
    outdated: tuple[int, ...]

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of class indices."""
        return self.config.project.classes

    @property
    def answers(self) -> list[Answer]:
        """Those that rounds asked people for."""
        return asked_for(self.labels.answers)

    @property
    def chosen(self) -> list[Picked]:
        """Picks without those of the test split."""
        return [pick for pick in self.picks if pick.arm != "test"]

    @property
    def skipped(self) -> set[int]:
        """Array rows that people looked at and gave no label."""
        return {answer.row for answer in self.answers} - set(self.labels.by_row)

    @property
    def live(self) -> list[TrainingRun]:
        """Trainings on everything labelled, oldest first."""
        return [run for _, run in self.runs if run.arm == "all"]

    @cached_property
    def left_out(self) -> LeftOut:
        """What a model of all other labels predicts for each labelled image; of none where too few
        are labelled."""
        if self.embedded is not None:
            try:
                return predict_left_out(self.embedded, self.labels.by_row, len(self.classes))
            except NotReady:
                pass
        return nothing_left_out(len(self.classes))

    @cached_property
    def label_issues(self) -> list[LabelIssue]:
        """Labels that the others contradict, the largest label margin first."""
        return issues_among(labelled_images(self.picks), self.classes, self.left_out)


def gather(project: Project) -> Evidence:
    """Reads everything once.

    Raises:
        Missing: the images have not been scanned.
    """
    with project.records.read() as session:
        pool, config = queries.the_pool(session), project.config
        labels = collect(session, pool, config)
        picks = queries.picks(session, pool.id)
        rounds = list(queries.rounds(session, pool.id))
        return Evidence(
            config=config,
            source=project.source,
            pool=pool,
            counts=queries.counts(session, pool.id),
            labels=labels,
            picks=picks,
            rounds=rounds,
            open=tally(rounds, picks, labels.answers, config),
            runs=queries.runs(session, pool.id),
            pool_rows=queries.split_rows(session, pool.id, "pool"),
            embedded=_embedded(session, project),
            completion=completion(session, project, labels),
            quality=quality(session, project),
            outdated=outdated_rounds(session, project, labels),
        )


def _embedded(session: Session, project: Project) -> NDArray[np.float32] | None:
    try:
        return embeddings(session, project)
    except NotReady:
        return None
