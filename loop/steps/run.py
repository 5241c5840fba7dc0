"""run: step after step until people are needed or the last budget is spent."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from connectors.base import ConnectorError
from db import queries
from db.errors import Missing, StaleRound
from db.models import Round
from loop import train as trainers
from loop.config import Config
from loop.encoders.spec import short
from loop.engine import LOCAL, Engine
from loop.errors import ConfigError, NotReady
from loop.project import Project
from loop.project.before import labels_before, read_before
from loop.project.completion import completion
from loop.project.corrections import outdated_rounds
from loop.project.delivery import unsent
from loop.project.fine_tuning import told_too_few
from loop.project.measurement import RoundResult, newest_result
from loop.project.remote import named_odd, named_unknown
from loop.project.rounds import begin_round, one_more, planned_rounds, remaining_rounds
from loop.reports.answers import finishing, to_finish
from loop.steps.autolabel import settle
from loop.steps.compare import compare
from loop.steps.embed import embed_all
from loop.steps.pull import Pulled, pull
from loop.steps.push import push
from loop.steps.report import report
from loop.steps.scan import scan
from loop.steps.score import NOTE, score
from loop.steps.select import LIKE_SHARE, check_like, preview, select
from loop.steps.train import train, train_outdated
from loop.wording import agreeing, counted

SEND = "coreloop run"
"""Sends picks that were reviewed."""


@dataclass(frozen=True)
class Watcher:
    """What ``run`` tells the terminal: a step begins, a step is so far."""

    begin: Callable[[str], None] = lambda text: None
    progress: Callable[[int, int], None] = lambda done, total: None


@dataclass(frozen=True)
class Ended:
    """Why ``run`` ended: ``waiting`` for people, ``review`` of the picks by the owner, or ``done``;
    and what to type ``next``.

    ``result`` is that of the newest round, if it was trained now or all rounds are done; ``page``
    shows the picks to review.
    """

    why: str
    message: str
    next: str
    url: str | None = None
    result: RoundResult | None = None
    page: str | None = None


def run(
    project: Project,
    watcher: Watcher | None = None,
    budget: int | None = None,
    where: Engine = LOCAL,
    *,
    review: bool = False,
    reopen: bool = False,
    like: Sequence[str] = (),
    share: float = LIKE_SHARE,
) -> Ended:
    """Advances until people are needed. Safe to repeat at any time.

    Args:
        budget: starts one more round of this size; the planned ones must be over.
        where: the engine that embeds and scores.
        review: end where picks are ready, before they are sent, and write a page that shows them.
        reopen: whether finished tasks may be opened again where ``overlap`` has grown.
        like, share: see ``select``, of the first round that is picked now.

    Raises:
        WouldReopen: they would be, and may not.
        ConfigError: a ``budget`` while planned rounds remain; no such class, or share.
        StaleRound: another command moved the round on.
        LoopError, ConnectorError, DbError: what the failing step raised; nothing is lost.
    """
    watcher = watcher or Watcher()
    if budget is not None:
        _check_over(project, budget)
    check_like(project, like, share)
    _prepare(project, watcher, where)
    trainings = _trainings(project)
    while True:
        round_ = _newest_round(project)
        number = round_.number if round_ else 0
        try:
            if round_ is None or round_.state == ("compared" if number else "labeled"):
                ended = _next_round(project, watcher, number, budget)
                budget = None  # one more round was asked for, and this is it
            elif review and round_.state == "selected":
                ended = _to_review(project, watcher)
            else:
                ended = _step(project, watcher, round_, where, (like, share), reopen=reopen)
                like = () if round_.state == "scored" else like
        except NotReady:
            newest = _newest_round(project)
            if round_ is None or newest is None or newest.state == round_.state:
                raise
            raise StaleRound(
                f"{round_.name} was {round_.state!r} a moment ago: another command works on this "
                "project; nothing was changed. 'coreloop status' shows where it is"
            ) from None
        if ended is not None:
            result = None
            if ended.why == "done" or _trainings(project) > trainings:
                result = _newest_result(project)
            message = ended.message + _odd(project) + _not_like(like)
            return replace(ended, message=message, result=result)


def look(project: Project) -> Ended | None:
    """What ``run`` would do first while people label, without what it prepares: pulls. Ended while
    people have not answered everything; None where there is more to do.

    Raises:
        LoopError, ConnectorError, DbError: see ``pull``.
    """
    round_ = _newest_round(project)
    if round_ is None or round_.state != "pushed" or _unsent(project, round_):
        return None
    ended = _waiting(pull(project), round_.name)
    return ended and replace(ended, message=ended.message + _odd(project))


def _next_round(
    project: Project, watcher: Watcher, number: int, budget: int | None
) -> Ended | None:
    """Begins the round after ``number``, which is reported first; Ended if that was the last."""
    if number:
        report(project)
    return None if begin_round(project, budget) else _end(project, watcher, number)


def _not_like(like: Sequence[str]) -> str:
    """What to know where nothing was picked of the classes that were asked for; empty if none."""
    if not like:
        return ""
    return f"; nothing was picked now: give --like {shlex.join(like)} again when the next round is"


def _check_over(project: Project, budget: int) -> None:
    """Raises ConfigError while planned rounds remain: another one would have to wait for them."""
    with project.records.read() as session:
        try:
            pool_id = queries.the_pool(session).id
        except Missing:
            remaining = planned_rounds(project.config.selection.budgets, first=1)
        else:
            remaining = remaining_rounds(session, project.config, pool_id)
    if remaining:
        raise ConfigError(
            f"--budget {budget} is for one more round after the planned ones, of which remain: "
            f"{', '.join(remaining)}; type 'coreloop run' without it, or change 'budgets' under "
            "[selection]"
        )


def _prepare(project: Project, watcher: Watcher, where: Engine) -> None:
    """Scans where no scan was finished, and embeds what is not embedded."""
    with project.records.read() as session:
        try:
            scanned = bool(queries.the_pool(session).digest)
        except Missing:
            scanned = False
    if not scanned:
        watcher.begin("scanning images")
        scan(project, watcher.progress)
    _adopt_labels(project, watcher)
    embed_all(
        project,
        watcher.progress,
        lambda encoder: watcher.begin(f"embedding with {short(encoder)}"),
        where,
        watcher.begin,
    )


def _adopt_labels(project: Project, watcher: Watcher) -> None:
    """Before anything is picked or sent, reads what people have labelled in a Label Studio project
    that was adopted."""
    source = labels_before(project)
    round_ = _newest_round(project)
    begun = round_ is not None and (round_.number > 0 or round_.state == "pushed")
    if source is None or begun:
        return
    with project.writing() as records:
        count = read_before(records, source, project.config)
    if count:
        images = f"{counted(count, 'image')} {agreeing(count, 'is')}"
        watcher.begin(f"{images} labelled there already, and nobody is asked again")


def _step(
    project: Project,
    watcher: Watcher,
    round_: Round,
    where: Engine,
    like: tuple[Sequence[str], float],
    *,
    reopen: bool,
) -> Ended | None:
    """One step of one round; Ended if only people can do the next."""
    config, name, state = project.config, round_.name, round_.state
    if state == "planned":
        watcher.begin(f"{name}: scoring with {round_.config['selection']['scorer']}")
        explanation = score(project, where)
        if NOTE in explanation:
            watcher.begin(explanation[NOTE])
    elif state == "scored":
        watcher.begin(f"{name}: selecting")
        for name, picked in select(project, *like).like.items():
            watcher.begin(f"like {name}: {picked}")
    elif state == "selected" or (state == "pushed" and _unsent(project, round_)):
        watcher.begin(f"{name}: pushing to {config.labeler.kind}")
        _push(project, watcher, reopen)
    elif state == "pushed":
        watcher.begin(f"{name}: pulling annotations")
        return _waiting(pull(project), name)
    elif state == "labeled" and _of_promise(project, round_):
        watcher.begin(f"{name}: what the model may label by itself")
        settle(project)
    elif state == "labeled":
        few = told_too_few(project)
        if few:
            watcher.begin(few)
        watcher.begin(f"{name}: training{_times(config)}")
        train(project, watcher.progress, watcher.begin)
    else:
        watcher.begin(f"{name}: comparing with {', '.join(config.compare.baselines)}")
        compare(project, on_progress=watcher.progress)
    return None


def _to_review(project: Project, watcher: Watcher) -> Ended:
    watcher.begin("writing a page of the picks")
    shown, page = preview(project)
    count = len(shown.picks)
    message = (
        f"{shown.name}: {counted(count, 'image')} {agreeing(count, 'is')} picked, none is sent"
    )
    return Ended("review", message, f"{SEND}, when you have looked", page=str(page))


def _push(project: Project, watcher: Watcher, reopen: bool) -> None:
    replaced = push(project, reopen=reopen, on_progress=watcher.progress).replaced
    if replaced.dropped:
        watcher.begin(str(replaced))


def _unsent(project: Project, round_: Round) -> bool:
    """Whether picks of a round that people label already were added, and not sent."""
    with project.records.read() as session:
        return bool(unsent(session, round_.id, project.config.project.classes))


def _times(config: Config) -> str:
    """Of networks, which take long: how many are trained."""
    trainer = trainers.get(config.training.trainer, **config.training.params)
    if trainer.wants != "images" or config.measure.by != "sample":
        return ""
    folds = config.measure.folds
    return (
        f" {config.training.seeds * (2 + 2 * folds)} networks: the model, {folds} that measure it, "
        f"and {folds + 1} that compare; fewer 'folds' under [measure] take less"
    )


def _of_promise(project: Project, round_: Round) -> bool:
    with project.records.read() as session:
        return queries.promise_of(session, round_.id) is not None


def _waiting(pulled: Pulled, name: str) -> Ended | None:
    """Ended while people have not answered everything."""
    if pulled.complete:
        return None
    text = f"{name}: {pulled.answered} of {counted(pulled.picked, 'image')} labelled"
    if pulled.skipped:
        text += f", {pulled.skipped} skipped"
    if pulled.gone:
        text += f"; {pulled.gone} are missing there, 'coreloop push' sends them again"
    return Ended("waiting", text, "coreloop run, when people have labelled", pulled.url)


def _end(project: Project, watcher: Watcher, number: int) -> Ended:
    """What is to be said once all rounds are over, their figures being of today's labels."""
    missed = _look_for_corrections(project, watcher)
    with project.records.read() as session:
        outdated = outdated_rounds(session, project)
    if outdated:
        watcher.begin(f"labels have changed: training again{_times(project.config)}")
        train_outdated(project, watcher.progress)
    uncompared = _newest_trained_state(project) == "trained"
    if uncompared:
        watcher.begin(f"comparing with {', '.join(project.config.compare.baselines)}")
        compare(project, on_progress=watcher.progress)
    if outdated or uncompared:
        report(project)
    ended = _done(project, number)
    return replace(ended, message=ended.message + missed)


