"""How commands talk: tables, progress bars with an ETA, JSON. Plain text when piped."""

from __future__ import annotations

import json
import os
import re
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loop.printable import one_line

if TYPE_CHECKING:
    from loop.project import Project

PATIENCE = 2.0
"""Seconds before a progress bar appears."""
HALF_A_MINUTE = 30.0
"""Seconds between lines where there is no terminal."""
BESIDE_NAME = 50
"""Columns that a progress bar takes beside the name of its step."""
WIDTH = 80
UNBROKEN = "\u00a0"
COMMAND = re.compile(r"coreloop [a-z]+(?: --[a-z-]+(?: [\w.]+)?)*")
COLOURS = {
    "ok": "green",
    "done": "green",
    "FAIL": "red",
    "Error:": "red",
    "attention:": "yellow",
    "note:": "yellow",
    "trying again:": "yellow",
    "next:": "cyan",
    "label here:": "cyan",
}
"""How a line begins -> the colour of these words, on a terminal."""

project_option = click.option(
    "--project",
    "-p",
    "folder",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Project folder (default: this folder or the nearest one above it).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")

engine_option = click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="ray: on the cluster that RAY_ADDRESS names.",
)


def project_at(folder: Path) -> Project:
    """The project in or above a folder, closed when the command ends. Raises ConfigError."""
    from loop.project import find

    project = find(folder)
    click.get_current_context().call_on_close(project.close)
    return project


def answer(as_json: bool, facts: Any, text: str) -> None:
    """Prints what a command found: as JSON, or in lines."""
    if as_json:
        print_json(facts)
        return
    for line in text.split("\n"):
        say(line)


def say(text: str = "") -> None:
    """One line to standard output; what others wrote cannot steer the terminal."""
    click.echo(tinted(one_line(text)))


def paragraph(text: str) -> None:
    """A text in lines of a terminal, those after the first indented."""
    for line in lines_of(text, indent="  "):
        say(line)


def lines_of(text: str, indent: str = "") -> list[str]:
    """The text in lines of a terminal; a command to type stays in one line, and a number with its
    percent sign."""
    whole = COMMAND.sub(lambda command: command[0].replace(" ", UNBROKEN), text)
    whole = re.sub(r"(?<=\d) %", f"{UNBROKEN}%", whole)
    lines = textwrap.wrap(
        whole,
        WIDTH,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,  # an address or a path
    )
    return [line.replace(UNBROKEN, " ") for line in lines]


def tinted(text: str) -> str:
    """The line with its first words in colour; ``click.echo`` takes the colour out again where
    there is no terminal. See https://no-color.org for NO_COLOR."""
    if os.environ.get("NO_COLOR"):
        return text
    for words, colour in COLOURS.items():
        if text == words or text.startswith(f"{words} "):
            return click.style(words, fg=colour, bold=True) + text[len(words) :]
    return text


def print_json(facts: Any) -> None:
    """Facts for programs: one JSON document."""
    click.echo(json.dumps(facts, indent=2, default=str))


def print_json_line(facts: Any) -> None:
    """Facts for programs that read one document a line."""
    click.echo(json.dumps(facts, default=str))


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, left: int = 1) -> None:
    """A table that fits 80 columns when its cells do; the first ``left`` columns are words."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, header in enumerate(headers):
        drawn.add_column(
            Text(one_line(header)), justify="left" if i < left else "right", overflow="fold"
        )
    for row in rows:
        drawn.add_row(*[Text(one_line(str(cell))) for cell in row])
    console = Console(highlight=False)
    console.print(drawn, width=None if console.is_terminal else max(80, console.width))


@contextmanager
def bar() -> Iterator[tuple[Callable[[str], None], Callable[[int, int], None]]]:
    """(begin, progress): a line per step; for steps that take long a bar on a terminal, elsewhere a
    line every ``HALF_A_MINUTE``."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    widest = max(8, console.width - BESIDE_NAME)
    columns = (
        TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", max_width=widest),
        ),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(compact=True),
    )
    drawn = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    began = told = time.monotonic()
    task: Any = None
    name = ""

    def begin(text: str) -> None:
        nonlocal began, told, task, name
        if task is not None:
            drawn.remove_task(task)
        began, task, name = time.monotonic(), None, text
        told = began
        console.print(Text(one_line(text), style="dim"))

    def progress(done: int, total: int) -> None:
        nonlocal task, told
        if not console.is_terminal:
            if time.monotonic() - told >= HALF_A_MINUTE:
                told = time.monotonic()
                console.print(f"  {so_far(done, total, told - began)}")
            return
        if task is None and time.monotonic() - began > PATIENCE:
            task = drawn.add_task(name, total=total or None)
        if task is not None:
            drawn.update(task, completed=done)

    with drawn:
        yield begin, progress


def so_far(done: int, total: int, seconds: float) -> str:
    """``120 of 600 after 40 s, about 160 s more``; a total of 0 is unknown."""
    if not total or not done:
        return f"{done} after {seconds:.0f} s"
    left = seconds / done * (total - done)
    return f"{done} of {total} after {seconds:.0f} s, about {left:.0f} s more"


def names_in(text: str) -> list[str]:
    """``cat, dog`` -> ["cat", "dog"]."""
    return [name.strip() for name in text.split(",") if name.strip()]


def whole_numbers(text: str, option: str) -> list[int]:
    """``20,40`` -> [20, 40]. Raises ConfigError."""
    from loop.errors import ConfigError

    try:
        numbers = [int(part) for part in text.replace(" ", "").split(",") if part]
    except ValueError:
        numbers = []
    if not numbers:
        raise ConfigError(f"{option} wants whole numbers like 20,40,80, got {text!r}")
    return numbers


def shares(text: str, option: str) -> list[float]:
    """``0.02,0.05`` -> [0.02, 0.05]. Raises ConfigError."""
    from loop.errors import ConfigError

    try:
        numbers = [float(part) for part in text.replace(" ", "").split(",") if part]
    except ValueError:
        numbers = []
    if not numbers:
        raise ConfigError(f"{option} wants shares like 0.01,0.02,0.05, got {text!r}")
    return numbers


def percent(value: float | None) -> str:
    """0.8312 -> ``83.1``; None -> ``-``."""
    return "-" if value is None else f"{100 * value:.1f}"
