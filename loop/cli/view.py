"""view: pages of the project in the browser, while other commands work."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from loop.cli.output import project_at, project_option, say


@click.command()
@project_option
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Who may reach it: see below.")
@click.option("--open", "open_", is_flag=True, help="Open the browser.")
def view(folder: Path, port: int, host: str, open_: bool) -> None:
    """Look at images, picks, label issues and accuracy in the browser.

    Only for this machine, and only with the address that is printed. It reads; only in a project
    with sheets labels can be clicked, which fills in the sheet. Another --host shows your images,
    unencrypted, to whoever reaches the port and has the address. Ctrl-C ends it.

    \b
    Example: coreloop view --open
    """
    from loop.steps.view import view as step
    from loop.view.server import serve
    from loop.web.hosts import LOOPBACK

    if host not in LOOPBACK:
        click.echo(
            f"Warning: on {host} others can reach this, and everything they are sent is readable "
            "on the way; 'ssh -L' to this machine is safer",
            err=True,
        )

    opened = step(project_at(folder))
    with private_page() as page:

        def ready(address: str) -> None:
            say(address)
            say("Ctrl-C ends it")
            if open_:
                page.write_text(f'<meta http-equiv="refresh" content="0;url={address}">')
                click.launch(page.as_uri())

        serve(opened, host, port, ready)
    opened.close()
    sys.stdout.flush()
    os._exit(0)  # threads that still compute are not waited for


@contextmanager
def private_page() -> Iterator[Path]:
    """A file for the browser that only this user can read: other users see the arguments that a
    browser is started with."""
    handle, name = tempfile.mkstemp(prefix="coreloop-", suffix=".html")
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
