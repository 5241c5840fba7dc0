"""Questions to the person at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import click

from loop.cli.interrupt import told_to_end
from loop.cli.output import lines_of, tinted
from loop.printable import one_line

T = TypeVar("T")


def at_terminal() -> bool:
    """Whether a person can read a question and answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirmed(question: str, *, default: bool = False) -> bool:
    """What the person says, or what the input of the command holds.

    Raises:
        click.UsageError: nobody is there to answer.
    """
    try:
        return click.confirm(one_line(question), default=default, err=True)
    except click.Abort:  # Ctrl-C, or the end of the input
        if at_terminal() or told_to_end.is_set():
            raise
        raise click.UsageError("nobody is there to answer; --yes goes on without asking") from None


def warn(text: str) -> None:
    """What a person should know, in lines of a terminal, to standard error."""
    for line in lines_of(one_line(text), indent="  "):
        click.echo(tinted(line), err=True)


def reopening(step: Callable[[bool], T], *, reopen: bool) -> T:
    """What a step answers that may have to open finished tasks again, which the person is asked.

    Args:
        step: called with whether it may; a second time once the person has said so.

    Raises:
        WouldReopen: it may not, or nobody can be asked.
    """
    from connectors.base import WouldReopen

    try:
        return step(reopen)
    except WouldReopen as error:
        if not at_terminal():
            raise
        warn(str(error))
        if not confirmed(f"Open {error.count} of them again?"):
            raise
    return step(True)
