"""``coreloop serve`` in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from connectors.label_studio.backend import WEBHOOK_HEADER
from loop import secrets
from loop.demo.server import free_port
from loop.project import Project
from loop.steps.status import status
from tests.conftest import ROOT

COMMAND = [sys.executable, "-c", "from loop.cli import main; main()"]


class Running:
    """``coreloop serve`` in a process of its own."""

    def __init__(self, project: Project, *words: str, port: int = 0) -> None:
        self.project, self.port = project, port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = project.root / f"serve-{uuid.uuid4().hex[:6]}.log"
        self.http = httpx.Client(
            base_url=self.url,
            auth=("coreloop", secrets.service_secret(project.root)),
            trust_env=False,
            timeout=60,
        )
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "serve", *words, "--port", str(self.port), "-p", str(project.root)],
                env={**os.environ, "OMP_NUM_THREADS": "1", "CORELOOP_LOCK_SECONDS": "1"},
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )

    def said(self) -> str:
        return self.log.read_text()

    def links(self) -> list[str]:
        """Where people are sent to label, round by round."""
        start = "label here: "
        lines = self.said().splitlines()
        return [line.removeprefix(start) for line in lines if line.startswith(start)]

    def webhook(self, event: str = "ANNOTATION_CREATED", secret: str | None = None) -> int:
        kept = secrets.webhook_secret(secrets.service_secret(self.project.root))
        headers = {WEBHOOK_HEADER: kept if secret is None else secret}
        body = {"action": event}
        return self.http.post("/webhook", json=body, headers=headers, auth=None).status_code

    def end(self, ending: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(ending)
        return self.process.wait(30)


@contextmanager
def serving(project: Project, *words: str, port: int = 0) -> Iterator[Running]:
    running = Running(project, *words, port=port)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


def until(true: Callable[[], Any], seconds: float = 90.0) -> Any:
    """Asked again and again; its first answer that is true."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if value := true():
            return value
        time.sleep(0.05)
    raise AssertionError("it never came")


def states(project: Project) -> list[str]:
    return [line.state for line in status(project).rounds]
