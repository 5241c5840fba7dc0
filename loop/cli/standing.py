"""Commands about the project as a whole: status, doctor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loop.cli.asking import confirmed
from loop.cli.output import (
    json_option,
    lines_of,
    paragraph,
    percent,
    print_json,
    project_at,
    project_option,
    say,
    table,
)
from loop.printable import one_line
from loop.wording import agreeing, counted

if TYPE_CHECKING:
    from loop.reports.facts import Completion

FEW_SHOWN = 3
"""Classes with few labels that ``status`` names."""


@click.command()
@project_option
@json_option
def status(folder: Path, as_json: bool) -> None:
    """Where the project stands and what to type next.

    \b
    Example: coreloop status
    """
    from loop.cli.measure import sentences
    from loop.reports.answers import of_few_labels
    from loop.steps.status import status as step

    standing = step(project_at(folder))
    if as_json:
        print_json(asdict(standing))
        return
    say(f"{standing.name}  ({standing.root})")
    say("  " + ", ".join(f"{count} {name}" for name, count in standing.counts.items() if count))
    for name, value in standing.settings.items():
        say(f"  {name}: {value}")
    rows = [
        (
            _name(line.number, standing.counts),
            line.state,
            line.scorer,
            f"{line.labelled}/{line.picked}",
            line.skipped,
            line.unanswered,
            percent(line.value),
        )
        for line in standing.rounds
    ]
    metric = f"{standing.metric} %"
    heads = ("round", "state", "scorer", "labelled", "skipped", "unanswered", metric)
    if rows:
        table(heads, rows)
    if standing.encoder_choice:
        paragraph(standing.encoder_choice)
    for line in sentences(standing.measured) if standing.measured else []:
        say(line)
    for sentence in _finishing(standing.completion):
        say(sentence)
    if standing.second_opinions:
        waiting = counted(standing.second_opinions, "image")
        say(f"{waiting} {agreeing(standing.second_opinions, 'has')} still to get a second opinion")
    if standing.watch:
        say(f"watch: {standing.watch.in_words()}")
    for text in of_few_labels(standing.few_labels, FEW_SHOWN):
        paragraph(f"note: {text}")
    for trouble in standing.troubles:
        say(f"attention: {trouble}")
    for event in standing.events:
        say(f"  {event}")
    if standing.url:
        say(f"label here: {standing.url}")
    if standing.watch and standing.watch.alive:
        say(f"next: nothing to type; {standing.watch.by!r} goes on by itself")
    else:
        say(f"next: {standing.next}")


def _name(number: int, counts: dict[str, int]) -> str | int:
    """Round 0 is that of the test images, or of what people had labelled before."""
    if number:
        return number
    return "test" if counts["test"] else "before"


def _finishing(done: Completion | None) -> list[str]:
    """How far the collection is, in lines of a terminal."""
    from loop.reports.answers import finishing

    return [] if done is None else lines_of(finishing(done))


@click.command()
@project_option
@json_option
@click.option(
    "--deep",
    is_flag=True,
    help="Compare every array with its digest, and the records with each other.",
)
@click.option("--repair", is_flag=True, help="First compute again what can be; implies --deep.")
@click.option("--prune", is_flag=True, help="First list and remove arrays that no record names.")
@click.option("--yes", is_flag=True, help="Remove them without asking.")
def doctor(folder: Path, as_json: bool, deep: bool, repair: bool, prune: bool, yes: bool) -> None:
    """Check device, weights, server, token and records, and say what to do.

    \b
    Example: coreloop doctor
    """
    from loop.steps.doctor import doctor as step

    if prune:
        _prune(folder, yes)
    checks = step(folder, deep=deep, mend=repair)
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        for check in checks:
            say(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.detail}")
    if not all(check.ok for check in checks):
        raise SystemExit(3)


def _prune(folder: Path, yes: bool) -> None:
    """Lists the arrays that no record names, and removes them if the person says so."""
    from loop.steps.doctor import prune, unnamed_arrays

    project = project_at(folder)
    listed = unnamed_arrays(project)
    for path in listed:
        size = path.stat().st_size / 1e6
        click.echo(one_line(f"{path} ({size:.1f} MB)"), err=True)
    if listed and (yes or confirmed(f"Remove these {counted(len(listed), 'file')}?")):
        click.echo(f"removed {counted(len(prune(project, listed)), 'file')}", err=True)
    elif not listed:
        click.echo("every array is named by a record", err=True)
