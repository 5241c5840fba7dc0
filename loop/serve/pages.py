"""What each page shows, as values for its template."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlencode

import numpy as np
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from loop.printable import one_line
from loop.project.gallery import ORDERS, STATES, Gallery, Wanted
from loop.serve.guard import Credentials
from loop.steps.view import View

T = TypeVar("T")
TILES = 120
"""Images on a page."""
UNREADABLE = "unreadable"
"""A state of files, beside those of images."""
ARMS = {
    "coreset": "pick",
    "control": "control",
    "sample": "random sample",
    "test": "test image",
    "calibration": "calibration",
    "rest": "last round",
}
"""Why an image was picked -> in words."""


@dataclass(frozen=True)
class Page:
    """A template and what it shows; ``status`` of HTTP."""

    template: str
    title: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True)
class Tile:
    """An image as pages show it.

    Attributes:
        name: its file's.
        label: class by people or by the model of a promise, else None.
        guess: the newest model's class, with ``confidence``; None where not known or not told.
        round, arm: that picked it, in words; empty where none did, or not told yet.
    """

    key: str
    name: str
    state: str
    label: str | None
    guess: str | None
    confidence: float | None
    round: int | None
    arm: str

    @property
    def alt(self) -> str:
        """What the picture shows, in words."""
        if self.label:
            return f"{self.name}: {self.label}"
        return f"{self.name}: {self.guess}?" if self.guess else f"{self.name}: no label"


def render(
    view: View,
    credentials: Credentials,
    request: Request,
    make: Callable[[View, Request], Page],
) -> Response:
    """The page, or what is in its way, in words; a bug stays a traceback."""
    version = ""
    try:
        version = view.version()  # of before: what changes meanwhile is told by the next look
        page = make(view, request)
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        status = 200 if code == 4 else 409
        page = Page("message.html.j2", "Not now", {"message": str(error)}, status)
    html = (
        _environment()
        .get_template(page.template)
        .render(
            title=page.title,
            path=request.url.path,
            nav=NAV,
            project=view.config.project.name,
            labeler=view.config.labeler.kind,
            version=version,
            post_token=credentials.post_token,
            **page.values,
        )
    )
    return HTMLResponse(html, page.status, headers={"Cache-Control": "no-store"})


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("loop.serve"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters["percent"] = lambda share: "-" if share is None else f"{100 * share:.1f}"
    return environment


def _shown(value: Any) -> Any:
    """Text that others wrote, on one line and without what a terminal or browser acts on."""
    return one_line(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def images(view: View, request: Request) -> Page:
    """The gallery."""
    gallery, wanted = view.gallery(), asked(request)
    values: dict[str, Any] = {"form": form(gallery, wanted), "wanted": wanted}
    if wanted.state == UNREADABLE:
        return Page(
            "unreadable.html.j2", "Unreadable files", {**values, "files": gallery.unreadable}
        )
    rows = wanted.rows(gallery)
    part = paged(rows.tolist(), request)
    tiles = [tile(gallery, row) for row in part.shown]
    return Page("images.html.j2", "Images", {**values, "part": part, "tiles": tiles})


def image(view: View, request: Request) -> Page:
    """One image, and all that is known of it."""
    gallery = view.gallery()
    row = gallery.row_of.get(request.path_params["key"])
    if row is None:
        words = {"message": "the project has no such image; it may have been scanned anew"}
        return Page("message.html.j2", "No such image", words, 404)
    answers = gallery.answers.get(row, [])
    return Page(
        "image.html.j2", gallery.uris[row], {"tile": tile(gallery, row), "answers": answers}
    )


def tile(gallery: Gallery, row: int) -> Tile:
    """The image of an array row."""
    confidence = float(gallery.confidence[row])
    number = int(gallery.rounds[row])
    return Tile(
        key=gallery.keys[row],
        name=gallery.uris[row],
        state=STATES[str(gallery.states[row])],
        label=gallery.class_name(int(gallery.labels[row])),
        guess=gallery.class_name(int(gallery.predicted[row])),
        confidence=None if math.isnan(confidence) else confidence,
        round=number if number >= 0 else None,
        arm=ARMS.get(str(gallery.arms[row]), ""),
    )


def asked(request: Request) -> Wanted:
    """What the address asks for; a value that makes no sense asks for nothing."""
    query = request.query_params
    order = query.get("order", "pool")
    return Wanted(
        round=_whole(query.get("round")),
        label=query.get("label", ""),
        person=query.get("person", ""),
        state=query.get("state", ""),
        least=_share(query.get("least")),
        most=_share(query.get("most")),
        text=query.get("text", ""),
        order=order if order in ORDERS else "pool",
    )


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 9 else None


def _share(text: str | None) -> float | None:
    """Percent in an address -> share."""
    try:
        share = float(text or "nan") / 100
    except ValueError:
        return None
    return share if 0 <= share <= 1 else None


def form(gallery: Gallery, wanted: Wanted) -> dict[str, Any]:
    """What may be chosen from."""
    number = np.unique(gallery.states, return_counts=True)
    counts = dict(zip(number[0].tolist(), number[1].tolist(), strict=True))
    states = {
        state: f"{words} ({counts[state]})" for state, words in STATES.items() if state in counts
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
    number = min(max(1, _whole(request.query_params.get("page")) or 1), pages)

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


PAGES: dict[str, Callable[[View, Request], Page]] = {
    "/": images,
    "/image/{key}": image,
}
"""Path -> what is there."""
NAV = {"/": "Images"}
"""Path -> its name, for the head of each page."""
