"""select: scores -> picks, in labelling order; a share of the budget may be a random control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db import queries
from db.picks import add_picks
from db.state import advance, log
from loop.errors import ConfigError, nearest
from loop.project import Project
from loop.project.choice import Candidates, choice_of
from loop.project.likeness import likeness
from loop.project.preview import preview as previewed
from loop.project.rounds import current_round
from loop.project.sample import mix_sample
from loop.reports.preview import Preview, write_preview
from loop.select import picks
from loop.wording import counted

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Selected:
    """How many picks a round got."""

    coreset: int
    control: int
    like: dict[str, str] = field(default_factory=dict)
    """Class that was asked for -> how many of the picks are near it, and by what."""


LIKE_SHARE = 0.25
"""Of a round's picks, for the classes that people ask for."""


def select(project: Project, like: Sequence[str] = (), share: float = LIKE_SHARE) -> Selected:
    """Fixes the picks of the current round, by the settings that it was begun with.

    Args:
        like: classes of which more images are wanted; ``share`` of the picks are near them, shared
            out evenly, and are labelled first.

    Raises:
        NotReady: the round is not scored; a class has no label, and its name says nothing.
        ConfigError: no such class, or a share that is none.
        DataError: fewer images are left than the budget asks for.
    """
    check_like(project, like, share)
    with project.writing() as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            round_ = current_round(session, pool, after="scored")
            choice = choice_of(session, project, round_)
            control = choice.at_random(choice.control_share)
            picked = round_.budget - len(control)
            near, told = _near(session, project, choice, like, round(share * picked), control)
        others = choice.best(picked - len(near), without=np.concatenate([control, near]))
        coreset = np.concatenate([near, others])
        explanation = {**round_.explanation, **({"like": told} if told else {})}
        with records.write("select") as session:
            advance(session, round_.id, before="scored", after="selected", explanation=explanation)
            for arm, chosen in (("coreset", coreset), ("control", control)):
                add_picks(session, round_, choice.rows[chosen], arm, choice.scores[chosen])
            mix_sample(session, round_)
            text = f"{counted(len(coreset), 'pick')}, {len(control)} control"
            text += "".join(f"; like {name}: {how}" for name, how in told.items())
            log(session, "select", text, round=round_.number)
        return Selected(len(coreset), len(control), told)


def check_like(project: Project, like: Sequence[str], share: float) -> None:
    """Raises ConfigError: no such class, or a share that is none."""
    if not 0 < share <= 1:
        raise ConfigError(f"--share is above 0 and at most 1, got {share}")
    classes = project.config.project.classes
    for name in like:
        if name not in classes:
            raise ConfigError(f"no class {name!r}{nearest(name, classes)}")


def _near(
    session: Session,
    project: Project,
    choice: Candidates,
    like: Sequence[str],
    count: int,
    control: Rows,
) -> tuple[Rows, dict[str, str]]:
    """At most ``count`` of the candidates, those nearest to each class in turn; and what each class
    got, in words."""
    open_ = choice.available.copy()
    open_[control] = False
    near: list[Rows] = [np.empty(0, np.int64)]
    told: dict[str, str] = {}
    names = list(dict.fromkeys(like))
    for number, name in enumerate(names):
        wanted = count // len(names) + (number < count % len(names))
        scores, by = likeness(session, project, name, choice.rows)
        chosen = picks("top", scores, open_, min(wanted, int(open_.sum())), choice.round_.seed)
        open_[chosen] = False
        near.append(chosen)
        told[name] = f"{counted(len(chosen), 'pick')}, by {by}"
    return np.concatenate(near), told


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
