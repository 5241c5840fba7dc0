"""What an address asks for: which images, and which part of a long list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request

from loop.project.gallery import ORDERS, STATES, Gallery, Wanted

TILES = 120
"""Images on a page."""
UNREADABLE = "unreadable"
"""A state of files, beside those of images."""


def asked(request: Request) -> Wanted:
    """What the address asks for; a value that makes no sense asks for nothing."""
    query = request.query_params
    order = query.get("order", "pool")
    return Wanted(
        round=whole(query.get("round")),
        label=query.get("label", ""),
        person=query.get("person", ""),
        state=query.get("state", ""),
        least=share(query.get("least")),
        most=share(query.get("most")),
        text=query.get("text", ""),
        order=order if order in ORDERS else "pool",
    )


def whole(text: str | None) -> int | None:
    """A number of at most eight digits; None for anything else."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 9 else None


def share(text: str | None) -> float | None:
    """Percent in an address -> share; None for anything else."""
    try:
        value = float(text or "nan") / 100
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


def form(gallery: Gallery, wanted: Wanted) -> dict[str, Any]:
    """What may be chosen from."""
    counts = Counter(gallery.states.tolist())
    states = {
        state: f"{words} ({counts[state]})" for state, words in STATES.items() if counts[state]
    }
    if gallery.unreadable:
        states[UNREADABLE] = f"unreadable files ({len(gallery.unreadable)})"
    return {
        "rounds": gallery.numbers,
        "classes": gallery.classes,
        "people": gallery.people,
        "states": states,
        "orders": ORDERS,
        "in_use": wanted != Wanted(),
    }


@dataclass(frozen=True)
class Leaf:
    """A page of a long list.

    Attributes:
        shown: its entries; ``total`` of the list.
        first: number of the first entry shown, from 1.
        before, after: addresses of the pages around; empty at the ends.
    """

    shown: list[Any]
    total: int
    first: int
    number: int
    pages: int
    before: str
    after: str

    @property
    def last(self) -> int:
        """Number of the last entry shown."""
        return self.first + len(self.shown) - 1


def paged(entries: Sequence[Any], request: Request, size: int = TILES) -> Leaf:
    """The page that the address asks for, or the nearest there is."""
    pages = max(1, -(-len(entries) // size))
    number = min(max(1, whole(request.query_params.get("page")) or 1), pages)

    def address(page: int) -> str:
        query = [(k, v) for k, v in request.query_params.multi_items() if k != "page"]
        return "?" + urlencode([*query, ("page", page)], errors="replace")

    start = (number - 1) * size
    return Leaf(
        shown=list(entries[start : start + size]),
        total=len(entries),
        first=start + 1,
        number=number,
        pages=pages,
        before=address(number - 1) if number > 1 else "",
        after=address(number + 1) if number < pages else "",
    )
