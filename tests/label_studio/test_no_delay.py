"""The demo's server answers at once."""

from __future__ import annotations

import socket
import statistics
import time

import pytest

pytestmark = pytest.mark.server


def test_the_end_of_an_answer_does_not_wait_for_an_acknowledgement(server):
    """The rest of an answer comes right behind its first piece, and not 40 ms later."""
    host, port = server.url.removeprefix("http://").split(":")
    request = f"GET /api/version HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    waits = []
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        for _ in range(21):
            connection.sendall(request)
            answer = connection.recv(65536)
            began = time.monotonic()
            while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
                answer += connection.recv(65536)
            waits.append(time.monotonic() - began)
    assert answer.startswith(b"HTTP/1.1 200")
    assert statistics.median(waits) < 0.02
