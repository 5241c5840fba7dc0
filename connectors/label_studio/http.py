"""An HTTP client that a server cannot keep for ever, nor fill the memory of, nor send elsewhere."""

from __future__ import annotations

import queue
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import httpx

from connectors.label_studio.errors import unusable_proxy

MAX_BYTES = 64 * 2**20
"""Most of an answer, unpacked; a page of 500 tasks with two answers each has 1 MB."""
SECONDS = 120.0
"""Where a caller names no time."""
CONNECT_SECONDS = 10.0
GZIP = zlib.MAX_WBITS | 16


class Oversized(httpx.HTTPError):
    """An answer is larger than any that Label Studio gives, or packed in an unusual way."""


class BoundedClient(httpx.Client):
    """Follows no redirect; the read timeout counts for a whole request and its answer, however the
    bytes trickle in; an answer has at most ``MAX_BYTES``.

    Raises:
        UnusableProxy: the environment names a proxy that is none.
    """

    def __init__(self, seconds: float) -> None:
        try:
            super().__init__(
                timeout=httpx.Timeout(seconds, connect=CONNECT_SECONDS),
                headers={"Accept-Encoding": "gzip"},
                follow_redirects=False,
                verify=_authorities(),
            )
        except (httpx.InvalidURL, ValueError, ImportError) as error:  # proxies, as it is made
            raise unusable_proxy(error) from None

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """See httpx.Client.send; the answer has been read.

        Raises:
            httpx.ReadTimeout: the whole took too long.
            httpx.RemoteProtocolError: the answer cannot be read as one, such as a redirect to what
                is no address.
            Oversized: the answer is too large.
        """
        seconds = request.extensions["timeout"]["read"] or SECONDS
        options["stream"] = True
        receive = super().send
        try:
            return _within(seconds, lambda: _received(receive(request, **options)))
        except queue.Empty:
            raise httpx.ReadTimeout(f"no end after {seconds:g} s", request=request) from None
        except (httpx.InvalidURL, ValueError) as error:
            raise httpx.RemoteProtocolError(str(error), request=request) from None


@cache
def _authorities() -> ssl.SSLContext:
    """The authorities that servers are checked against; to read them takes 20 ms."""
    return httpx.create_ssl_context()


def _within(seconds: float, work: Callable[[], httpx.Response]) -> httpx.Response:
    """What ``work`` returns or raises. A thread that has no end is left to the process's end.

    Raises:
        queue.Empty: it took longer than ``seconds``.
    """
    outcome: queue.SimpleQueue[httpx.Response | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put(work())
        except BaseException as error:  # raised again where the caller waits
            outcome.put(error)

    threading.Thread(target=run, daemon=True).start()
    result = outcome.get(timeout=seconds)
    if isinstance(result, BaseException):
        raise result
    return result


def _received(response: httpx.Response) -> httpx.Response:
    """The answer with its body read and unpacked."""
    try:
        body = b"".join(_bounded(_unpacked(response)))
    finally:
        response.close()
    headers = [
        (name, value)
        for name, value in response.headers.raw  # names and values may hold any bytes
        if name.lower() not in (b"content-encoding", b"content-length", b"transfer-encoding")
    ]
    return httpx.Response(
        response.status_code, headers=headers, content=body, request=response.request
    )


def _unpacked(response: httpx.Response) -> Iterator[bytes]:
    """Pieces of the body, of at most a hundredth of ``MAX_BYTES`` where they come packed."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        yield from response.iter_raw()
        return
    if encoding != "gzip":
        raise Oversized(f"packed as {encoding[:20]!r}")
    inflate = zlib.decompressobj(GZIP)
    for packed in response.iter_raw():
        while packed:
            try:
                yield inflate.decompress(packed, MAX_BYTES // 100)
            except zlib.error:
                raise Oversized("broken gzip") from None
            packed = inflate.unconsumed_tail


def _bounded(pieces: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_BYTES:
            raise Oversized(f"more than {MAX_BYTES // 2**20} MB")
        yield piece
