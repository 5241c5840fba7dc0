"""select: scores -> picks, in labelling order; a share of the budget may be a random control."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from db import queries
from db.picks import add_picks
from db.state import advance, log
from loop.project import Project
from loop.project.choice import choice_of
from loop.project.preview import preview as previewed
from loop.project.rounds import current_round
from loop.project.sample import mix_sample
from loop.reports.preview import Preview, write_preview
from loop.wording import counted

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
            choice = choice_of(session, project, round_)
        share = choice.control_share
        control = choice.at_random(share)
        coreset = choice.best(round_.budget - share, without=control)
        with records.write("select") as session:
            advance(session, round_.id, before="scored", after="selected")
            for arm, chosen in (("coreset", coreset), ("control", control)):
                add_picks(session, round_, choice.rows[chosen], arm, choice.scores[chosen])
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
