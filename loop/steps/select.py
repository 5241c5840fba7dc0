"""select: scores -> picks, in labelling order; a share of the budget may be a random control."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db import arrays, queries
from db.errors import Missing
from db.models import Round
from db.picks import add_picks
from db.state import advance, log
from loop.config import SelectionSection
from loop.errors import DataError
from loop.project import Project
from loop.project.preview import preview as previewed
from loop.project.rounds import current_round, settings_of
from loop.project.sample import mix_sample
from loop.reports.preview import Preview, write_preview
from loop.seeds import generator
from loop.select import picks
from loop.wording import agreeing, counted

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Selected:
    """How many picks a round got."""

    coreset: int
    control: int


def select(project: Project) -> Selected:
    """Fixes the picks of the current round, by the settings that it was begun with.

    Raises:
        NotReady: the round is not scored.
        DataError: fewer images are left than the budget asks for.
    """
    with project.writing() as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            round_ = current_round(session, pool, after="scored")
            scores = _scores(session, project, round_)
            rows = queries.split_rows(session, pool.id, "pool")[: len(scores)]
            available = ~np.isin(rows, queries.picked_rows(session, pool.id))
        settings = settings_of(round_, project.config).selection
        coreset, control = _choose(settings, round_, scores, available)
        with records.write("select") as session:
            advance(session, round_.id, before="scored", after="selected")
            for arm, chosen in (("coreset", coreset), ("control", control)):
                add_picks(session, round_, rows[chosen], arm, scores[chosen])
            mix_sample(session, round_)
            text = f"{counted(len(coreset), 'pick')}, {len(control)} control"
            log(session, "select", text, round=round_.number)
        return Selected(len(coreset), len(control))


def is_selected(project: Project) -> bool:
    """Whether the newest round has its picks, and they are not sent."""
    with project.records.read() as session:
        newest = queries.newest_round(session, queries.the_pool(session).id)
    return newest is not None and newest.state == "selected"


def preview(project: Project, out: Path | None = None) -> tuple[Preview, Path]:
    """What a push would have people label, and the page that shows it, in ``out`` (default: the
    project's ``reports``). The records stay as they are.

    Raises:
        NotReady: the newest round has no picks yet, or they are sent already.
        OSError: the folder cannot be written, or the disk is full.
    """
    shown = previewed(project)
    return shown, write_preview(shown, out or project.reports)


def _scores(session: Session, project: Project, round_: Round) -> NDArray[np.float64]:
    array = arrays.find(
        session,
        pool_id=round_.pool_id,
        kind="scores",
        name="coreset",
        of=f"round-{round_.number}",
    )
    if array is None:
        raise Missing(f"the scores of round {round_.number} are not recorded")
    return np.asarray(arrays.load(array, project.arrays), dtype=np.float64)


def _choose(
    settings: SelectionSection,
    round_: Round,
    scores: NDArray[np.float64],
    available: NDArray[np.bool_],
) -> tuple[Rows, Rows]:
    """(coreset, control): pool rows, together as many as the round's budget."""
    left = int(available.sum())
    if round_.budget > left:
        raise DataError(
            f"the budget is {round_.budget}, but only {counted(left, 'image')} "
            f"{agreeing(left, 'is')} left; lower it in coreloop.toml, or stop here: everything is "
            "picked"
        )
    share = round(round_.budget * settings.control)
    rng = generator(round_.seed, "select")
    control = rng.choice(np.flatnonzero(available), size=share, replace=False)
    open_ = available.copy()
    open_[control] = False
    size = round_.budget - share
    coreset = picks(settings.rule, scores, open_, size, round_.seed, skip=settings.skip)
    return coreset, control
