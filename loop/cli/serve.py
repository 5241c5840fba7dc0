"""serve: the service that Label Studio asks, and the loop beside it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import click

from loop.cli.output import project_at, project_option, say


@click.command()
@project_option
@click.option("--connect", is_flag=True, help="Make it known to the Label Studio project.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Who may reach it.")
@click.option("--port", type=click.IntRange(0, 65535), default=9090, show_default=True)
@click.option("--address", default="", help="Where Label Studio reaches it, if not host and port.")
@click.option(
    "--every",
    type=click.FloatRange(min=0.1),
    default=20.0,
    show_default=True,
    metavar="SECONDS",
    help="Look for answers so often beside webhooks.",
)
@click.option("--no-auth", is_flag=True, help="Ask for no password; webhooks still need theirs.")
@click.option(
    "--reopen", is_flag=True, help="Open finished tasks again where 'overlap' was raised."
)
def serve(
    folder: Path,
    connect: bool,
    host: str,
    port: int,
    address: str,
    every: float,
    no_auth: bool,
    reopen: bool,
) -> None:
    """Answer Label Studio as its ML backend, and turn the loop by itself.

    People see the newest model's predictions where they label; their answers come back at once,
    and when a round is answered the next one is trained, picked and sent. Where Label Studio may
    not call this machine, answers are looked for at intervals. docs/serve.md has the whole story.

    \b
    Example: coreloop serve --connect
    """
    from loop.cli.watch import complain, teller, working
    from loop.serve.service import ServiceOptions
    from loop.serve.service import serve as answer
    from loop.web.hosts import LOOPBACK

    parts = urlsplit(address)
    if address and (parts.scheme not in ("http", "https") or not parts.hostname or "@" in address):
        raise click.UsageError(
            f"--address {address!r} is no address; one is like http://10.0.0.5:9090"
        )
    if host not in LOOPBACK and no_auth:
        raise click.UsageError("--no-auth is for this machine alone; leave --host out")
    if host not in LOOPBACK:
        click.echo(
            f"Warning: on {host} others can reach this, and everything they send is readable on "
            "the way",
            err=True,
        )
    root = project_at(folder).root

    def ready(at: str) -> None:
        say(f"answering at {at}")
        say("Ctrl-C ends it")

    options = ServiceOptions(host, port, address, connect, not no_auth, every)
    answer(root, options, ready, say, complain, tell=teller(), working=working, reopen=reopen)
