"""Commands that are one step of the loop each, and ``run``, which is all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loop.cli.asking import reopening
from loop.cli.output import (
    bar,
    engine_option,
    json_option,
    paragraph,
    percent,
    print_json,
    print_json_line,
    project_at,
    project_option,
    say,
    tinted,
)
from loop.cli.remarks import remarks
from loop.printable import one_line
from loop.wording import agreeing, counted

if TYPE_CHECKING:
    from connectors.base import RemoteChange
    from loop.project import Project
    from loop.steps.pull import Pulled
    from loop.steps.push import Pushed, PushPlan
    from loop.steps.run import Ended

MEANING = {
    "send": "to be sent",
    "send again": "to be sent again, deleted there unanswered",
    "look for": "to be looked for there, as an earlier push was cut off",
    "stays": "there already",
    "replace": "to be replaced by the next best, gone or excluded",
}
"""Action of a planned image -> what people read."""
LONG = 60
"""Characters of a value from which on a line does not show it."""


def _answer(as_json: bool, facts: Any, text: str) -> None:
    if as_json:
        print_json(facts)
        return
    for line in text.split("\n"):
        say(line)


@click.command()
@project_option
@json_option
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Processes that decode and hash; default: one per core.",
)
def scan(folder: Path, as_json: bool, workers: int | None) -> None:
    """Look for new images; the test split stays as it is. Goes on where it was killed.

    \b
    Example: coreloop scan
    """
    from loop.steps.scan import scan as step

    with bar() as (begin, progress):
        begin("scanning images")
        scanned = step(project_at(folder), progress, workers)
    text = (
        f"{counted(scanned.images, 'image')} ({scanned.added} new), {scanned.test} of them held "
        "out for testing"
    )
    if scanned.gone:
        text += f"\n{counted(len(scanned.gone), 'image')} gone, passed over from now on:"
        text += "".join(f"\n  {uri}" for uri in scanned.gone[:10])
    if scanned.back:
        text += f"\nthere again: {', '.join(scanned.back[:10])}"
    _answer(as_json, asdict(scanned), text)
    if not as_json:
        for line in remarks(scanned):
            say(line)


@click.command()
@project_option
@json_option
@engine_option
def embed(folder: Path, as_json: bool, engine: str) -> None:
    """Turn the images into embeddings; resumes where it was killed.

    \b
    Example: coreloop embed
    """
    from loop.encoders.spec import short
    from loop.engine import get
    from loop.steps.embed import embed as step

    project = project_at(folder)
    with bar() as (begin, progress):
        begin(f"embedding with {short(project.config.encoder)}")
        gone: list[str] = []
        rows, dims = step(project, progress, where=get(engine), on_gone=gone.append)
    for text in gone:
        click.echo(tinted(f"attention: {text}"), err=True)
    facts = {"encoder": project.config.encoder, "rows": rows, "dims": dims}
    _answer(
        as_json,
        facts,
        f"{counted(rows, 'image')}, {counted(dims, 'dimension')} each; next: coreloop run",
    )


@click.command()
@project_option
@json_option
@engine_option
def score(folder: Path, as_json: bool, engine: str) -> None:
    """Score the pool for this round; --engine is of use to zcore, d2 and elfs.

    \b
    Example: coreloop score
    """
    from loop.engine import get
    from loop.steps.score import score as step

    project = project_at(folder)
    explanation = step(project, get(engine))
    lines = [f"  {key}: {value}" for key, value in explanation.items()]
    _answer(as_json, explanation, "\n".join(["scored", *lines, "next: coreloop select"]))


@click.command()
@project_option
@json_option
@click.option("--preview", is_flag=True, help="Write a page of the picks: what, why, where.")
def select(folder: Path, as_json: bool, preview: bool) -> None:
    """Fix the picks of this round.

    With --preview also look at them before they are sent; repeating it writes the page again.

    \b
    Example: coreloop select --preview
    """
    from loop.steps.select import is_selected
    from loop.steps.select import select as step

    project = project_at(folder)
    if preview and is_selected(project):
        _preview(project, as_json)
        return
    chosen = step(project)
    if preview:
        _preview(project, as_json)
        return
    text = (
        f"{counted(chosen.coreset, 'pick')}, {chosen.control} random controls; next: coreloop push"
    )
    _answer(as_json, asdict(chosen), text)


def _preview(project: Project, as_json: bool) -> None:
    """The page of the picks, and how to go on."""
    from loop.steps.select import preview as step

    shown, page = step(project)
    if as_json:
        print_json({"page": str(page), **shown.to_json()})
        return
    say(
        f"{shown.name}: {counted(len(shown.picks), 'image')} {agreeing(len(shown.picks), 'is')} "
        "picked, none is sent; look at them here:"
    )
    say(str(page))
    for trouble in shown.troubles:
        say(f"attention: {trouble}")
    for what, command in shown.ways_on:
        say(f"to {what}: {command}")


@click.command()
@project_option
@json_option
@click.option("--dry-run", is_flag=True, help="Say what would be done; send and change nothing.")
@click.option(
    "--reopen", is_flag=True, help="Open finished tasks again where 'overlap' was raised."
)
def push(folder: Path, as_json: bool, dry_run: bool, reopen: bool) -> None:
    """Send the picks to the labeler; repeating it never sends an image twice.

    With --dry-run --json each image stands with what would become of it.

    \b
    Example: coreloop push --dry-run
    """
    from loop.steps.push import plan_push
    from loop.steps.push import push as step

    project = project_at(folder)
    if dry_run:
        _print_plan(plan_push(project), as_json)
        return

    def send(allowed: bool) -> Pushed:
        with bar() as (begin, progress):
            begin("pushing")
            return step(project, reopen=allowed, on_progress=progress)

    done = reopening(send, reopen=reopen)
    text = f"{counted(done.sent, 'image')} sent, {done.recovered} were there already"
    text += f"\n{done.replaced}" if done.replaced.dropped else ""
    text += f"\n{done.again} of them had been deleted there unanswered" if done.again else ""
    text += "".join(f"\nnote: {note}" for note in done.notes)
    text += f"\nlabel here: {done.url}" if done.url else ""
    _answer(as_json, asdict(done), text + "\nnext: coreloop pull, when people have labelled")


def _print_plan(plan: PushPlan, as_json: bool) -> None:
    """What a push would do."""
    if as_json:
        print_json({**asdict(plan), "counts": plan.counts})
        return
    counts = ", ".join(f"{count} {MEANING[action]}" for action, count in plan.counts.items())
    say(f"round {plan.round}, {counted(len(plan.images), 'image')}: {counts}; nothing was sent")
    for change in plan.changes:
        say(f"  {change.what}: {_changed(change)}")
    for problem in plan.problems[:10]:
        say(f"attention: {problem}")
    say("each image: coreloop push --dry-run --json; to do it: coreloop push")


def _changed(change: RemoteChange) -> str:
    """A change in a few words; label configs are too long for a line."""
    if change.before == change.after:
        return f"{change.after} (stays)"
    if len(str(change.after)) > LONG:
        return "new (--json shows it)" if change.before is None else "changed (--json shows it)"
    return (
        f"{change.after} (new)" if change.before is None else f"{change.before} -> {change.after}"
    )


@click.command()
@project_option
@json_option
@click.option("--close", is_flag=True, help="End the round with the answers there are.")
@click.option("--full", is_flag=True, help="Look at everything, not only at what changed.")
@click.option("--watch", type=float, metavar="SECONDS", help="Repeat until the round is answered.")
def pull(folder: Path, as_json: bool, close: bool, full: bool, watch: float | None) -> None:
    """Bring the answers back; the round ends when every pick is answered.

    With --watch, --json prints a line of JSON for each pull.

    \b
    Example: coreloop pull --watch 30
    """
    from loop.steps.pull import pull as step
    from loop.steps.pull import watched

    project = project_at(folder)
    if watch is None:
        _print_pulled(step(project, close=close, full=full), as_json=as_json)
        return

    _watch(watched(project, watch, close=close, full=full, on_wait=_tell_waiting), as_json)


def _tell_waiting(error: Exception) -> None:
    text = f"trying again: {one_line(str(error))} ({datetime.now():%H:%M:%S})"
    click.echo(tinted(text), err=True)


def _watch(pulls: Iterator[Pulled], as_json: bool) -> None:
    """One line for each change, with its time; what else there is to say when it is new, and at
    the end."""
    counts: tuple[int, ...] = ()
    rest: tuple[object, ...] = ()
    for pulled in pulls:
        if as_json:
            print_json_line(asdict(pulled))
            continue
        now_counts = (pulled.answered, pulled.skipped, pulled.picked)
        now_rest = (pulled.odd, pulled.notes, pulled.gone, pulled.twice, pulled.complete)
        if pulled.new or now_counts != counts:
            say(f"{datetime.now():%H:%M:%S} {_counts(pulled)}")
        if now_rest != rest:
            _print_rest(pulled)
        counts, rest = now_counts, now_rest


def _counts(pulled: Pulled) -> str:
    return (
        f"{counted(pulled.new, 'new answer')}; {pulled.answered} of "
        f"{counted(pulled.picked, 'image')} labelled, {pulled.skipped} skipped"
    )


def _print_pulled(pulled: Pulled, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(pulled))
        return
    say(_counts(pulled))
    _print_rest(pulled)


def _print_rest(pulled: Pulled) -> None:
    from loop.project.corrections import in_words

    if pulled.foreign or pulled.unknown_class:
        say(f"ignored: {pulled.foreign} foreign, {pulled.unknown_class} of an unknown class")
    for name in pulled.odd:
        say(f"not read as an answer: {name}")
    for note in pulled.notes:
        say(f"note: {note}")
    if pulled.gone or pulled.twice:
        say(f"of the images sent: {pulled.gone} missing there, {pulled.twice} there twice")
    if pulled.outdated:
        say(in_words(pulled.outdated))
    if pulled.complete:
        say(f"next: {pulled.next}")
    elif pulled.url:
        say(f"label here: {pulled.url}")


@click.command()
@project_option
@json_option
@click.option("--again", is_flag=True, help="Train the trained rounds anew, on today's labels.")
def train(folder: Path, as_json: bool, again: bool) -> None:
    """Train on the labels so far and measure.

    After answers were corrected: --again trains and measures the newest trained round anew, and
    those before it whose labels have changed.

    \b
    Example: coreloop train --again
    """
    from loop.steps.train import train as step

    if again:
        _train_again(project_at(folder), as_json=as_json)
        return
    metrics = step(project_at(folder))
    text = f"accuracy {percent(metrics.accuracy)} %; next: coreloop compare"
    _answer(as_json, metrics.to_json(), text)


def _train_again(project: Project, *, as_json: bool) -> None:
    from loop.steps.train import train_again as step

    with bar() as (begin, progress):
        begin("training again")
        done = step(project, progress)
    rounds = ", ".join(map(str, done.rounds))
    text = (
        f"trained again: {'round' if len(done.rounds) == 1 else 'rounds'} {rounds}; accuracy "
        f"{percent(done.metrics.accuracy)} %, before {percent(done.before)} %"
    )
    if done.outdated:
        text += f"\nstill on earlier labels: {', '.join(map(str, done.outdated))}"
    _answer(as_json, asdict(done), text + "\nnext: coreloop run")


@click.command()
@project_option
@json_option
def compare(folder: Path, as_json: bool) -> None:
    """Compare the selection with random and label-based ones at the same budget.

    \b
    Example: coreloop compare
    """
    from loop.cli.tables import comparison
    from loop.steps.compare import compare as step

    project = project_at(folder)
    with bar() as (begin, progress):
        begin("comparing")
        compared = step(project, on_progress=progress)
    if as_json:
        print_json(compared.to_json())
    else:
        comparison(compared)
        say("next: coreloop report")


@click.command()
@project_option
@json_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder; default: reports.")
def report(folder: Path, as_json: bool, out: Path | None) -> None:
    """Write the report: report.html (opens without a network), report.md, report.json.

    \b
    Example: coreloop report
    """
    from loop.steps.report import report as step

    paths = step(project_at(folder), out)
    facts = {name: str(path) for name, path in paths.items()}
    _answer(as_json, facts, "\n".join(f"{name}: {path}" for name, path in facts.items()))


@click.command()
@project_option
@json_option
@click.option(
    "--budget",
    type=click.IntRange(min=1),
    help="One more round of this size, once the planned ones are over.",
)
@click.option("--review", is_flag=True, help="Stop before picks are sent; write a page of them.")
@click.option(
    "--reopen", is_flag=True, help="Open finished tasks again where 'overlap' was raised."
)
@engine_option
def run(
    folder: Path, as_json: bool, budget: int | None, review: bool, reopen: bool, engine: str
) -> None:
    """Advance until people are needed; repeating it continues.

    With --review it stops where picks are ready and writes a page of them; without it sends them.

    \b
    Example: coreloop run
    """
    from loop.cli.measure import result_sentence
    from loop.engine import get
    from loop.steps.run import Watcher
    from loop.steps.run import run as step

    project = project_at(folder)

    def advance(allowed: bool) -> Ended:
        wanted = budget if allowed == reopen else None  # else the round that was asked for is begun
        with bar() as (begin, progress):
            watcher = Watcher(begin, progress)
            return step(project, watcher, wanted, get(engine), review=review, reopen=allowed)

    ended = reopening(advance, reopen=reopen)
    if as_json:
        print_json(asdict(ended))
        return
    if ended.result is not None:
        paragraph(result_sentence(ended.result))
    paragraph(ended.message)
    if ended.page:
        say(f"look at them here: {ended.page}")
    if ended.url:
        say(f"label here: {ended.url}")
    say(f"next: {ended.next}")
