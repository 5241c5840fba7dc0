"""The command line: each command parses, makes one call, prints. Nothing heavy is imported here."""

from __future__ import annotations

import errno
import io
import os
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from loop.cli.interrupt import listen

COMMANDS = {
    "demo": ("loop.cli.demo:demo", "A whole labelling project on handwritten digits, in a minute."),
    "init": ("loop.cli.init:init", "Make a project from a folder of images."),
    "run": ("loop.cli.steps:run", "Advance until people are needed."),
    "status": ("loop.cli.standing:status", "Where the project stands and what to type next."),
    "report": ("loop.cli.steps:report", "Write the report: HTML, Markdown, JSON."),
    "view": ("loop.cli.view:view", "Look at images, picks and label issues in the browser."),
    "serve": ("loop.cli.serve:serve", "Answer Label Studio live, and turn the loop by itself."),
    "plan": ("loop.cli.plan:plan", "Labels, hours, money and date to a target."),
    "simulate": ("loop.cli.simulate:simulate", "Compare methods on images whose labels are known."),
    "scan": ("loop.cli.steps:scan", "Look for new images."),
    "embed": ("loop.cli.steps:embed", "Turn the images into embeddings."),
    "score": ("loop.cli.steps:score", "Score the pool for this round."),
    "select": ("loop.cli.steps:select", "Fix the picks of this round."),
    "push": ("loop.cli.push:push", "Send the picks to the labeler."),
    "pull": ("loop.cli.pull:pull", "Bring the answers back."),
    "labels": ("loop.cli.labels:labels", "What people said: agreement, pace, likely mistakes."),
    "train": ("loop.cli.steps:train", "Train on the labels so far."),
    "measure": ("loop.cli.measure:measure", "Accuracy by the random sample; enlarge the sample."),
    "compare": ("loop.cli.steps:compare", "Compare with random and label-based selection."),
    "exclude": ("loop.cli.mend:exclude", "Take images out of the pool: junk, private ones."),
    "repick": ("loop.cli.mend:repick", "Other images for skipped, excluded or unreadable picks."),
    "undo": ("loop.cli.mend:undo", "Take back the newest round, if nobody has labelled it."),
    "predict": ("loop.cli.predict:predict", "What the kept model says of images."),
    "autolabel": ("loop.cli.autolabel:autolabel", "Labels for the rest, with a promise."),
    "export": ("loop.cli.export:export", "Labels and picks in the formats of other tools."),
    "scorers": ("loop.cli.lists:scorers", "List the selection methods."),
    "encoders": ("loop.cli.lists:encoders", "List the encoders."),
    "backup": ("loop.cli.backup:backup", "Copy records and arrays into a folder, digests checked."),
    "restore": ("loop.cli.backup:restore", "Make a project of a backup."),
    "doctor": ("loop.cli.standing:doctor", "Check device, weights, server, token and records."),
}
GROUPS = {
    "Start": ("demo", "init", "doctor"),
    "Loop": (
        "run",
        "scan",
        "embed",
        "score",
        "select",
        "push",
        "pull",
        "train",
        "compare",
        "exclude",
        "repick",
        "undo",
        "serve",
    ),
    "Look": ("status", "report", "view", "labels", "measure"),
    "Plan": ("plan", "simulate", "scorers", "encoders"),
    "Finish": ("autolabel", "predict", "export"),
    "Tools": ("backup", "restore"),
}
"""Headings of ``coreloop --help``; a command that stands in none is one of the last."""

NO_PATH = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
NOT_NOW = (
    *NO_ROOM,
    errno.EIO,
    errno.ENOMEM,
    errno.EMFILE,
    errno.ENFILE,
    errno.EBUSY,
    errno.ENOLCK,
    errno.ESTALE,
    errno.EINTR,
    errno.ETIMEDOUT,
)
"""What the system answers that is nobody's mistake, and may be otherwise the next time."""


class Commands(click.Group):
    """Commands by name, imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        return getattr(import_module(module), attribute)  # type: ignore[no-any-return]

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            ctx.fail(f"no command {args[0]!r}{_meant(args[0])}; 'coreloop --help' lists all")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for heading, names in _grouped().items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:{width}}", COMMANDS[name][1]) for name in names])


def _grouped() -> dict[str, list[str]]:
    """Heading -> the commands that stand under it."""
    grouped = {
        heading: [name for name in names if name in COMMANDS] for heading, names in GROUPS.items()
    }
    named = {name for names in grouped.values() for name in names}
    grouped[list(GROUPS)[-1]] += [name for name in COMMANDS if name not in named]
    return grouped


def _meant(word: str) -> str:
    """A hint for a mistyped command: one that begins alike, else the nearest."""
    from loop.errors import nearest

    spelled = {name: name for name in COMMANDS} | {"version": "--version", "help": "--help"}
    alike = [name for name in spelled if name.startswith(word) or word.startswith(name)]
    if alike and len(word) > 1:
        return f" (did you mean {spelled[min(alike, key=len)]!r}?)"
    return nearest(word, COMMANDS)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="coreloop")
def cli() -> None:
    """Pick the images worth labelling first, without labels, and know what they bought you.

    \b
    coreloop demo                       see it work, no server needed
    coreloop init photos --classes cat,dog --images ~/photos
    cd photos && coreloop run           until people are needed; then again
    """


def main() -> None:
    """Entry point: runs a command and turns known errors into one message and an exit code."""
    listen()
    try:
        os.getcwd()
    except FileNotFoundError:
        _fail("the current folder was deleted; type: cd", 2)
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        _show(error)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nInterrupted; nothing is lost. The same command continues.", err=True)
        _leave(130)
    except BrokenPipeError:
        _leave(141)
    except OSError as error:
        if error.errno in NO_PATH:
            _fail(f"{error.filename}: {error.strerror}; name another path", 2)
        if error.errno not in NOT_NOW:
            raise
        verb = "write" if error.errno in NO_ROOM else "read or write"
        _fail(
            f"cannot {verb} {error.filename or 'a file'} ({error.strerror}); nothing is lost. Free "
            "some space or check permissions, then repeat the command",
            4,
        )
    except MemoryError:
        _fail("there is not enough memory; nothing is lost. End other programs, then repeat it", 4)
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:  # a bug: show it whole
            raise
        _fail(str(error), code)


def _fail(message: str, code: int) -> NoReturn:
    """Ends with one message; what others wrote in it cannot steer the terminal."""
    from loop.cli.output import tinted
    from loop.printable import printable

    click.echo(tinted(f"Error: {printable(message)}"), err=True)
    sys.exit(code)


def _show(error: click.ClickException) -> None:
    """A wrong use of a command, in click's own words; an argument cannot steer the terminal."""
    from loop.cli.output import tinted
    from loop.printable import printable

    text = io.StringIO()
    error.show(text)
    for line in printable(text.getvalue()).rstrip("\n").split("\n"):
        click.echo(tinted(line), err=True)


def _leave(code: int) -> None:
    """Ends promptly, without waiting for threads of numerical libraries."""
    sys.stderr.flush()
    os._exit(code)
