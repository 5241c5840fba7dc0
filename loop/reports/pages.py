"""Templates, and pieces that pages with pictures share: data in, HTML out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template

    from loop.reports.facts import MapPoint, PickShown

PIECES = "pictures.html.j2"


@cache
def template(name: str) -> Template:
    """A template, compiled once: that takes as long as rendering it ten times. What is filled into
    a page is escaped."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("loop.reports"), autoescape=is_html(name))
    environment.filters["unbroken"] = unbroken
    return environment.get_template(name)


def unbroken(text: str) -> str:
    """A sentence whose numbers stay on one line with their percent signs."""
    return re.sub(r"(?<=\d) %", "\u00a0%", text)


def is_html(name: str) -> bool:
    """Whether a template makes a page."""
    return name.endswith(".html.j2")


def style() -> str:
    """Style sheet of a page with pictures and a map, light and dark."""
    return str(_pieces().page_style()) + str(_pieces().picture_style())


def contact_sheet(picks: Sequence[PickShown]) -> str:
    """Thumbnails with round, rank and label, as many in a line as fit."""
    return str(_pieces().sheet(picks))


def picture_style() -> str:
    """The part of ``style`` that pictures and the map need, for a page with its own."""
    return str(_pieces().picture_style())


def map_drawing(points: Sequence[MapPoint]) -> str:
    """The map and its legend, without a script."""
    return str(_pieces().map_drawing(points))


def embedding_map(points: Sequence[MapPoint]) -> str:
    """The map, its legend, and a script that shows a point's picture where the page has an ``img``
    with its key as ``data-key``."""
    return str(_pieces().embedding_map(points))


def _pieces() -> Any:
    return template(PIECES).module
