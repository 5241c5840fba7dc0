"""What a shell offers after TAB where a scorer or an encoder is wanted: names, no values of theirs.

The shell asks this program itself, see ``Shell completion`` in docs/configuration.md.
"""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


def scorer_names(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Scorers that begin so; after a comma the next one of a list."""
    from loop import scorers

    return _beginning(incomplete, scorers.names(), separator=",")


def encoder_names(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Encoders that begin so, and after ``timm:`` its models with weights; after a plus the next
    one of a joined encoder."""
    from loop.encoders import FORMS

    last = incomplete.rpartition("+")[2]
    if not last.startswith("timm:"):
        return _beginning(incomplete, [n if n == "pixels" else f"{n}:" for n in FORMS], "+")
    import timm

    return _beginning(incomplete, [f"timm:{n}" for n in timm.list_pretrained()], "+")


def _beginning(incomplete: str, names: list[str], separator: str) -> list[CompletionItem]:
    head, comma, last = incomplete.rpartition(separator)
    return [CompletionItem(f"{head}{comma}{name}") for name in names if name.startswith(last)]
