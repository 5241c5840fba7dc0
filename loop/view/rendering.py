"""Templates, filled in: what others wrote is text on every page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from loop.printable import one_line
from loop.steps.view import View
from loop.view.guard import Credentials
from loop.wording import counted

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


@dataclass(frozen=True)
class Page:
    """A template and what it shows; ``status`` of HTTP."""

    template: str
    title: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


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
        loader=PackageLoader("loop.view"),
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
