"""backup and restore."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loop.cli.output import bar, json_option, print_json, project_at, project_option, say
from loop.wording import counted

if TYPE_CHECKING:
    from loop.steps.backup import Copied


def _tell(copied: Copied, as_json: bool, following: str) -> None:
    if as_json:
        print_json(asdict(copied))
        return
    say(
        f"{counted(copied.files, 'file')}, {copied.bytes / 1e6:.1f} MB, digests checked: "
        f"{copied.folder}"
    )
    if copied.note:
        say(f"attention: {copied.note}")
    say(f"next: {following}")


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@project_option
@json_option
def backup(target: Path, folder: Path, as_json: bool) -> None:
    """Copy the project's records and arrays into the new folder TARGET.

    Other commands may go on meanwhile. The images and the token are not copied.

    \b
    Example: coreloop backup ~/backups/photos-june
    """
    from loop.steps.backup import backup as step

    with bar() as (begin, progress):
        begin("copying")
        copied = step(project_at(folder), target, progress)
    _tell(copied, as_json, f"coreloop restore {target} FOLDER, when you need it")


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@json_option
def restore(source: Path, folder: Path | None, as_json: bool) -> None:
    """Make the project FOLDER of the backup SOURCE (default: the project's name).

    FOLDER must be empty or new. Every file is compared with its digest.

    \b
    Example: coreloop restore ~/backups/photos-june photos
    """
    from loop.steps.backup import restore as step

    with bar() as (begin, progress):
        begin("restoring")
        copied = step(source, folder, progress)
    _tell(copied, as_json, f"coreloop doctor --deep --project {copied.folder}")
