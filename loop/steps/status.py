"""status: where the project stands and what to type next; answers at once for any pool size."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import make_url, select
from sqlalchemy.orm import Session

from connectors.base import PassedOver
from db import queries
from db.errors import Missing
from db.models import Batch, Event, Pool
from loop.config import Config
from loop.encoders.spec import short
from loop.frames import to_frame
from loop.goals import metric_name, value
from loop.project import Project
from loop.project.completion import completion
from loop.project.corrections import in_words, outdated_rounds
from loop.project.delivery import unsent
from loop.project.few_labels import few_labels
from loop.project.fine_tuning import too_few
from loop.project.labeler import labelling_url
from loop.project.labels import (
    Outstanding,
    changed_classes,
    collect,
    outstanding,
    overlap_not_asked,
    second_opinions,
)
from loop.project.measurement import Measurement, newest_measurement
from loop.project.remarks import passed_over
from loop.project.remote import named_odd, named_unknown, unanswered_and_gone
from loop.project.rounds import edited_since, next_command, one_more, remaining_rounds
from loop.project.watch import WatchState, watch_state
from loop.reports.facts import Completion, FewLabels
from loop.secrets import origin, shown_address
from loop.wording import agreeing, counted

if TYPE_CHECKING:
    import pandas


MOST_NAMED = 10
"""Annotations that could not be read, named one by one."""


@dataclass(frozen=True)
class RoundLine:
    """One round at a glance. ``picked``: images to label, the budget and those of the sample;
    ``value``: of the model in the metric of the goal, beside its plain accuracy."""

    number: int
    state: str
    budget: int
    picked: int
    labelled: int
    skipped: int
    unanswered: int
    scorer: str
    value: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Status:
    """The whole project at a glance.

    Attributes:
        second_opinions: images with an answer that wait for one more.
        metric: that the project is after, see ``loop.goals``.
        passed_over: what the last scan found that is no image of the pool.
        url: where people label; None before the first push, and where nobody is asked.
        few_labels: classes that the model has learned hardly a label of, the fewest first.
        watch: how the process stands that turns the loop by itself; None where none does.
        encoder_choice: what labels said last of the encoders to choose among.
    """

    name: str
    root: str
    counts: dict[str, Any]
    rounds: list[RoundLine]
    measured: Measurement | None
    completion: Completion | None
    settings: dict[str, str]
    troubles: list[str]
    events: list[str]
    next: str
    metric: str = "accuracy"
    second_opinions: int = 0
    url: str | None = None
    passed_over: tuple[PassedOver, ...] = ()
    watch: WatchState | None = None
    encoder_choice: str = ""
    few_labels: list[FewLabels] = field(default_factory=list)

    def to_frame(self) -> pandas.DataFrame:
        """The rounds as a table."""
        return to_frame(self.rounds)


def status(project: Project) -> Status:
    """Reads only counts and the newest rows.

    Raises:
        Missing: the database has gone.
    """
    watch = watch_state(project)
    with project.records.read() as session:
        try:
            pool = queries.the_pool(session)
        except Missing:
            return replace(_unscanned(project), watch=watch)
        done = completion(session, project)
        outdated, few = _of_labels(session, pool, project)
        return Status(
            name=pool.name,
            root=str(project.root),
            metric=metric_name(project.config.goal.metric),
            counts=queries.counts(session, pool.id),
            rounds=_rounds(session, pool.id, project.config),
            measured=newest_measurement(session, pool.id, project.config),
            completion=done,
            settings=settings(project),
            troubles=[
                *([watch.trouble()] if watch and watch.trouble() else []),
                *_troubles(session, pool.id, project.config, outdated),
            ],
            events=_events(session),
            next=_following(session, pool.id, project.config, done, outdated),
            second_opinions=second_opinions(session, pool, project.config),
            url=labelling_url(session, project, pool),
            passed_over=passed_over(pool),
            watch=watch,
            encoder_choice=_encoder_choice(session, pool.id, project),
            few_labels=few,
        )


def _encoder_choice(session: Session, pool_id: int, project: Project) -> str:
    if not project.written.encoder_candidates:
        return ""
    told = [
        f"{round_.name} compared the encoders: {round_.explanation['encoder']['why']}"
        for round_ in queries.rounds(session, pool_id)
        if "encoder" in round_.explanation
    ]
    return told[-1] if told else ""


def _unscanned(project: Project) -> Status:
    name, root = project.config.project.name, str(project.root)
    metric = metric_name(project.config.goal.metric)
    return Status(name, root, {}, [], None, None, settings(project), [], [], "coreloop run", metric)


def _rounds(session: Session, pool_id: int, config: Config) -> list[RoundLine]:
    live = dict(queries.runs(session, pool_id, "all"))
    open_ = outstanding(session, pool_id, config)
    lines = []
    for round_ in queries.rounds(session, pool_id):
        run = live.get(round_.number)
        counts = open_.get(round_.number, Outstanding(0, 0, 0))
        explained = round_.explanation
        lines.append(
            RoundLine(
                number=round_.number,
                state=round_.state,
                budget=round_.budget,
                picked=max(counts.picked, round_.budget),
                labelled=counts.answered,
                skipped=counts.skipped,
                unanswered=counts.unanswered,
                scorer=str(explained.get("choice") or explained.get("scorer") or "-"),
                value=None if run is None else value(run.metrics, config.goal.metric),
                accuracy=None if run is None else value(run.metrics, "accuracy"),
            )
        )
    return lines


def _of_labels(
    session: Session, pool: Pool, project: Project
) -> tuple[tuple[int, ...], list[FewLabels]]:
    """See ``outdated_rounds`` and ``few_labels``; none before the first training, and where the
    classes do not fit the labels."""
    classes = project.config.project.classes
    trained = queries.runs(session, pool.id, "all")
    if not trained or changed_classes(session, pool.id, classes):
        return (), []
    labels = collect(session, pool, project.config)
    few = few_labels(classes, queries.picks(session, pool.id), labels.by_row)
    return outdated_rounds(session, project, labels), few


def _troubles(
    session: Session, pool_id: int, config: Config, outdated: tuple[int, ...]
) -> list[str]:
    """What a person should look at."""
    troubles = [changed_classes(session, pool_id, config.project.classes), in_words(outdated)]
    troubles.append(too_few(session, pool_id, config))
    newest = queries.newest_round(session, pool_id)
    if newest and newest.state in ("planned", "scored"):
        troubles.append(edited_since(newest, config))
    if newest:
        troubles.append(overlap_not_asked(newest, config))
    doubtful = select(Batch).where(Batch.state.in_(("SENT", "UNKNOWN")))
    for batch in session.scalars(doubtful):
        troubles.append(f"batch {batch.uuid[:8]} {batch.state}: {batch.message}")
    if newest and newest.state == "pushed":
        gone = len(unanswered_and_gone(session, newest.id, config))
        if gone:
            troubles.append(
                f"{newest.name}: {counted(gone, 'image')} sent {agreeing(gone, 'is')} missing "
                f"there without an answer; 'coreloop push' sends {agreeing(gone, 'it')} again"
            )
    troubles.append(named_unknown(session, pool_id, config))
    odd = named_odd(session, pool_id, settled=True)
    troubles += [f"not read as an answer: {name}" for name in odd[:MOST_NAMED]]
    if len(odd) > MOST_NAMED:
        troubles.append(f"{len(odd) - MOST_NAMED} more are not read as an answer; see 'pull'")
    return [trouble for trouble in troubles if trouble]


def _events(session: Session) -> list[str]:
    """The three newest, oldest first."""
    newest = session.scalars(select(Event).order_by(Event.id.desc()).limit(3)).all()
    return [
        f"{event.at:%Y-%m-%d %H:%M} {event.step}: {event.message}" for event in reversed(newest)
    ]


def _following(
    session: Session, pool_id: int, config: Config, done: Completion, outdated: tuple[int, ...]
) -> str:
    """What to type next."""
    newest = queries.newest_round(session, pool_id)
    if newest is None:
        return "coreloop run"
    if newest.state != "compared" or remaining_rounds(session, config, pool_id):
        added = newest.state == "pushed" and unsent(session, newest.id, config.project.classes)
        return "coreloop push" if added else next_command(newest)
    if outdated and outdated[-1] == queries.runs(session, pool_id, "all")[-1][0]:
        return "coreloop run"
    if done.finished:
        return "coreloop export --all"
    more = one_more(session, config, pool_id)
    return f"coreloop report; {more}" if more else "coreloop report"


def settings(project: Project) -> dict[str, str]:
    """What is in force, after flags, environment, file and labels."""
    config = project.config
    labeler: str = config.labeler.kind
    if labeler == "label-studio":
        url = os.environ.get("LABEL_STUDIO_URL") or config.labeler.url or "no address"
        labeler = f"label-studio at {shown_address(url)} ({origin(project.root)})"
    return {
        "scorer": config.selection.scorer,
        "encoder": _encoder(project),
        "labeler": labeler,
        "trainer": config.training.trainer,
        "budgets": ", ".join(map(str, config.selection.budgets)),
        "database": _database(config.project.database),
    }


def _encoder(project: Project) -> str:
    """The encoder in use, and the others that labels choose among."""
    used, written = project.config.encoder, project.written
    among = [written.encoder, *written.encoder_candidates]
    others = ", ".join(short(spec) for spec in among if spec != used)
    return f"{short(used)}; candidates: {others}" if others else short(used)


def _database(url: str) -> str:
    """Where the records are, without user, password and options."""
    if not url:
        return "coreloop.db"
    parts = make_url(url)
    return f"{parts.database} at {parts.host or 'this machine'}, {parts.get_backend_name()}"
