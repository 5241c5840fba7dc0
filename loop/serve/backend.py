"""The application that Label Studio takes as an ML backend; nothing is trained in a request."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loop.printable import one_line
from loop.serve.guard import WEBHOOK, ServiceGuard
from loop.serve.metrics import KIND, ServiceMetrics
from loop.steps.serve import Service

MOST_BYTES = 64 * 2**20
"""Of a request; the server sends the annotations of its tasks along."""
MOST_WEBHOOK_BYTES = 2**20
EVENTS = {
    "ANNOTATION_CREATED",
    "ANNOTATIONS_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATIONS_DELETED",
}
"""After which there may be answers."""
PATHS = {"/", "/health", "/setup", "/predict", "/versions", "/metrics", WEBHOOK}


class Backend:
    """Answers requests.

    Args:
        service: what it knows.
        wake: called where there may be answers.
        complain: hears what went wrong in a request.
    """

    def __init__(
        self, service: Service, wake: Callable[[], None], complain: Callable[[str], None]
    ) -> None:
        self.service, self.wake, self.complain = service, wake, complain
        self.metrics = ServiceMetrics()

    def app(self, password: str, address: str, *, everywhere: bool) -> ServiceGuard:
        """The application, guarded; see ``ServiceGuard``."""
        routes = [
            Route("/", self.health, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/setup", self.setup, methods=["POST"]),
            Route("/predict", self.predict, methods=["POST"]),
            Route(WEBHOOK, self.webhook, methods=["POST"]),
            Route("/versions", self.versions, methods=["GET", "POST"]),
            Route("/metrics", self.show_metrics, methods=["GET"]),
        ]
        return ServiceGuard(
            Starlette(routes=routes),
            password,
            self.service.webhook_secret,
            address,
            everywhere,
            self._count_refused,
        )

    async def health(self, request: Request) -> Response:
        """``UP`` whenever predictions are answered; how the loop stands is said beside."""
        state = await run_in_threadpool(self.service.watch_state)
        watch = None if state is None else json.loads(json.dumps(asdict(state), default=str))
        return JSONResponse({"status": "UP", "model_class": "coreloop", "watch": watch})

    async def setup(self, request: Request) -> Response:
        """Which model answers. What the server sends along, a token among it, is not kept."""
        asked = _object(await _body(request, MOST_BYTES))

        def answer() -> dict[str, Any]:
            self.service.check_setup(asked)
            return {"model_version": self.service.version()}

        return await self._answer(answer)

    async def predict(self, request: Request) -> Response:
        """Predictions of tasks."""
        began = time.perf_counter()
        body = await _body(request, MOST_BYTES)

        def answer() -> dict[str, Any]:
            answered = self.service.predict(body)
            for how, count in answered.counts.items():
                self.metrics.predictions.labels(how).inc(count)
            for reason in answered.reasons[:3]:
                self.complain(f"no prediction: {reason}")
            return {"results": answered.results, "model_version": answered.version}

        response = await self._answer(answer)
        self.metrics.seconds.observe(time.perf_counter() - began)
        return response

    async def webhook(self, request: Request) -> Response:
        """Wakes the loop, which asks the server itself: nothing that stands here is believed."""
        event = _object(await _body(request, MOST_WEBHOOK_BYTES)).get("action")
        if isinstance(event, str) and event in EVENTS:
            self.metrics.webhooks.labels(event).inc()
            self.wake()
        return JSONResponse({}, 200)

    async def versions(self, request: Request) -> Response:
        """Names of the models that answer."""
        return await self._answer(lambda: {"versions": self.service.versions()})

    async def show_metrics(self, request: Request) -> Response:
        """See ``ServiceMetrics``."""

        def shown() -> bytes:
            return self.metrics.shown(self.service.watch_state(), self.service.version())

        return Response(await run_in_threadpool(shown), media_type=KIND)

    async def _answer(self, answer: Callable[[], dict[str, Any]]) -> Response:
        """JSON of what ``answer`` gives; errors of ours in words. A bug stays a traceback."""
        try:
            return JSONResponse(await run_in_threadpool(answer))
        except Exception as error:
            code = getattr(error, "exit_code", None)
            if code is None:
                raise
            self.complain(str(error))
            return JSONResponse({"error": one_line(str(error))}, 400 if code in (2, 3, 5) else 503)

    def _count_refused(self, path: str) -> None:
        self.metrics.refused.labels(path if path in PATHS else "other").inc()


def _object(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises HTTPException."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise HTTPException(400, "this is no JSON object")
    return value


async def _body(request: Request, most: int) -> bytes:
    parts, size = [], 0
    async for chunk in request.stream():
        parts.append(chunk)
        size += len(chunk)
        if size > most:
            raise HTTPException(413)
    return b"".join(parts)
