"""plan: labels, hours and money to reach a target."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from loop.cli.output import json_option, percent, print_json, project_at, project_option, say


@click.command()
@project_option
@json_option
@click.option("--target", type=float, required=True, help="Test accuracy to reach, e.g. 0.9.")
@click.option("--hourly-rate", type=float, help="Pay per hour of labelling (default: [costs]).")
@click.option("--per-label", type=float, help="Price per label (default: [costs]).")
def plan(
    folder: Path, as_json: bool, target: float, hourly_rate: float | None, per_label: float | None
) -> None:
    """Labels, hours and money to reach a target, with intervals; needs two rounds.

    \b
    Example: coreloop plan --target 0.9 --hourly-rate 25
    """
    from loop.steps.plan import plan as step

    project = project_at(folder)
    found, buys = step(project, target, hourly_rate, per_label)
    if as_json:
        print_json({**asdict(found), "buys": buys})
        return
    say(f"now {percent(found.now)} % with {found.have} labels; target {percent(target)} %")
    if found.now >= target:
        say("the target is reached")
    elif found.labels is None:
        say(f"not reachable with this model and encoder: {100 * (1 - found.reachable):.0f} % of")
        say("the fitted curves never get there; try a better encoder, or clean the labels")
    else:
        say(f"about {found.labels} more labels")
        for level, (low, high) in found.intervals.items():
            say(f"  {level} interval: {low} to {high if high is not None else 'never'}")
        if found.hours is not None:
            say(f"  {found.hours:.1f} hours of labelling")
        if found.money is not None:
            say(f"  {found.money:.0f} {project.config.costs.currency}")
    middle, low_, high_ = (100 * g for g in found.gain_per_100)
    say(f"the next 100 labels: {middle:+.1f} points (90 %: {low_:+.1f} to {high_:+.1f})")
    for labels, value, low_, high_ in buys:
        say(f"with {labels} labels: {percent(value)} % (90 %: {percent(low_)} to {percent(high_)})")
