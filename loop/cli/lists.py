"""Lists: which scorers and encoders there are."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from loop.cli.output import json_option, print_json, say, table


@click.command()
@click.argument("name", required=False)
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
                "about": (cls.__doc__ or "").strip().split("\n\n")[0],
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
        lines = [(f["name"], _needs(f), f["cost"]) for f in listed]
        table(("name", "needs", "cost"), lines, left=3)
        say("all about one: coreloop scorers NAME")


def _needs(scorer: dict[str, Any]) -> str:
    first, later = ", ".join(scorer["needs"]), ", ".join(scorer["uses"])
    return (first or "-") + (f"; later {later}" if later else "")


@click.command()
@json_option
def encoders(as_json: bool) -> None:
    """List the encoders; several are joined by +.

    \b
    Example: coreloop encoders
    """
    from loop.encoders import FORMS

    if as_json:
        print_json([{"name": name, "form": form} for name, form in FORMS.items()])
        return
    for form in FORMS.values():
        say(form)
