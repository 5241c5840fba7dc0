"""labels: what people said, how far they agree, how fast they are, what to look at again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loop.cli.asking import at_terminal, confirmed
from loop.cli.output import json_option, percent, print_json, project_at, project_option, say, table
from loop.wording import agreeing, counted

if TYPE_CHECKING:
    from loop.costs import Pace
    from loop.label_issues import LabelIssue
    from loop.steps.labels import Opinions

SHOWN = 20


@click.command()
@project_option
@json_option
@click.option("--disagreements", is_flag=True, help="List the images on which people differ.")
@click.option(
    "--label-issues",
    "--suspects",
    "label_issues",
    is_flag=True,
    help="List labels that the others contradict.",
)
@click.option("--times", is_flag=True, help="Seconds per label by annotator and class.")
@click.option("--send-back", is_flag=True, help="Ask one more person about the listed images.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=SHOWN,
    show_default=True,
    help="Images that are listed and sent back at most, the most doubtful first.",
)
@click.option("--yes", is_flag=True, help="Send them back without being asked.")
def labels(
    folder: Path,
    as_json: bool,
    disagreements: bool,
    label_issues: bool,
    times: bool,
    send_back: bool,
    limit: int,
    yes: bool,
) -> None:
    """Show what people said: agreement, pace, disagreements, label issues.

    \b
    Example: coreloop labels --disagreements --send-back
    """
    from loop.steps import labels as step

    if send_back and not (disagreements or label_issues):
        raise click.UsageError("--send-back needs --disagreements or --label-issues")
    project = project_at(folder)
    facts: dict[str, Any] = {}
    listed: list[str] = []
    if label_issues:
        issues = step.label_issues(project)
        facts["label_issues"] = [asdict(issue) for issue in issues]
        listed += [issue.key for issue in issues]
    opinions = step.labels(project)
    if disagreements or times or not label_issues:
        facts |= asdict(opinions)
    if disagreements:
        listed += [image.key for image in opinions.divided]
    keys = list(dict.fromkeys(listed))
    if as_json:
        if send_back:
            asked = step.send_back(project, keys[:limit])
            facts |= {"doubtful": len(keys), "sent_back": asked.count, "url": asked.url}
        print_json(facts)
        return
    if label_issues:
        _label_issues(issues, limit)
    if disagreements:
        _divided(opinions, limit)
    if times:
        _times(opinions)
    if not (label_issues or disagreements or times):
        _overview(opinions)
    if send_back and _may_send(len(keys), min(limit, len(keys)), yes=yes):
        asked = step.send_back(project, keys[:limit])
        images = f"{counted(asked.count, 'image')} {agreeing(asked.count, 'is')}"
        say(f"{images} open again; later: coreloop pull")
        if asked.url:
            say(f"these alone, in a tab: {asked.url}")


def _may_send(doubtful: int, count: int, *, yes: bool) -> bool:
    """Says how many images go back, and asks where somebody can answer."""
    if not count:
        return False
    rest = f"; --limit {doubtful} sends all" if count < doubtful else ""
    say(f"{count} of {counted(doubtful, 'image')} go back to one more person each{rest}")
    return yes or not at_terminal() or confirmed("Send them?")


def _overview(opinions: Opinions) -> None:
    lines = [
        (
            p.name,
            p.pace.labels,
            p.skips,
            p.shared,
            percent(p.agreed),
            _seconds(p.pace),
            _per_hour(p.pace),
        )
        for p in opinions.people
    ]
    table(("annotator", "labels", "skips", "shared", "agreed %", "s/label", "per hour"), lines)
    say(
        f"{counted(opinions.images, 'image')} {agreeing(opinions.images, 'has')} a label, "
        f"{opinions.several} of them from several people"
    )
    if opinions.alpha is not None:
        say(f"Krippendorff's alpha {opinions.alpha:.3f} (1: all agree, 0: as by chance)")
    for pair in opinions.pairs[:10]:
        kappa = "undefined" if pair.kappa is None else f"{pair.kappa:.3f}"
        say(
            f"Cohen's kappa of {pair.first} and {pair.second}: {kappa} on "
            f"{counted(pair.images, 'image')}"
        )
    if opinions.divided:
        say(
            f"on {counted(len(opinions.divided), 'image')} people differ; {opinions.consensus} "
            "decides"
        )
        say("see them: coreloop labels --disagreements")


def _divided(opinions: Opinions, limit: int) -> None:
    lines = [
        (
            image.uri,
            image.consensus,
            ", ".join(f"{who}: {what}" for who, what in image.votes.items()),
        )
        for image in opinions.divided[:limit]
    ]
    table(("image", opinions.consensus, "votes"), lines, left=3)
    _more(
        len(opinions.divided),
        limit,
        "coreloop labels --disagreements --send-back asks one more person",
    )


def _label_issues(issues: list[LabelIssue], limit: int) -> None:
    lines = [
        (issue.uri, issue.label, issue.by, issue.predicted, percent(issue.self_confidence))
        for issue in issues[:limit]
    ]
    table(("image", "label", "by", "predicted", "label is right %"), lines, left=4)
    _more(len(issues), limit, "coreloop labels --label-issues --send-back asks one more person")


def _more(count: int, limit: int, advice: str) -> None:
    rest = f", {limit} shown; --json lists all" if count > limit else ""
    say(f"{counted(count, 'image')}{rest}")
    if count:
        say(advice)


def _times(opinions: Opinions) -> None:
    lines = [
        (
            "all",
            label,
            class_pace.labels,
            class_pace.timed,
            _seconds(class_pace),
            _per_hour(class_pace),
        )
        for label, class_pace in opinions.by_class.items()
    ]
    for person in opinions.people if len(opinions.people) > 1 else ():
        lines += [
            (
                person.name,
                label,
                class_pace.labels,
                class_pace.timed,
                _seconds(class_pace),
                _per_hour(class_pace),
            )
            for label, class_pace in person.by_class.items()
        ]
    table(("annotator", "class", "labels", "timed", "s/label", "per hour"), lines, left=2)
    say("no single time counts more than 5 medians; unknown ones count like the others")


def _seconds(measured: Pace) -> str:
    return "-" if measured.seconds is None else f"{measured.seconds:.1f}"


def _per_hour(measured: Pace) -> str:
    return "-" if measured.per_hour is None else f"{measured.per_hour:.0f}"