def _look_for_corrections(project: Project, watcher: Watcher) -> str:
    """Pulls what people have changed since the last round ended; what to know where nobody
    answered."""
    if project.config.labeler.kind == "oracle":
        return ""
    watcher.begin("looking for corrected answers")
    try:
        pull(project)
    except (ConnectorError, ConfigError) as error:  # what was measured stays
        return (
            f"; answers that were corrected since the last pull are not in these figures: {error}"
        )
    return ""


def _newest_trained_state(project: Project) -> str:
    """State of the newest round that is trained; empty where none is."""
    with project.records.read() as session:
        runs = queries.runs(session, queries.the_pool(session).id, "all")
        return session.get_one(Round, runs[-1][1].round_id).state if runs else ""


def _odd(project: Project) -> str:
    """How many annotations are not read as an answer, or name another class, and the first of
    them; empty if none is."""
    with project.records.read() as session:
        pool_id = queries.the_pool(session).id
        odd = named_odd(session, pool_id)
        unknown = named_unknown(session, pool_id, project.config)
    others = f"; {unknown}" if unknown else ""
    if not odd:
        return others
    if len(odd) == 1:
        return f"{others}; an annotation is not read as an answer: {odd[0]}"
    annotations = counted(len(odd), "annotation")
    return (
        f"{others}; {annotations} are not read as an answer ('coreloop pull' names them), the "
        f"first: {odd[0]}"
    )


def _done(project: Project, number: int) -> Ended:
    rounds = "the one round is" if number == 1 else f"all {number} rounds are"
    with project.records.read() as session:
        done = completion(session, project)
        more = one_more(session, project.config, queries.the_pool(session).id)
    told = f" {finishing(done)}" if done.promise or done.finished else ""
    message = f"{rounds} done{'.' if told else ''}{told}"
    if done.finished:
        return Ended("done", message, "coreloop export --all")
    if not told and (cost := to_finish(done)):
        message = f"{message}. {cost}"
    return Ended("done", message, f"coreloop status; {more}" if more else "coreloop status")


def _trainings(project: Project) -> int:
    """How often a model was trained on all labels."""
    with project.records.read() as session:
        return len(queries.runs(session, queries.the_pool(session).id, "all"))


def _newest_result(project: Project) -> RoundResult | None:
    with project.records.read() as session:
        return newest_result(session, queries.the_pool(session).id, project.config)


def _newest_round(project: Project) -> Round | None:
    """None before the first round, where a random sample measures."""
    with project.records.read() as session:
        return queries.newest_round(session, queries.the_pool(session).id)
