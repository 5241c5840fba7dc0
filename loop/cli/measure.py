"""measure: the accuracy by the random sample, and a larger sample for a narrower interval."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loop.cli.asking import confirmed
from loop.cli.output import (
    json_option,
    lines_of,
    percent,
    print_json,
    project_at,
    project_option,
    say,
)
from loop.wording import counted, duration

if TYPE_CHECKING:
    from loop.project.measurement import Measurement, RoundResult


@click.command()
@project_option
@json_option
@click.option("--to", "width", type=float, help="Enlarge it until the 95 % interval is so wide.")
@click.option("--add", "count", type=int, help="Enlarge it by so many images.")
@click.option(
    "--at-random",
    is_flag=True,
    help="Draw any image as likely as any other, not where the model is in doubt.",
)
@click.option("--yes", is_flag=True, help="Begin the round without asking.")
def measure(
    folder: Path,
    as_json: bool,
    width: float | None,
    count: int | None,
    at_random: bool,
    yes: bool,
) -> None:
    """How good the model is by the random sample; a larger sample for a narrower interval.

    With a metric under [goal] in that, and in plain accuracy, whose interval --to
    narrows.

    Of a good model, the further images are drawn where it is in doubt and count
    for less the likelier they were, which takes fewer labels.

    \b
    Example: coreloop measure --to 0.06
    """
    from loop.errors import ConfigError
    from loop.steps import measure as step

    project = project_at(folder)
    if width is not None and count is not None:
        raise ConfigError("--to and --add both say how large the sample becomes; give one")
    if width is None and count is None:
        measured = step.measure(project)
        if as_json:
            print_json(asdict(measured))
            return
        for line in sentences(measured):
            say(line)
        return
    if width is not None:
        count = step.wanted(project, width, at_random=at_random)
        if not count:
            say("the interval is that narrow already")
            return
        click.echo(f"that takes about {counted(count, 'more image')} in the sample", err=True)
        if not (yes or confirmed("Begin a round with them?")):
            raise click.Abort
    assert count is not None
    enlarged = step.enlarge(project, count, at_random=at_random)
    if as_json:
        print_json(asdict(enlarged))
        return
    how = "where the model is in doubt" if enlarged.by_doubt else "at random"
    say(
        f"{counted(count, 'image')} drawn {how}, {enlarged.to_label} of them to label; the sample "
        f"has {enlarged.images}"
    )
    say("next: coreloop run")


def result_sentence(result: RoundResult) -> str:
    """What a round brought and took: ``round 2: accuracy 71.2 % (...), +4.3 points since ...``."""
    measured = result.measured
    lower, upper = measured.interval
    text = (
        f"round {result.round}: {measured.metric} {percent(measured.value)} % (95 % interval "
        f"{percent(lower)} to {percent(upper)} %, {counted(measured.labels, 'label')})"
    )
    if result.before is not None:
        number, value = result.before
        text += f", {100 * (measured.value - value):+.1f} points since round {number}"
    if measured.metric != "accuracy":
        text += f"; plain accuracy {percent(measured.accuracy)} %"
    costs = [counted(result.labels, "label")]
    if result.hours:
        costs.append(f"{duration(result.hours)} of work")
    if result.money:
        costs.append(f"{result.money:.2f} {result.currency}")
    return f"{text}; it cost {', '.join(costs)}"


def sentences(measured: Measurement) -> list[str]:
    """What is known of the model, and of the selection, in lines of a terminal."""
    from loop.reports.answers import against_control, not_measured

    images = "images of the random sample" if measured.by == "sample" else "test images"
    interval = f"95 % interval {percent(measured.lower)} to {percent(measured.upper)} %"
    labels = counted(measured.labels, "label")
    accuracy = f"About {percent(measured.accuracy)} % of images are classified correctly"
    judged = f"judged on {measured.images} {images}"
    known = [f"How good is the model? {accuracy} after {labels}, {interval}, {judged}."]
    if measured.metric != "accuracy":
        lower, upper = map(percent, measured.interval)
        known = [
            f"How good is the model? Its {measured.metric} is about {percent(measured.value)} % "
            f"after {labels}, 95 % interval {lower} to {upper} %, {judged}.",
            not_measured(measured.unseen),
            f"{accuracy}, {interval}.",
        ]
    if measured.difference is not None:
        known.append(f"Does the selection beat random? {against_control(measured.difference)}")
    return [line for sentence in known for line in lines_of(sentence)]
