"""pull: the answers come back, once or until a round is answered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loop.cli.output import (
    json_option,
    print_json,
    print_json_line,
    project_at,
    project_option,
    say,
    tinted,
)
from loop.printable import one_line
from loop.wording import counted

if TYPE_CHECKING:
    from loop.steps.pull import Pulled


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
        now_rest = (
            pulled.odd,
            pulled.unknown,
            pulled.notes,
            pulled.gone,
            pulled.twice,
            pulled.complete,
        )
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
    if pulled.unknown:
        say(f"attention: {pulled.unknown}")
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
