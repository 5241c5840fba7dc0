"""The application of ``coreloop view``: an address -> a page of what the step read."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loop.printable import one_line
from loop.reports.pages import picture_style
from loop.steps.view import PICTURE, THUMBNAIL, View
from loop.view.guard import Credentials, Guard
from loop.view.pages import PAGES
from loop.view.rendering import Page, in_words, render

STATIC = ("view.css", "view.js", "label.js", "icon.svg")
KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
FOR_EVER = "private, max-age=31536000, immutable"
"""A picture is named by its content."""


MOST_BYTES = 16_384
"""Of a request that changes something."""


class SheetAnswer(BaseModel):
    """What a page sends when a label is clicked. ``before``: the label that it showed."""

    model_config = ConfigDict(extra="forbid", strict=True)
    key: str
    label: str
    before: str


def make_app(view: View, credentials: Credentials, *, everywhere: bool = False) -> Guard:
    """Everything that ``coreloop view`` answers, guarded.

    Args:
        everywhere: see ``Guard``.
    """

    def page(make: Callable[[View, Request], Page]) -> Callable[[Request], Response]:
        def endpoint(request: Request) -> Response:
            return render(view, credentials, request, make)

        return endpoint

    def picture(request: Request) -> Response:
        return _picture(view, request.path_params["key"], PICTURE)

    def thumbnail(request: Request) -> Response:
        return _picture(view, request.path_params["key"], THUMBNAIL)

    def version(request: Request) -> Response:
        return JSONResponse(_version(view), headers={"Cache-Control": "no-store"})

    async def answer(request: Request) -> Response:
        return await _answer(view, request)

    routes = [Route(path, page(make), methods=["GET"]) for path, make in PAGES.items()]
    routes += [
        Route("/label", answer, methods=["POST"]),
        Route("/picture/{key}", picture, methods=["GET"]),
        Route("/thumbnail/{key}", thumbnail, methods=["GET"]),
        Route("/static/{name}", _static, methods=["GET"]),
        Route("/favicon.ico", _icon, methods=["GET"]),
        Route("/version", version, methods=["GET"]),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _not_here})
    return Guard(app, credentials, everywhere)


def _version(view: View) -> dict[str, str]:
    """Of what is there now; while nothing can be read, of nothing."""
    try:
        return {"version": view.version()}
    except Exception as error:
        return {"version": "", "error": one_line(in_words(error))}


async def _answer(view: View, request: Request) -> Response:
    """Writes one label into its sheet; JSON in, JSON out. A bug stays a traceback."""
    try:
        asked = SheetAnswer.model_validate_json(await _small_body(request))
    except ValidationError:
        return JSONResponse({"error": "this is no answer; load the page anew"}, 400)
    try:
        await run_in_threadpool(view.fill_in, asked.key, asked.label, asked.before)
    except Exception as error:
        return JSONResponse({"error": one_line(in_words(error))}, 409)
    return JSONResponse({"label": asked.label})


async def _small_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise HTTPException(413)
    return body


def _picture(view: View, key: str, side: int) -> Response:
    try:
        jpeg = view.picture(key, side)
    except Exception as error:
        return _placeholder(in_words(error))
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": FOR_EVER})


def _placeholder(reason: str) -> Response:
    """A drawing that says why there is no picture."""
    words, lines = one_line(reason).split(" "), [""]
    for word in words:
        fits = len(lines[-1]) + len(word) < 30
        if fits:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    spans = "".join(
        f'<tspan x="8" dy="16">{escape(line.strip()[:34])}</tspan>' for line in lines[:9]
    )
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 192 192" width="192" height="192">'
        '<rect width="192" height="192" fill="#e4e0d8"/>'
        '<text y="14" font-family="sans-serif" font-size="11" fill="#5a2a20">'
        f"<title>{escape(one_line(reason))}</title>{spans}</text></svg>"
    )
    return Response(drawing, media_type="image/svg+xml", headers={"Cache-Control": "no-store"})


def _static(request: Request) -> Response:
    return _file(request.path_params["name"])


def _icon(request: Request) -> Response:
    return _file("icon.svg")


def _file(name: str) -> Response:
    if name == "pictures.css":
        text = picture_style().encode()
    elif name in STATIC:
        text = files("loop.view").joinpath("static", name).read_bytes()
    else:
        raise HTTPException(404)
    kind = KINDS[name.rpartition(".")[2]]
    return Response(text, media_type=kind, headers={"Cache-Control": "private, max-age=60"})


def _not_here(request: Request, error: Any) -> Response:
    return Response(
        f"{error.status_code}: {error.detail}\n",
        error.status_code,
        headers={**(error.headers or {}), "Cache-Control": "no-store"},
        media_type="text/plain",
    )
