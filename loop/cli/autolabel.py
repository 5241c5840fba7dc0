"""autolabel: the model's labels for the rest, with a promise about their error."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loop.cli.asking import confirmed
from loop.cli.output import json_option, print_json, project_at, project_option, say, table
from loop.wording import counted, duration

if TYPE_CHECKING:
    from loop.finish.cost import Cost
    from loop.steps.autolabel import FinishOutlook

BY_DEFAULT = 100
"""Images of the calibration sample where its cheapest size is not simulated."""


@click.command()
@project_option
@json_option
@click.option("--max-error", type=float, default=0.05, show_default=True, help="Share wrong.")
@click.option("--confidence", type=float, default=0.95, show_default=True, help="That it holds.")
@click.option("--per-class", is_flag=True, help="Promise it for the images of each name.")
@click.option("--labels", "size", type=int, help="Calibration images (default: the cheapest).")
@click.option("--no-more-people", is_flag=True, help="Leave out what the model is not sure of.")
@click.option("--dry-run", is_flag=True, help="Only say what it takes.")
@click.option("--yes", is_flag=True, help="Begin the round without asking.")
def autolabel(
    folder: Path,
    as_json: bool,
    max_error: float,
    confidence: float,
    per_class: bool,
    size: int | None,
    no_more_people: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Finish: labels for every image, with a promise about their error.

    The model stays as it is; people label a random sample of the rest, which tells from which
    confidence on the model's labels keep the promise. What is below goes to people as a last round.

    \b
    Example: coreloop autolabel --max-error 0.02
    """
    from loop.steps import autolabel as step

    project = project_at(folder)
    goal = step.Goal(max_error, confidence, per_class, not no_more_people)
    outlook = step.outlook(project, goal, size)
    size = size or (outlook.cost.sample if outlook.cost else min(BY_DEFAULT, outlook.unlabelled))
    if dry_run and as_json:
        print_json(asdict(outlook))
        return
    if not as_json:
        _say(outlook, size)
    if dry_run:
        return
    if not (yes or confirmed(f"Begin a round of {counted(size, 'image')}?")):
        raise click.Abort
    number = step.autolabel(project, goal, size)
    if as_json:
        print_json({"round": number, "images": size})
        return
    say(f"round {number} has {counted(size, 'image')}, drawn at random from what nobody labelled")
    say("next: coreloop run")


def _say(outlook: FinishOutlook, size: int) -> None:
    """What finishing takes, in lines of a terminal."""
    goal = outlook.goal
    lines = [
        f"People have not labelled {outlook.unlabelled} of {counted(outlook.images, 'image')}. The "
        f"model of round {outlook.model} labels those that it is sure of: an error of at most "
        f"{100 * goal.max_error:g} %"
        + (" among the images of each name" if goal.per_class else " of all images")
        + f", with confidence {100 * goal.confidence:g} %."
    ]
    if outlook.look > 1:
        lines.append(
            f"This is promise {outlook.look}; that all hold together, it may fail with probability "
            f"{outlook.alpha:.2g}."
        )
    cost = outlook.cost
    if cost is not None and goal.more_people:
        lines.append(
            f"That takes about {counted(cost.median, 'label')} more ({cost.lower} to "
            f"{cost.upper}): "
            f"{cost.sample} to calibrate, then what is below the threshold." + _price(outlook)
        )
    for line in lines:
        for part in textwrap.wrap(line, 80):
            say(part)
    if len(outlook.sizes) > 1:
        rows = [_row(each, chosen=each.sample == size) for each in outlook.sizes]
        table(("calibration", "labels more", "90 % interval", "by the model"), rows)


def _row(cost: Cost, *, chosen: bool) -> tuple[str, int, str, int]:
    mark = ">" if chosen else " "
    return f"{mark} {cost.sample}", cost.median, f"{cost.lower} to {cost.upper}", cost.accepted


def _price(outlook: FinishOutlook) -> str:
    """Hours and money of the median, where they are known."""
    price, cost = outlook.price, outlook.cost
    assert cost is not None
    known = []
    if price.hours is not None:
        known.append(f"{duration(cost.median * price.hours)} of work")
    if price.money is not None:
        known.append(f"{cost.median * price.money:.0f} {outlook.currency}")
    return f" About {' and '.join(known)}." if known else ""
