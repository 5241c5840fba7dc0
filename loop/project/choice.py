"""What a round can pick from: its own scores, and which images are still to be had."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db import arrays, queries
from db.errors import Missing
from db.models import Round
from loop.config import SelectionSection
from loop.errors import DataError
from loop.near_duplicates import one_of_each
from loop.project.near_duplicates import kept_duplicates
from loop.project.placed import known
from loop.project.project import Project
from loop.project.rounds import settings_of
from loop.seeds import generator
from loop.select import picks
from loop.wording import agreeing, counted

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Candidates:
    """The images that a round scored and that are not passed over.

    Attributes:
        rows: (N,) array rows, ascending.
        scores: (N,) float64 of the round.
        available: (N,) bool, picked by no round.
        undoubled: (N,) bool, of these one of each group of near-duplicates, none of those with a
            pick; all where the settings let any be picked.
    """

    round_: Round
    settings: SelectionSection
    rows: Rows
    scores: NDArray[np.float64]
    available: NDArray[np.bool_]
    undoubled: NDArray[np.bool_]

    @property
    def control_share(self) -> int:
        """How many of the round's budget are a random control."""
        return round(self.round_.budget * self.settings.control)

    def at_random(self, count: int, stream: str = "select") -> Rows:
        """(count,) of the rows, each as likely as any other."""
        self._check(count)
        rng = generator(self.round_.seed, stream)
        return rng.choice(np.flatnonzero(self.available), size=count, replace=False)

    def best(self, count: int, without: Rows) -> Rows:
        """(count,) of the rows by the round's own rule, in labelling order; near-duplicates only
        where nothing else is left."""
        self._check(count + len(without))
        open_ = self.undoubled.copy()
        open_[without] = False
        if count > open_.sum():
            open_ = self.available.copy()
            open_[without] = False
        rule, skip = self.settings.rule, self.settings.skip
        return picks(rule, self.scores, open_, count, self.round_.seed, skip=skip)

    def _check(self, count: int) -> None:
        left = int(self.available.sum())
        if count > left:
            raise DataError(
                f"the budget is {self.round_.budget}, but only {counted(left, 'image')} "
                f"{agreeing(left, 'is')} left; lower it in coreloop.toml, or stop here: everything "
                "is picked"
            )


def choice_of(session: Session, project: Project, round_: Round) -> Candidates:
    """By the settings that a round was begun with. Raises Missing: its scores are not recorded."""
    array = arrays.find(
        session,
        pool_id=round_.pool_id,
        kind="scores",
        name="coreset",
        of=f"round-{round_.number}",
    )
    if array is None:
        raise Missing(f"the scores of round {round_.number} are not recorded")
    rows, scores = known(session, round_.pool_id, arrays.load(array, project.arrays))
    settings = settings_of(round_, project.config).selection
    available = ~np.isin(rows, queries.picked_rows(session, round_.pool_id))
    covered = np.isin(rows, queries.picked_rows(session, round_.pool_id, by_scorer=True))
    return Candidates(
        round_=round_,
        settings=settings,
        rows=rows,
        scores=scores.astype(np.float64),
        available=available,
        undoubled=undoubled(session, project, settings, rows, available, covered),
    )


def undoubled(
    session: Session,
    project: Project,
    settings: SelectionSection,
    rows: Rows,
    available: NDArray[np.bool_],
    covered: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """(N,) those available that no pick doubles, see ``loop.near_duplicates.one_of_each``; all of
    them where the settings let any be picked.

    Args:
        rows: (N,) array rows, of which ``available`` and ``covered``, (N,), speak.
    """
    kept = kept_duplicates(session, project) if settings.near_duplicates == "one" else None
    return available if kept is None else one_of_each(kept.of(rows), available, covered)
