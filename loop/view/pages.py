"""What each page shows, as values for its template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from markupsafe import Markup
from starlette.requests import Request

from loop.goals import interval
from loop.near_duplicates import NearDuplicates
from loop.printable import printable
from loop.project.gallery import PASSED_OVER, Gallery, Wanted
from loop.reports.pages import map_drawing
from loop.steps.view import View
from loop.view.listing import UNREADABLE, asked, form, paged, share
from loop.view.rendering import Page
from loop.view.tiles import tile

T = TypeVar("T")
CARDS = 60
"""Label issues, disagreements or groups on a page."""
COSINE = 0.98
"""From which on images count as nearly the same, unless the address says otherwise."""
MOST_ALIKE = 24
"""Images of a group that are shown."""


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
    return _cards("issues.html.j2", "Label issues", view, request, view.label_issues())


def disagreements(view: View, request: Request) -> Page:
    """Images on which people differ, with what each said."""
    return _cards("disagreements.html.j2", "Disagreements", view, request, view.divided())


def _cards(template: str, title: str, view: View, request: Request, entries: Sequence[T]) -> Page:
    """A page with the image of each wanted entry beside what is known of it."""
    gallery, wanted = view.gallery(), asked(request)
    part = paged(_of(entries, gallery, wanted), request, CARDS)
    cards = [(tile(gallery, gallery.row_of[entry.key]), entry) for entry in part.shown]
    values = {"form": form(gallery, wanted), "wanted": wanted, "part": part, "cards": cards}
    return Page(template, title, values)


def _of(entries: Sequence[T], gallery: Gallery, wanted: Wanted) -> list[T]:
    """Entries with a ``key`` whose image is wanted."""
    if wanted == Wanted():
        return list(entries)
    keys = {gallery.keys[row] for row in wanted.rows(gallery).tolist()}
    return [entry for entry in entries if entry.key in keys]  # type: ignore[attr-defined]


def duplicates(view: View, request: Request) -> Page:
    """Groups of images that are nearly the same."""
    gallery, wanted = view.gallery(), asked(request)
    threshold = share(request.query_params.get("cosine"))
    looked_at = view.evidence().quality
    usual = looked_at.cosine if looked_at else COSINE
    cosine = usual if threshold is None else threshold
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
            intervals[number] = (run.labels, interval(run.metrics, view.config.goal.metric))
    lines = [(line, *intervals.get(line.number, (None, None))) for line in status.rounds]
    trained = [
        (labels, line.value, *ends)
        for line, labels, ends in lines
        if labels is not None and line.value is not None
    ]
    return Page(
        "rounds.html.j2", "Rounds", {"status": status, "lines": lines, "curve": _curve(trained)}
    )


@dataclass(frozen=True)
class Dot:
    """A model's figure in the drawing, with its interval; places in it, from the left and the
    top."""

    x: float
    y: float
    upper: float
    lower: float
    labels: int
    value: float


def _curve(trained: Sequence[tuple[int, float, float, float]]) -> list[Dot]:
    """Figures over labels in a drawing of 600 x 200, from 0 to 100 %."""
    if not trained:
        return []
    most = max(labels for labels, *_ in trained)

    def height(value: float) -> float:
        return round(200 * (1 - value), 1)

    return [
        Dot(
            x=round(600 * labels / most, 1),
            y=height(value),
            upper=height(upper),
            lower=height(lower),
            labels=labels,
            value=value,
        )
        for labels, value, lower, upper in trained
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
