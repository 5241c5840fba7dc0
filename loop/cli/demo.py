"""The demo: a whole labelling project on handwritten digits."""

from __future__ import annotations

import os
import shlex
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loop.cli.output import bar, json_option, lines_of, print_json, say
from loop.wording import counted

if TYPE_CHECKING:
    from loop.project import Project
    from loop.steps.run import Watcher


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option("--seed", default=0, show_default=True, help="Everything random derives from it.")
@click.option(
    "--label-studio",
    "server",
    is_flag=True,
    help="Label in a real Label Studio server, started for the demo.",
)
@click.option("--keep", is_flag=True, help="Leave the server up so that you can label yourself.")
@json_option
def demo(folder: Path | None, seed: int, server: bool, keep: bool, as_json: bool) -> None:
    """A whole labelling project on 1,797 handwritten digits: no network, no GPU.

    Three rounds of 20, 40 and 80 labels, the first chosen without labels, answered by a simulated
    person who errs now and then, compared with random and two label-based selections; at last the
    model labels the rest, with a promise. An interrupted demo goes on where it stopped.

    \b
    Example: coreloop demo
    """
    from loop import config
    from loop.demo.digits import settings, write_digits
    from loop.project import create, find
    from loop.steps.run import Watcher, run

    began = time.monotonic()
    root = folder or Path("coreloop-demo-label-studio" if server else "coreloop-demo")
    images = root / "images"
    if not (root / config.FILE).exists():
        images.mkdir(parents=True, exist_ok=True)
        write_digits(images)
        values = settings(Path("images"), seed, server=server)
        project = create(root, config.check(values, "demo"))
    else:
        project = find(root)
        write_digits(images)
    with bar() as (begin, progress):
        watcher = Watcher(begin, progress)
        if server:
            from loop.cli.demo_server import run_with_server

            if not run_with_server(project, watcher, keep=keep):
                return
        else:
            run(project, watcher)
            _complete(project, watcher)
    finish(project, as_json, time.monotonic() - began)


def _complete(project: Project, watcher: Watcher) -> None:
    """Labels for all images, with a promise about their error; once."""
    from loop.steps.autolabel import Goal, autolabel, outlook
    from loop.steps.run import run
    from loop.steps.status import status

    done = status(project).completion
    if done is None or done.promise is not None:
        return
    goal = Goal(max_error=0.05)
    cost = outlook(project, goal).cost
    assert cost is not None
    watcher.begin(f"finishing: {counted(cost.sample, 'image')} to calibrate")
    autolabel(project, goal, cost.sample)
    run(project, watcher)


def finish(project: Any, as_json: bool, seconds: float) -> None:
    """Prints what came out and what to type next."""
    from loop.cli.measure import sentences
    from loop.cli.tables import comparison
    from loop.project.comparison import compared
    from loop.steps.measure import measure
    from loop.steps.report import report

    outcome, measured = compared(project), measure(project)
    paths = report(project)
    if as_json:
        print_json(
            {
                "seconds": round(seconds, 1),
                "report": str(paths["html"]),
                "measured": asdict(measured),
                "rows": outcome.to_json(),
            }
        )
        return
    comparison(outcome)
    for line in [*sentences(measured), *_completion(project)]:
        say(line)
    say(f"report: {paths['html']}  ({seconds:.0f} s)")
    say(f"next:   cd {shlex.quote(os.path.relpath(project.root))} && coreloop status")


def _completion(project: Project) -> list[str]:
    """How far the collection is, and the true error beside the promise."""
    from loop.reports.answers import finishing
    from loop.steps.export import exported
    from loop.steps.status import status

    done = status(project).completion
    if done is None or done.promise is None or not done.promise.kept:
        return []
    rows = exported(project, everything=True)
    wrong = Counter(row.by for row in rows if row.label not in (None, row.uri.split("/")[0]))
    truth = (
        f"In truth {wrong['model']} of the model's labels are wrong, "
        f"{100 * wrong['model'] / done.images:.1f} % of all images, and {wrong['people']} of the "
        "people's."
    )
    return lines_of(f"How far is the collection? {finishing(done)} {truth}")
