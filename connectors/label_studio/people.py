"""Who annotates: names for the numbers that annotations carry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from connectors.label_studio.answers import ListedPerson
from connectors.label_studio.client import Client
from connectors.label_studio.errors import printable

MOST_SHOWN = 60
"""Characters of a name."""


def annotator(id_: int | None, annotation: int = 0) -> str:
    """How records know a person: names change, numbers do not. The server forgets whose the
    annotations of a deleted account were, so that each is one person's, who left."""
    return f"user {id_}" if id_ is not None else f"somebody who left (annotation {annotation})"


def names(client: Client) -> Mapping[str, str]:
    """``user 3`` -> name, different for different people.

    Raises:
        Unreachable, Unauthorized, Mismatch, Rejected: the server does not tell.
    """
    return distinct(client.get("/api/users/", answer=list[ListedPerson]))


def distinct(people: Sequence[ListedPerson]) -> dict[str, str]:
    """A name that two people share, or that looks like a number, gets the number behind it."""
    shown = {annotator(person.id): printable(person.name)[:MOST_SHOWN].strip() for person in people}
    shared = Counter(name.casefold() for name in shown.values())
    return {
        who: f"{name} ({who})" if shared[name.casefold()] > 1 or name.startswith("user ") else name
        for who, name in shown.items()
        if name
    }
