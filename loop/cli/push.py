"""push: the picks go to the labeler, or what would be done is said."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loop.cli.asking import reopening
from loop.cli.output import (
    answer,
    bar,
    json_option,
    print_json,
    project_at,
    project_option,
    say,
)
from loop.wording import counted

if TYPE_CHECKING:
    from connectors.base import RemoteChange
    from loop.project import Project
    from loop.steps.push import Pushed, PushPlan

MEANING = {
    "send": "to be sent",
    "send again": "to be sent again, deleted there unanswered",
    "look for": "to be looked for there, as an earlier push was cut off",
    "stays": "there already",
    "replace": "to be replaced by the next best, gone or excluded",
}
"""Action of a planned image -> what people read."""
LONG = 60
"""Characters of a value from which on a line does not show it."""


@click.command()
@project_option
@json_option
@click.option("--dry-run", is_flag=True, help="Say what would be done; send and change nothing.")
@click.option(
    "--reopen", is_flag=True, help="Open finished tasks again where 'overlap' was raised."
)
@click.option(
    "--clean", is_flag=True, help="Take marks and tabs of finished rounds out of a shared project."
)
def push(folder: Path, as_json: bool, dry_run: bool, reopen: bool, clean: bool) -> None:
    """Send the picks to the labeler; repeating it never sends an image twice.

    With --dry-run --json each image stands with what would become of it.

    \b
    Example: coreloop push --dry-run
    """
    from loop.steps.push import plan_push
    from loop.steps.push import push as step

    project = project_at(folder)
    if clean:
        _clean(project, as_json)
        return
    if dry_run:
        _print_plan(plan_push(project), as_json)
        return

    def send(allowed: bool) -> Pushed:
        with bar() as (begin, progress):
            begin("pushing")
            return step(project, reopen=allowed, on_progress=progress)

    done = reopening(send, reopen=reopen)
    text = f"{counted(done.sent, 'image')} sent, {done.recovered} were there already"
    text += f"\n{done.replaced}" if done.replaced.dropped else ""
    text += f"\n{done.again} of them had been deleted there unanswered" if done.again else ""
    text += "".join(f"\nnote: {note}" for note in done.notes)
    text += f"\nlabel here: {done.url}" if done.url else ""
    answer(as_json, asdict(done), text + "\nnext: coreloop pull, when people have labelled")


def _clean(project: Project, as_json: bool) -> None:
    from loop.steps.push import clean

    cleaned = clean(project)
    marks, tabs = counted(cleaned.marks, "mark"), counted(cleaned.tabs, "tab")
    answer(as_json, asdict(cleaned), f"{marks} and {tabs} of finished rounds taken away")


def _print_plan(plan: PushPlan, as_json: bool) -> None:
    """What a push would do."""
    if as_json:
        print_json({**asdict(plan), "counts": plan.counts})
        return
    counts = ", ".join(f"{count} {MEANING[action]}" for action, count in plan.counts.items())
    say(f"round {plan.round}, {counted(len(plan.images), 'image')}: {counts}; nothing was sent")
    for change in plan.changes:
        say(f"  {change.what}: {_changed(change)}")
    for problem in plan.problems[:10]:
        say(f"attention: {problem}")
    say("each image: coreloop push --dry-run --json; to do it: coreloop push")


def _changed(change: RemoteChange) -> str:
    """A change in a few words; label configs are too long for a line."""
    if change.before == change.after:
        return f"{change.after} (stays)"
    if len(str(change.after)) > LONG:
        return "new (--json shows it)" if change.before is None else "changed (--json shows it)"
    return (
        f"{change.after} (new)" if change.before is None else f"{change.before} -> {change.after}"
    )
