"""Lists: which scorers and encoders there are."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loop.cli.completion import scorer_names
from loop.cli.output import (
    bar,
    json_option,
    paragraph,
    percent,
    print_json,
    project_at,
    project_option,
    say,
    table,
)
from loop.wording import counted

if TYPE_CHECKING:
    from loop.project import Project


@click.command()
@click.argument("name", required=False, shell_complete=scorer_names)
@json_option
def scorers(name: str | None, as_json: bool) -> None:
    """List the selection methods, or say all about one.

    \b
    Example: coreloop scorers zcore
    """
    from loop import scorers as registry

    listed: list[dict[str, Any]] = []
    for scorer_name in [name] if name else registry.names():
        cls = registry.load(scorer_name)
        listed.append(
            {
                "name": scorer_name,
                "needs": sorted(cls.needs),
                "uses": sorted(cls.uses),
                "nested": cls.nested,
                "cost": cls.cost,
                "source": cls.source,
                "about": _first_sentence(cls.__doc__ or ""),
                "parameters": {
                    field.name: field.default
                    for field in dataclasses.fields(cls)  # type: ignore[arg-type]
                },
            }
        )
    if as_json:
        print_json(listed)
    elif name:
        for key, value in listed[0].items():
            say(f"{key}: {value}")
    else:
        for when, facts in _by_time(listed).items():
            say(f"{when}:")
            table(("name", "what it prefers"), [(f["name"], f["about"]) for f in facts], left=2)
        say("needs, cost, source and parameters of one: coreloop scorers NAME")


def _first_sentence(docstring: str) -> str:
    """On one line, without its full stop."""
    return " ".join(docstring.split("\n\n")[0].split()).partition(". ")[0].rstrip(".")


WHEN: tuple[tuple[str, set[str]], ...] = (
    ("any round, from the first on", set()),
    ("from the second round on: a model of the labels so far", {"probabilities", "collected"}),
    ("to look back (compare, simulate): they see a label of every image", {"labels"}),
)
"""When a scorer can choose, by what it needs; the last that fits counts."""


def _by_time(listed: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """When -> the scorers that can choose then; ``auto``, the default, first."""
    grouped: dict[str, list[dict[str, Any]]] = {when: [] for when, _ in WHEN}
    for facts in sorted(listed, key=lambda facts: facts["name"] != "auto"):
        fitting = [when for when, needs in WHEN if not needs or needs & set(facts["needs"])]
        grouped[fitting[-1]].append(facts)
    return {when: facts for when, facts in grouped.items() if facts}


@click.command()
@json_option
@project_option
@click.option("--recommend", is_flag=True, help="What to take for photographs, and its rate here.")
@click.option("--compare", is_flag=True, help="Those at hand, by the labels of this project.")
def encoders(as_json: bool, folder: Path, recommend: bool, compare: bool) -> None:
    """List the encoders; several are joined by +.

    With --recommend: which to take for photographs, with size, licence and rate on this machine;
    nothing is fetched for that. With --compare: which of the encoders that the project's images are
    embedded with, or of the parts of a joined one, predicts held-out labels best.

    \b
    Example: coreloop encoders
             coreloop encoders --recommend
             coreloop encoders --compare
    """
    from loop.encoders import EXAMPLES, FORMS, OPTIONS

    if compare:
        _compare(project_at(folder), as_json)
        return
    if recommend:
        _recommend(as_json)
        return
    if as_json:
        print_json([{"name": name, "form": form} for name, form in FORMS.items()])
        return
    for form in FORMS.values():
        say(form)
    for heading, texts in (("options of timm", OPTIONS), ("examples", EXAMPLES)):
        say(f"{heading}:")
        for name, text in texts.items():
            paragraph(f"  {name}: {text}")
    say("which to take for photographs: coreloop encoders --recommend")


def _compare(project: Project, as_json: bool) -> None:
    """The best first."""
    from loop.project.encoder_choice import EVIDENCE, compare_encoders

    scores = compare_encoders(project)
    if as_json:
        print_json([dataclasses.asdict(score) for score in scores])
        return
    heads = ("encoder", "dims", "log-loss", "behind", "right, %")
    lines = [
        (
            f"{'>' if score.in_use else ' '} {score.encoder}",
            score.dim,
            f"{score.loss:.3f}",
            f"{score.behind[0]:.3f} +- {score.behind[1]:.3f}",
            percent(score.accuracy),
        )
        for score in scores
    ]
    table(heads, lines)
    paragraph(
        f"{counted(scores[0].labels, 'label')}, each predicted by models without it; > is in use; "
        "+- is one standard error of the difference"
    )
    best = scores[0]
    current = next((score for score in scores if score.in_use), None)
    if project.written.encoder_candidates:
        say("the next training decides among encoder and encoder_candidates by this rule")
    elif (
        current is not None and not best.in_use and current.behind[0] > EVIDENCE * current.behind[1]
    ):
        say(f"better by more than chance: encoder = {best.encoder!r} in coreloop.toml, then run")
    else:
        say("none is better than the one in use by more than chance")


def _recommend(as_json: bool) -> None:
    from loop.device import resolve
    from loop.encoders.recommended import RECOMMENDED, measure

    device = resolve("auto")
    measured = []
    with bar() as (begin, _):
        for each in RECOMMENDED:
            begin(f"timing {each.encoder} on {device}, with random weights")
            measured.append(measure(each, device))
    if as_json:
        print_json([dataclasses.asdict(facts) for facts in measured])
        return
    for facts in measured:
        say(facts.encoder)
        paragraph(
            f"  {facts.suits}; {facts.in_words()} ({facts.side} x {facts.side} pixels, {device})"
        )
    paragraph(
        "several joined by + are one encoder, e.g. a CLIP, which knows class names, beside DINOv2; "
        "read a licence where its weights come from before you sell what they made"
    )
