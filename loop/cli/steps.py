"""Commands that are one step of the loop each, and ``run``, which is all of them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loop.cli.asking import reopening
from loop.cli.output import (
    answer,
    bar,
    engine_option,
    json_option,
    paragraph,
    percent,
    print_json,
    project_at,
    project_option,
    say,
    tinted,
)
from loop.cli.remarks import quality_remarks, remarks
from loop.goals import interval, metric_name, value
from loop.wording import agreeing, counted

if TYPE_CHECKING:
    from loop.project import Project
    from loop.steps.run import Ended
    from loop.train.metrics import Metrics


@click.command()
@project_option
@json_option
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Processes that decode and hash; default: one per core.",
)
@click.option(
    "--quality",
    is_flag=True,
    help="Also list near-duplicates and dark, blank, blurred and odd-shaped pictures.",
)
@click.option(
    "--again",
    is_flag=True,
    help="Of a Label Studio project: also ask for images that could not be had before.",
)
def scan(folder: Path, as_json: bool, workers: int | None, quality: bool, again: bool) -> None:
    """Look for new images; the test split stays as it is. Goes on where it was killed.

    \b
    Example: coreloop scan --quality
    """
    from loop.steps.scan import look_closer
    from loop.steps.scan import scan as step

    with bar() as (begin, progress):
        begin("scanning images")
        scanned = step(project_at(folder), progress, workers, again=again)
        closer = look_closer(project_at(folder), begin, progress) if quality else None
    text = (
        f"{counted(scanned.images, 'image')} ({scanned.added} new), {scanned.test} of them held "
        "out for testing"
    )
    if scanned.gone:
        text += f"\n{counted(len(scanned.gone), 'image')} gone, passed over from now on:"
        text += "".join(f"\n  {uri}" for uri in scanned.gone[:10])
    if scanned.back:
        text += f"\nthere again: {', '.join(scanned.back[:10])}"
    facts = asdict(scanned) | ({"quality": asdict(closer)} if closer else {})
    answer(as_json, facts, text)
    if not as_json:
        for line in remarks(scanned):
            say(line)
        for line in quality_remarks(closer) if closer else ():
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
    from loop.steps.embed import embed_all

    project = project_at(folder)
    with bar() as (begin, progress):
        gone: list[str] = []
        made = embed_all(
            project,
            progress,
            lambda encoder: begin(f"embedding with {short(encoder)}"),
            get(engine),
            gone.append,
        )
    for text in gone:
        click.echo(tinted(f"attention: {text}"), err=True)
    rows, dims = made.pop(project.config.encoder)
    others = {short(encoder): dims for encoder, (_, dims) in made.items()}
    facts = {"encoder": project.config.encoder, "rows": rows, "dims": dims, "candidates": others}
    text = f"{counted(rows, 'image')}, {counted(dims, 'dimension')} each"
    text += "".join(f", {dims} with {encoder}" for encoder, dims in others.items())
    answer(as_json, facts, f"{text}; next: coreloop run")


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
    answer(as_json, explanation, "\n".join(["scored", *lines, "next: coreloop select"]))


like_option = click.option(
    "--like",
    multiple=True,
    metavar="CLASS",
    help="A class of which more images are wanted; may be given several times.",
)
share_option = click.option(
    "--share", type=float, help="Of the picks that are spent on --like; default: 0.25."
)


def _share(like: tuple[str, ...], share: float | None) -> float:
    """Raises ConfigError: a share of nothing."""
    from loop.errors import ConfigError
    from loop.steps.select import LIKE_SHARE

    if share is not None and not like:
        raise ConfigError("--share goes with --like CLASS")
    return LIKE_SHARE if share is None else share


@click.command()
@project_option
@json_option
@click.option("--preview", is_flag=True, help="Write a page of the picks: what, why, where.")
@like_option
@share_option
def select(
    folder: Path, as_json: bool, preview: bool, like: tuple[str, ...], share: float | None
) -> None:
    """Fix the picks of this round.

    With --preview also look at them before they are sent; repeating it writes the page again. With
    --like a share of the picks are images near a class that has few labels.

    \b
    Example: coreloop select --preview
             coreloop select --like cat --share 0.5
    """
    from loop.steps.select import is_selected
    from loop.steps.select import select as step

    wanted = _share(like, share)
    project = project_at(folder)
    if preview and not like and is_selected(project):
        _preview(project, as_json)
        return
    chosen = step(project, like, wanted)
    text = "".join(f"like {name}: {how}\n" for name, how in chosen.like.items())
    if preview:
        click.echo(text, err=True, nl=False)
        _preview(project, as_json)
        return
    text += (
        f"{counted(chosen.coreset, 'pick')}, {chosen.control} random controls; next: coreloop push"
    )
    answer(as_json, asdict(chosen), text)


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
@click.option("--again", is_flag=True, help="Train the trained rounds anew, on today's labels.")
def train(folder: Path, as_json: bool, again: bool) -> None:
    """Train on the labels so far and measure.

    After answers were corrected: --again trains and measures the newest trained round anew, and
    those before it whose labels have changed.

    \b
    Example: coreloop train --again
    """
    from loop.project.fine_tuning import told_too_few
    from loop.steps.train import train as step

    if again:
        _train_again(project_at(folder), as_json=as_json)
        return
    project = project_at(folder)
    metrics = step(project)
    metric = metric_name(project.config.goal.metric)
    few = told_too_few(project)
    text = f"{_figure(metrics, metric)}; next: coreloop compare"
    answer(as_json, {"metric": metric, **metrics.to_json()}, f"{few}\n{text}" if few else text)


def _figure(metrics: Metrics, metric: str) -> str:
    """``macro-F1 61.0 % (95 % interval 55.1 to 66.8 %), plain accuracy 70.2 %``."""
    values = metrics.to_json()
    lower, upper = map(percent, interval(values, metric))
    figure = f"{metric} {percent(value(values, metric))} % (95 % interval {lower} to {upper} %)"
    if metric == "accuracy":
        return figure
    return f"{figure}, plain accuracy {percent(metrics.accuracy)} %"


def _train_again(project: Project, *, as_json: bool) -> None:
    from loop.steps.train import train_again as step

    with bar() as (begin, progress):
        begin("training again")
        done = step(project, progress)
    metric = metric_name(project.config.goal.metric)
    rounds = ", ".join(map(str, done.rounds))
    text = (
        f"trained again: {'round' if len(done.rounds) == 1 else 'rounds'} {rounds}; "
        f"{_figure(done.metrics, metric)}, {metric} before {percent(done.before)} %"
    )
    if done.outdated:
        text += f"\nstill on earlier labels: {', '.join(map(str, done.outdated))}"
    answer(as_json, {"metric": metric, **asdict(done)}, text + "\nnext: coreloop run")


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
    answer(as_json, facts, "\n".join(f"{name}: {path}" for name, path in facts.items()))


@click.command()
@project_option
@json_option
@click.option(
    "--budget",
    type=click.IntRange(min=1),
    help="One more round of this size, once the planned ones are over.",
)
@click.option("--review", is_flag=True, help="Stop before picks are sent; write a page of them.")
@like_option
@share_option
@click.option(
    "--reopen", is_flag=True, help="Open finished tasks again where 'overlap' was raised."
)
@click.option(
    "--watch",
    type=click.FloatRange(min=0.1),
    is_flag=False,
    flag_value=20.0,
    metavar="[SECONDS]",
    help="Go on by itself up to the planned rounds; look for answers so often (20).",
)
@engine_option
def run(
    folder: Path,
    as_json: bool,
    budget: int | None,
    review: bool,
    like: tuple[str, ...],
    share: float | None,
    reopen: bool,
    watch: float | None,
    engine: str,
) -> None:
    """Advance until people are needed; repeating it continues.

    With --review it stops where picks are ready and writes a page of them; without it sends them.
    With --watch it stays: looks for answers, and when a round is answered trains, compares, writes
    the report and sends the next. What fails is tried again with growing pauses; 'coreloop status'
    shows how it stands. With --like a share of the next picks are images near a class that has few
    labels.

    \b
    Example: coreloop run
             coreloop run --watch 30
             coreloop run --like cat --share 0.5
    """
    from loop.engine import get
    from loop.steps.run import Watcher
    from loop.steps.run import run as step

    wanted_share = _share(like, share)
    project = project_at(folder)
    if watch is not None:
        given = {"--review": review, "--budget": budget is not None, "--like": bool(like)}
        _check_alone([option for option, is_given in given.items() if is_given])
        _watch(project.root, watch, engine, reopen=reopen, as_json=as_json)
        return

    def advance(allowed: bool) -> Ended:
        wanted = budget if allowed == reopen else None  # else the round that was asked for is begun
        with bar() as (begin, progress):
            watcher = Watcher(begin, progress)
            where = get(engine)
            return step(
                project,
                watcher,
                wanted,
                where,
                review=review,
                reopen=allowed,
                like=like,
                share=wanted_share,
            )

    ended = reopening(advance, reopen=reopen)
    if as_json:
        print_json(asdict(ended))
    else:
        _print_ended(ended)


def _print_ended(ended: Ended) -> None:
    """How the newest round came out, why it goes no further, and what to type next."""
    from loop.cli.measure import result_sentence

    if ended.result is not None:
        paragraph(result_sentence(ended.result))
    paragraph(ended.message)
    if ended.page:
        say(f"look at them here: {ended.page}")
    if ended.url:
        say(f"label here: {ended.url}")
    say(f"next: {ended.next}")


def _check_alone(options: list[str]) -> None:
    """Raises UsageError: options that --watch goes without."""
    if options:
        raise click.UsageError(
            f"--watch goes through the planned rounds by itself, which {options[0]} contradicts; "
            "give one of the two"
        )


def _watch(root: Path, seconds: float, engine: str, *, reopen: bool, as_json: bool) -> None:
    """``coreloop run --watch``."""
    from loop.cli.watch import watch
    from loop.engine import get

    watch(root, seconds, get(engine), reopen=reopen, as_json=as_json)
