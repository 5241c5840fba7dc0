"""Lists: which scorers and encoders there are."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from loop.cli.completion import scorer_names
from loop.cli.output import json_option, paragraph, print_json, say, table


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
def encoders(as_json: bool) -> None:
    """List the encoders; several are joined by +.

    \b
    Example: coreloop encoders
    """
    from loop.encoders import EXAMPLES, FORMS, OPTIONS

    if as_json:
        print_json([{"name": name, "form": form} for name, form in FORMS.items()])
        return
    for form in FORMS.values():
        say(form)
    for heading, texts in (("options of timm", OPTIONS), ("examples", EXAMPLES)):
        say(f"{heading}:")
        for name, text in texts.items():
            paragraph(f"  {name}: {text}")
