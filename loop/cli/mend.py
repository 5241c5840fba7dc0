"""exclude, repick, undo: people change their minds or their files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from loop.cli.asking import confirmed
from loop.cli.output import json_option, print_json, project_at, project_option, say
from loop.wording import counted

MOST_NAMED = 10
"""Files listed one by one."""


@click.command()
@project_option
@json_option
@click.argument("files", nargs=-1, required=True)
@click.option("--undo", is_flag=True, help="Take the images back into the pool.")
def exclude(folder: Path, as_json: bool, files: tuple[str, ...], undo: bool) -> None:
    """Take images out of the pool for good: junk, private ones, what is none of the classes.

    FILES are paths, patterns in quotes, or keys. Excluded images are never scored, picked,
    predicted, labelled by the model or exported; a label they have stays in the records, and does
    not count.

    \b
    Example: coreloop exclude junk.jpg 'private/*'
    """
    from loop.steps.exclude import exclude as step

    done = step(project_at(folder), files, undo=undo)
    if as_json:
        print_json(asdict(done))
        return
    verb = "taken back into the pool" if undo else "taken out of the pool"
    already = f" ({done.already} were already)" if done.already else ""
    say(f"{counted(len(done.files), 'image')} {verb}{already}; {done.excluded} excluded in all")
    _list(done.files)
    if done.labelled:
        counts = "counts again" if undo else "stays in the records, and does not count any more"
        say(f"of these {counted(done.labelled, 'image')} with a label: it {counts}")
    if done.sample:
        change = "part of the measurement again" if undo else "out of the measurement now"
        say(f"of these {counted(done.sample, 'image')} that measured: {change}")
    if done.sent and not undo:
        say(f"of these {counted(done.sent, 'image')} with the labeler still: answers do not count")
    if done.picked and not undo:
        say("next: coreloop repick (other images in their place)")
    else:
        say("next: coreloop run")


def _list(files: tuple[str, ...]) -> None:
    for file in files[:MOST_NAMED]:
        say(f"  {file}")
    if len(files) > MOST_NAMED:
        say(f"  and {len(files) - MOST_NAMED} more")


@click.command()
@project_option
@json_option
def repick(folder: Path, as_json: bool) -> None:
    """Pick other images in place of skipped, excluded or unreadable ones of the open round.

    The next best by the round's own scores are taken, within its budget; a skip asks nobody again.

    \b
    Example: coreloop repick
    """
    from loop.steps.repick import repick as step

    done = step(project_at(folder))
    if as_json:
        print_json(asdict(done))
        return
    reasons = (
        ("skipped", done.skipped),
        ("gone or excluded", done.absent),
        ("unreadable", done.unreadable),
    )
    for reason, files in reasons:
        if files:
            say(f"{reason}: {counted(len(files), 'image')}")
            _list(files)
    if done.withdrawn:
        say(f"{counted(done.withdrawn, 'task')} taken back from the labeler")
    say(f"round {done.round}: {counted(len(done.added), 'image')} picked in their place")
    _list(done.added)
    say(f"next: {done.next}")


@click.command()
@project_option
@json_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def undo(folder: Path, as_json: bool, yes: bool) -> None:
    """Take the newest round back, as long as nobody has labelled anything of it.

    Its picks are removed, and its tasks in Label Studio after each was looked at; sheets are moved
    to the folder set-aside.

    \b
    Example: coreloop undo
    """
    from loop.steps.undo import undo as step

    project = project_at(folder)
    question = "Take the newest round back, and its tasks from the labeler?"
    if not (yes or as_json or confirmed(question)):
        raise click.Abort
    done = step(project)
    if as_json:
        print_json(asdict(done))
        return
    say(f"round {done.round} was taken back: {counted(done.picks, 'pick')}")
    if done.withdrawn:
        say(f"{counted(done.withdrawn, 'task')} taken back from the labeler")
    say("next: coreloop run")
