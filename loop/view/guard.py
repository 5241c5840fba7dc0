"""Who may ask: one person, in one browser, who was given the address.

The server listens on loopback, which every program and every web page that a browser here shows can
reach. So a request needs a token (from the address, then a cookie that other sites' requests do not
carry), a Host that is this machine (a name that somebody else's DNS answers for is not: DNS
rebinding), and no foreign Origin; one that changes something also a second token, which stands in
our pages alone (CSRF).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loop.web.hosts import equal, is_this_machine

POST_TOKEN = "X-Coreloop-Token"
"""Header of requests that change something."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; "
    "script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class Credentials:
    """Of one run of the server; made anew by each.

    Attributes:
        token: in the address, then in the cookie.
        post_token: in our pages, for requests that change something.
    """

    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    post_token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @property
    def cookie(self) -> str:
        """Its name; browsers do not keep the cookies of two ports apart."""
        return f"coreloop_{self.port}"


@dataclass(frozen=True)
class Guard:
    """Middleware that lets through what may ask, and adds ``HEADERS`` to every answer.

    Attributes:
        everywhere: the server listens beyond loopback, so that Host may also be an address or a
            name of this machine; a number is nobody else's name.
    """

    app: ASGIApp
    credentials: Credentials
    everywhere: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification; web sockets are refused."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._answer(Request(scope)) or self.app
        await answer(scope, receive, send_guarded)

    def _answer(self, request: Request) -> Response | None:
        """What is answered in place of a page; None: the request may pass."""
        if not is_this_machine(request.headers.getlist("host"), everywhere=self.everywhere):
            return _refused("this address is not served here; open the one that was printed")
        origin = request.headers.get("origin")
        own = f"{request.url.scheme}://{request.headers['host']}"
        if origin is not None and origin != own:
            return _refused("a page of another site asked for this")
        if request.method in ("GET", "HEAD") and "token" in request.query_params:
            return self._entry(request)
        if not equal(request.cookies.get(self.credentials.cookie), self.credentials.token):
            return _refused(
                "open the whole address that 'coreloop view' printed, token included; each start "
                "has a new one"
            )
        if request.method in ("GET", "HEAD"):
            return None
        if origin is None:
            return _refused("the request does not say which page it comes from")
        if not equal(request.headers.get(POST_TOKEN), self.credentials.post_token):
            return _refused("this page is of an earlier start; load it anew")
        return None

    def _entry(self, request: Request) -> Response:
        """Sets the cookie and goes on to the same address without the token, which may be copied.

        By a page, not by a redirect: after a link in another program, browsers would count the
        redirect as another site's, and keep the cookie back.
        """
        if not equal(request.query_params["token"], self.credentials.token):
            return _refused("the token in this address is wrong; each start has a new one")
        url = request.url.remove_query_params("token")
        address = "/" + url.path.lstrip("/") + (f"?{url.query}" if url.query else "")
        meta = f'<meta http-equiv="refresh" content="0;url={escape(address)}">'
        answer = HTMLResponse(f"<!doctype html><title>coreloop</title>{meta}")
        name, token = self.credentials.cookie, self.credentials.token
        answer.set_cookie(name, token, httponly=True, samesite="strict")
        answer.headers["Cache-Control"] = "no-store"
        return answer


def _refused(why: str) -> Response:
    headers: Mapping[str, str] = {"Cache-Control": "no-store"}
    return PlainTextResponse(f"403: {why}\n", 403, headers)
