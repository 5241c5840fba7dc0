"""run: step after step until people are needed or the last budget is spent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from db import queries
from db.errors import Missing, StaleRound
from db.models import round_name
from loop.encoders.spec import short
from loop.engine import LOCAL, Engine
from loop.errors import ConfigError, NotReady
from loop.project import Project
from loop.steps.begin import begin_round, one_more
from loop.steps.compare import compare
from loop.steps.embed import embed
from loop.steps.opened import reading
from loop.steps.pull import pull
from loop.steps.push import push
from loop.steps.report import report
from loop.steps.scan import scan
from loop.steps.score import score
from loop.steps.select import choose
from loop.steps.train import train


@dataclass(frozen=True)
class Watcher:
    """What ``run`` tells the terminal: a step begins, a step is so far."""

    begin: Callable[[str], None] = lambda text: None
    progress: Callable[[int, int], None] = lambda done, total: None


@dataclass(frozen=True)
class Ended:
    """Why ``run`` ended: ``waiting`` for people, or ``done``; and what to type ``next``."""

    why: str
    message: str
    next: str
    url: str | None = None
    rounds: list[int] = field(default_factory=list)


def run(
    project: Project,
    watcher: Watcher | None = None,
    budget: int | None = None,
    where: Engine = LOCAL,
) -> Ended:
    """Advances until people are needed. Safe to repeat at any time.

    Args:
        budget: starts one more round of this size; the planned ones must be over.
        where: the engine that embeds and scores.

    Raises:
        ConfigError: a ``budget`` while planned rounds remain.
        StaleRound: another command moved the round on.
        LoopError, ConnectorError, DbError: what the failing step raised; nothing is lost.
    """
    watcher = watcher or Watcher()
    if budget is not None:
        _check_over(project, budget)
    _prepare(project, watcher, where)
    while True:
        number, state = _where(project)
        try:
            if (state == "labeled" and number == 0) or state == "compared":
                if number:
                    report(project)
                started = begin_round(project, budget if number >= _planned(project) else None)
                budget = None if started and started > _planned(project) else budget
                ended = None if started else _done(project, number)
            else:
                ended = _step(project, watcher, round_name(number), state, where)
        except NotReady:
            if _where(project) == (number, state):
                raise
            raise StaleRound(
                f"{round_name(number)} was {state!r} a moment ago: another command works on this "
                "project. Nothing is lost; 'coreloop status' shows where it is"
            ) from None
        if ended is not None:
            return ended


def _check_over(project: Project, budget: int) -> None:
    """Raises ConfigError while planned rounds remain: another one would have to wait for them."""
    with reading(project) as records, records.read() as session:
        try:
            newest = queries.newest_round(session, queries.the_pool(session).id)
        except Missing:
            newest = None
    over = (newest.number if newest.state == "compared" else newest.number - 1) if newest else 0
    remaining = [
        f"{round_name(number)} ({size} images)"
        for number, size in enumerate(project.config.selection.budgets, 1)
        if number > over
    ]
    if remaining:
        raise ConfigError(
            f"--budget {budget} is for one more round after the planned ones, of which remain: "
            f"{', '.join(remaining)}; type 'coreloop run' without it, or change 'budgets' under "
            "[selection]"
        )


def _prepare(project: Project, watcher: Watcher, where: Engine) -> None:
    with reading(project) as records, records.read() as session:
        try:
            scanned = bool(queries.the_pool(session).digest)
        except Missing:
            scanned = False
    encoder = short(project.config.encoder)
    if not scanned:
        watcher.begin("scanning images")
        scan(project, lambda n: watcher.progress(n, 0))
    embed(project, watcher.progress, lambda: watcher.begin(f"embedding with {encoder}"), where)


def _step(project: Project, watcher: Watcher, name: str, state: str, where: Engine) -> Ended | None:
    """One step of one round; Ended if only people can do the next."""
    if state == "planned":
        watcher.begin(f"{name}: scoring with {project.config.selection.scorer}")
        score(project, where)
    elif state == "scored":
        watcher.begin(f"{name}: selecting")
        choose(project)
    elif state == "selected":
        watcher.begin(f"{name}: pushing to {project.config.labeler.kind}")
        push(project, on_progress=watcher.progress)
    elif state == "pushed":
        watcher.begin(f"{name}: pulling annotations")
        pulled = pull(project)
        if not pulled.complete:
            done = pulled.answered + pulled.skipped
            text = f"{name}: {done} of {pulled.picked} images answered"
            if pulled.gone:
                text += f"; {pulled.gone} are missing there, 'coreloop push' sends them again"
            return Ended("waiting", text, "coreloop run, when people have labelled", pulled.url)
    elif state == "labeled":
        watcher.begin(f"{name}: training")
        train(project)
    else:
        watcher.begin(f"{name}: comparing with {', '.join(project.config.compare.baselines)}")
        compare(project, on_progress=watcher.progress)
    return None


def _done(project: Project, number: int) -> Ended:
    with reading(project) as records, records.read() as session:
        more = one_more(session, project, queries.the_pool(session).id)
    following = "; ".join(filter(None, ["coreloop status", more]))
    rounds = "the one round is" if number == 1 else f"all {number} rounds are"
    return Ended("done", f"{rounds} done", following)


def _where(project: Project) -> tuple[int, str]:
    with reading(project) as records, records.read() as session:
        pool = queries.the_pool(session)
        newest = queries.newest_round(session, pool.id)
        if newest is None:
            raise NotReady("the scan did not finish; run 'coreloop scan'")
        return newest.number, newest.state


def _planned(project: Project) -> int:
    return len(project.config.selection.budgets)
