"""Who may ask the service: Label Studio, by the password and the webhook's secret it was given.

The service listens on loopback unless told otherwise. No browser has to ask it, so that a request
with an Origin is refused, and one whose Host is neither this machine nor the address that Label
Studio was given (DNS rebinding).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from loop.steps.serve import USER, WEBHOOK_HEADER
from loop.web.hosts import equal, is_this_machine

WEBHOOK = "/webhook"
Counted = Callable[[str], None]


@dataclass(frozen=True)
class ServiceGuard:
    """Middleware that lets through what may ask.

    Attributes:
        password: of basic authentication; empty: none is asked for.
        webhook_secret: that ``WEBHOOK_HEADER`` must say at ``/webhook``.
        address: where Label Studio reaches the service; its host may be asked for.
        everywhere: see ``loop.web.hosts``.
        on_refused: hears the path of each refused request.
    """

    app: ASGIApp
    password: str
    webhook_secret: str
    address: str
    everywhere: bool
    on_refused: Counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification; web sockets are refused."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope)
        refusal = self._refusal(request)
        if refusal is not None:
            self.on_refused(request.url.path)
        answer: Callable[[Scope, Receive, Send], Awaitable[None]] = refusal or self.app
        await answer(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        hosts = request.headers.getlist("host")
        if not self._is_own(hosts) and not is_this_machine(hosts, everywhere=self.everywhere):
            return _refused(403, "this address is not served here; start with --address to add it")
        if request.headers.get("origin") is not None:
            return _refused(403, "a web page asked for this")
        if request.url.path == WEBHOOK:
            if not equal(request.headers.get(WEBHOOK_HEADER), self.webhook_secret):
                return _refused(401, f"{WEBHOOK_HEADER} is missing or wrong")
            return None
        if self.password and not self._may_ask(request.headers.get("authorization", "")):
            refused = _refused(401, "user or password is missing or wrong")
            refused.headers["WWW-Authenticate"] = 'Basic realm="coreloop"'
            return refused
        return None

    def _is_own(self, hosts: list[str]) -> bool:
        return len(hosts) == 1 and hosts[0].lower() == urlsplit(self.address).netloc.lower()

    def _may_ask(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            given = base64.b64decode(encoded.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            return False
        return equal(given, f"{USER}:{self.password}")


def _refused(code: int, why: str) -> Response:
    return PlainTextResponse(f"{code}: {why}\n", code, {"Cache-Control": "no-store"})
