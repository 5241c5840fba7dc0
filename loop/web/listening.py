"""An application on a port of this machine, until somebody ends it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

import uvicorn

from loop.errors import ConfigError

PATIENCE = 1
"""Seconds that a request in progress has when the server is ended."""


class AnnouncedServer(uvicorn.Server):
    """One that says when it takes connections, and ends cleanly from then on."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self.announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets=sockets)
        self.announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn. That a page is cut off now is no error to print."""
        logging.getLogger("uvicorn.error").disabled = True
        await super().shutdown(sockets=sockets)


def answer(app: object, listening: socket.socket, on_ready: Callable[[], None]) -> None:
    """Answers until the process is interrupted.

    Args:
        app: an ASGI application.
        on_ready: called once connections are taken.

    Raises:
        KeyboardInterrupt: it was.
    """
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=PATIENCE,
        backlog=128,
    )
    AnnouncedServer(config, on_ready).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; port 0: a free one.

    Raises:
        ConfigError: the host or port cannot be listened on.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # named, so that asyncio turns Nagle's delay of 40 ms off
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host} port {port} ({error.strerror}); name another with --port, "
            "or leave it out for a free one"
        ) from None
    listening.listen(128)
    return listening


def shown(host: str) -> str:
    """The host in an address; of all addresses of this machine its name."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
