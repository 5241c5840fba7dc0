"""``coreloop serve``: the backend answers, and beside it the loop turns by itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from loop.project import find
from loop.project.watch import keep_watch
from loop.serve.backend import Backend
from loop.serve.worker import Worker
from loop.steps.serve import Connection, Service
from loop.web.hosts import LOOPBACK
from loop.web.listening import answer, listen, shown

COMMAND = "coreloop serve"


@dataclass(frozen=True)
class ServiceOptions:
    """How the service is started.

    Attributes:
        host, port: that it listens on.
        address: where Label Studio reaches it; empty: host and port.
        connect: whether it makes itself known to Label Studio.
        authenticated: whether requests need the password.
        seconds: between two looks for answers.
    """

    host: str = "127.0.0.1"
    port: int = 9090
    address: str = ""
    connect: bool = False
    authenticated: bool = True
    seconds: float = 20.0


def serve(
    root: Path,
    options: ServiceOptions,
    on_ready: Callable[[str], None],
    on_told: Callable[[str], None],
    complain: Callable[[str], None],
    **worker_options: Any,
) -> None:
    """Answers and turns the loop until the process is interrupted.

    Args:
        on_ready: hears the address once connections are taken.
        on_told: hears what came of ``connect``.
        complain: hears what went wrong.
        worker_options: ``tell``, ``working``, ``reopen`` of a ``Worker``.

    Raises:
        AlreadyWatched: another process turns the loop.
        ConfigError: see ``Service``; the port cannot be listened on.
        KeyboardInterrupt: it was interrupted.
    """
    service = Service(root)
    password = service.secret if options.authenticated else ""
    with find(root) as project, keep_watch(project, COMMAND) as watch:
        listening = listen(options.host, options.port)
        port = listening.getsockname()[1]
        address = options.address or f"http://{shown(options.host)}:{port}"
        connection = Connection(address, password, service.webhook_secret, on_told)
        worker = Worker(
            root,
            COMMAND,
            options.seconds,
            complain=complain,
            settle=connection.settle if options.connect else lambda project: None,
            for_ever=True,
            **worker_options,
        )
        backend = Backend(service, worker.wake, complain)
        app = backend.app(password, address, everywhere=options.host not in LOOPBACK)

        def turn() -> None:
            try:
                worker.turns(watch)
            finally:  # the service does not outlive the loop
                os.kill(os.getpid(), signal.SIGTERM)

        def ready() -> None:
            on_ready(address)
            Thread(target=turn, daemon=True).start()

        answer(app, listening, ready)
    raise KeyboardInterrupt
