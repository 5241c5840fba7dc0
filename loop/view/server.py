"""The application of ``coreloop view`` on a port of this machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from loop.steps.view import View
from loop.view.app import make_app
from loop.view.guard import Credentials
from loop.web.hosts import LOOPBACK
from loop.web.listening import answer, listen, shown


def serve(view: View, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Answers until the process is interrupted.

    Args:
        port: 0: a free one.
        on_ready: hears the address, token included, once connections are taken.

    Raises:
        ConfigError: the host or port cannot be listened on.
    """
    listening = listen(host, port)
    credentials = Credentials(listening.getsockname()[1])
    app = make_app(view, credentials, everywhere=host not in LOOPBACK)
    address = f"http://{shown(host)}:{credentials.port}/?token={credentials.token}"
    with suppress(KeyboardInterrupt):
        answer(app, listening, lambda: on_ready(address))
