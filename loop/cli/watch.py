"""The loop by itself, on a terminal: one line for each thing that is new, with its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loop.cli.interrupt import told_to_end
from loop.cli.output import bar, paragraph, print_json_line, say, tinted
from loop.printable import one_line

if TYPE_CHECKING:
    from loop.engine import Engine
    from loop.steps.run import Ended, Watcher


def watch(root: Path, seconds: float, where: Engine, *, reopen: bool, as_json: bool) -> None:
    """``coreloop run --watch``: until all planned rounds are over."""
    from loop.serve.worker import Worker

    worker = Worker(
        root,
        "coreloop run --watch",
        seconds,
        tell=_told_as_json if as_json else teller(),
        complain=complain,
        working=working,
        where=where,
        reopen=reopen,
        told_to_end=told_to_end.is_set,
    )
    worker.work()


def teller() -> Callable[[Ended], None]:
    """Prints what a turn ended with; where people label only when that is new."""
    from loop.cli.measure import result_sentence

    told = ""

    def tell(ended: Ended) -> None:
        nonlocal told
        if ended.result is not None:
            paragraph(result_sentence(ended.result))
        say(f"{datetime.now():%H:%M:%S} {ended.message}")
        if ended.url and ended.url != told:
            told = ended.url
            say(f"label here: {told}")
        if ended.why == "done":
            say(f"next: {ended.next}")

    return tell


def complain(text: str) -> None:
    """Why a turn failed."""
    line = f"trying again: {one_line(text)} ({datetime.now():%H:%M:%S})"
    click.echo(tinted(line), err=True)


@contextmanager
def working() -> Iterator[Watcher]:
    """Steps and their progress, as ``coreloop run`` shows them."""
    from loop.steps.run import Watcher

    with bar() as (begin, progress):
        yield Watcher(begin, progress)


def _told_as_json(ended: Ended) -> None:
    print_json_line(asdict(ended))
