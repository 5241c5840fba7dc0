"""What each page shows, as values for its template."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlencode

import numpy as np
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from loop.near_duplicates import NearDuplicates
from loop.printable import one_line, printable
from loop.project.gallery import ORDERS, PASSED_OVER, STATES, Gallery, Wanted
from loop.reports.pages import map_drawing
from loop.serve.guard import Credentials
from loop.steps.view import View
from loop.wording import counted

T = TypeVar("T")
TILES = 120
"""Images on a page."""
CARDS = 60
"""Label issues, disagreements or groups on a page."""
COSINE = 0.98
"""From which on images count as nearly the same, unless the address says otherwise."""
MOST_ALIKE = 24
"""Images of a group that are shown."""
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
    def short(self) -> str:
        """The name without its folders."""
        return self.name.rpartition("/")[2] or self.name

    @property
    def caption(self) -> str:
        """Its state, where that says anything."""
        return "" if self.state == STATES["unasked"] else self.state

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
        words = in_words(error)
        status = 200 if error.exit_code == 4 else 409  # type: ignore[attr-defined]
        page = Page("message.html.j2", "Not now", {"message": words}, status)
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


def in_words(error: Exception) -> str:
    """What a known error says; a bug is raised on."""
    if getattr(error, "exit_code", None) is None:
        raise error
    return str(error)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("loop.serve"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals["counted"] = counted
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
    values = {"tile": tile(gallery, row), "answers": answers}
    task = view.task_address(gallery.keys[row])
    return Page("image.html.j2", gallery.uris[row], {**values, "task": task})


def embedding_map(view: View, request: Request) -> Page:
    """Where the picks lie among all images."""
    drawing = Markup(printable(map_drawing(view.map_points())))
    return Page("map.html.j2", "Map", {"drawing": drawing})


def label_issues(view: View, request: Request) -> Page:
    """Labels that the others contradict, with both."""
    gallery, wanted, issues = view.gallery(), asked(request), view.label_issues()
    part = paged(_of(issues, gallery, wanted), request, CARDS)
    cards = [(tile(gallery, gallery.row_of[issue.key]), issue) for issue in part.shown]
    values = {"form": form(gallery, wanted), "wanted": wanted, "part": part, "cards": cards}
    return Page("issues.html.j2", "Label issues", values)


def disagreements(view: View, request: Request) -> Page:
    """Images on which people differ, with what each said."""
    gallery, wanted, divided = view.gallery(), asked(request), view.divided()
    part = paged(_of(divided, gallery, wanted), request, CARDS)
    cards = [(tile(gallery, gallery.row_of[image.key]), image) for image in part.shown]
    values = {"form": form(gallery, wanted), "wanted": wanted, "part": part, "cards": cards}
    return Page("disagreements.html.j2", "Disagreements", values)


def _of(entries: Sequence[T], gallery: Gallery, wanted: Wanted) -> list[T]:
    """Entries with a ``key`` whose image is wanted."""
    if wanted == Wanted():
        return list(entries)
    keys = {gallery.keys[row] for row in wanted.rows(gallery).tolist()}
    return [entry for entry in entries if entry.key in keys]  # type: ignore[attr-defined]


def duplicates(view: View, request: Request) -> Page:
    """Groups of images that are nearly the same."""
    gallery, wanted = view.gallery(), asked(request)
    share = _share(request.query_params.get("cosine"))
    cosine = COSINE if share is None else share
    shown = set(wanted.rows(gallery).tolist())
    alike = [_there(gallery, group) for group in view.near_duplicates(cosine)]
    alike = [each for each in alike if len(each.rows) > 1 and shown & set(each.rows.tolist())]
    part = paged(alike, request, CARDS)
    groups = []
    for group in part.shown:
        tiles = [tile(gallery, int(row)) for row in group.rows[:MOST_ALIKE]]
        differ = len({each.label for each in tiles if each.label}) > 1
        groups.append((group, tiles, differ))
    values = {"form": form(gallery, wanted), "wanted": wanted, "part": part, "groups": groups}
    return Page("duplicates.html.j2", "Near-duplicates", {**values, "cosine": cosine})


def _there(gallery: Gallery, group: NearDuplicates) -> NearDuplicates:
    """The group without images that are passed over."""
    return replace(group, rows=group.rows[~np.isin(gallery.states[group.rows], PASSED_OVER)])


def rounds(view: View, request: Request) -> Page:
    """Round by round: what was picked and labelled, and how good the model was then."""
    status = view.rounds()
    intervals = {}
    for number, run in view.evidence().runs:
        if run.arm == "all":
            intervals[number] = (run.labels, run.metrics["intervals"]["accuracy"])
    lines = [(line, *intervals.get(line.number, (None, None))) for line in status.rounds]
    trained = [
        (labels, line.accuracy, *interval)
        for line, labels, interval in lines
        if labels is not None and line.accuracy is not None
    ]
    return Page(
        "rounds.html.j2", "Rounds", {"status": status, "lines": lines, "curve": _curve(trained)}
    )


@dataclass(frozen=True)
class Dot:
    """An accuracy in the drawing, with its interval; places in it, from the left and the top."""

    x: float
    y: float
    upper: float
    lower: float
    labels: int
    accuracy: float


def _curve(trained: Sequence[tuple[int, float, float, float]]) -> list[Dot]:
    """Accuracies over labels in a drawing of 600 x 200, from 0 to 100 %."""
    if not trained:
        return []
    most = max(labels for labels, *_ in trained)

    def height(accuracy: float) -> float:
        return round(200 * (1 - accuracy), 1)

    return [
        Dot(
            x=round(600 * labels / most, 1),
            y=height(accuracy),
            upper=height(upper),
            lower=height(lower),
            labels=labels,
            accuracy=accuracy,
        )
        for labels, accuracy, lower, upper in trained
    ]


def labelling(view: View, request: Request) -> Page:
    """The open round, to be labelled by clicking; or where it is labelled."""
    kind = view.config.labeler.kind
    if kind == "csv":
        return Page("label.html.j2", "Label", {"sheets": view.sheets()})
    if kind == "label-studio":
        return Page("elsewhere.html.j2", "Label", _in_label_studio(view, request))
    words = {"message": "this project is answered by an oracle, from labels that are known"}
    return Page("message.html.j2", "Label", words)


def _in_label_studio(view: View, request: Request) -> dict[str, Any]:
    """Links to the tasks that wait, and to all."""
    gallery = view.gallery()
    waiting = list(Wanted(state="waiting").rows(gallery).tolist())
    part = paged(waiting, request)
    links = []
    for row in part.shown:
        links.append((tile(gallery, row), view.task_address(gallery.keys[row])))
    return {"part": part, "links": links}


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
    "/map": embedding_map,
    "/issues": label_issues,
    "/disagreements": disagreements,
    "/duplicates": duplicates,
    "/rounds": rounds,
    "/label": labelling,
}
"""Path -> what is there."""
NAV = {
    "/": "Images",
    "/map": "Map",
    "/issues": "Label issues",
    "/disagreements": "Disagreements",
    "/duplicates": "Near-duplicates",
    "/rounds": "Rounds",
    "/label": "Label",
}
"""Path -> its name, for the head of each page."""
