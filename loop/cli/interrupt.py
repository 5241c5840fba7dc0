"""Ctrl-C and SIGTERM end a command as an exception, and are remembered."""

from __future__ import annotations

import signal
from threading import Event
from types import FrameType

told_to_end = Event()
"""Python drops an exception that is raised while a callback of C runs; who goes on for ever looks
here too."""


def listen() -> None:
    """Both signals raise KeyboardInterrupt; one that is ignored, as in the background, stays so."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    told_to_end.set()
    raise KeyboardInterrupt
