"""Under which names this machine is asked, and secrets compared in constant time.

A server on loopback is reached by every web page that a browser here shows. A name that somebody
else's DNS answers for is not this machine (DNS rebinding); a number is nobody else's name.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from urllib.parse import urlsplit

LOOPBACK = frozenset(["127.0.0.1", "localhost", "::1"])


def is_this_machine(hosts: list[str], *, everywhere: bool = False) -> bool:
    """Whether the Host headers of a request name this machine, once.

    Args:
        everywhere: the server listens beyond loopback, so that it may also be an address or a name
            of this machine.
    """
    if len(hosts) != 1:
        return False
    try:
        name = urlsplit(f"//{hosts[0]}").hostname or ""
    except ValueError:
        return False
    if name in LOOPBACK or not everywhere:
        return name in LOOPBACK
    return _is_number(name) or name in (socket.gethostname().lower(), socket.getfqdn().lower())


def equal(given: str | None, expected: str) -> bool:
    """Whether they are the same, in a time that does not tell how much of it is."""
    return given is not None and secrets.compare_digest(given.encode(), expected.encode())


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
