"""A real Label Studio server for this folder's tests, and a proxy that breaks connections."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import update

from connectors.base import ItemToLabel
from connectors.folder import content_key
from connectors.label_studio import LabelStudio
from db.models import Pool
from loop import config
from loop.demo.server import start
from loop.project import create, find
from loop.steps.embed import embed
from loop.steps.scan import scan
from tests.conftest import small_values, write_images
from tests.label_studio.world import PICKS, World

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ["cat", "dog", "bird"]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    command = Path(
        os.environ.get("CORELOOP_LABEL_STUDIO", ROOT / ".venv-label-studio/bin/label-studio")
    )
    if not command.is_file():
        pytest.skip(f"no Label Studio at {command}; 'make test' installs it")
    folder = tmp_path_factory.mktemp("label-studio")
    template = ROOT / ".build" / "label-studio"
    template.parent.mkdir(exist_ok=True)
    with template.with_suffix(".lock").open("w") as lock:  # the first of several processes makes it
        fcntl.flock(lock, fcntl.LOCK_EX)
        running = start(folder, command, template=template)
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Waits as in real life, but shorter."""
    monkeypatch.setattr("connectors.label_studio.client.PAUSE", 0.05)
    monkeypatch.setattr("connectors.label_studio.labeler.LAG", 1.0)


def kill(server) -> None:
    """As a power cut would end it."""
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()


def start_again(server) -> None:
    """Same data, same address."""
    port = int(server.url.rpartition(":")[2])
    command = Path(server.process.args[0])
    server.process = start(server.folder, command, port=port).process


@pytest.fixture(autouse=True)
def alive(request):
    """A test that failed while the server was down takes no other test with it."""
    if "server" in request.fixturenames:
        server = request.getfixturevalue("server")
        if server.process.poll() is not None:
            start_again(server)


def second_person(server, email: str = "", password: str = "") -> httpx.Client:
    """A new user of the same organization, logged in; under any name unless one is given."""
    admin = httpx.Client(base_url=server.url, headers={"Authorization": f"Token {server.token}"})
    invitation = admin.get("/api/invite").json()["invite_url"]
    other = httpx.Client(base_url=server.url, follow_redirects=True, timeout=60, trust_env=False)
    other.get(invitation)
    other.post(
        invitation,
        headers={"Referer": server.url},
        data={
            "email": email or f"{uuid.uuid4().hex[:8]}@example.org",
            "password": password or uuid.uuid4().hex,
            "csrfmiddlewaretoken": other.cookies["csrftoken"],
        },
    )
    return other


@pytest.fixture(scope="session")
def pictures(server):
    """Five pictures of one colour each, below the server's document root."""
    folder = server.folder / "files" / "pool"
    folder.mkdir(parents=True)
    colours = [(200, 60, 60), (60, 200, 60), (60, 60, 200), (200, 200, 60), (60, 200, 200)]
    for i, colour in enumerate(colours):
        noise = np.full((48, 64, 3), colour, np.uint8)
        noise[0, 0] = i
        Image.fromarray(noise).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def items(pictures):
    return [
        ItemToLabel(content_key((pictures / f"{i}.png").read_bytes()), f"{i}.png") for i in range(5)
    ]


class Breaking(BaseHTTPRequestHandler):
    """Requests to a ``Proxy``."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement
    proxy: Proxy

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.proxy.seen.append(f"{self.command} {self.path}")
        broken = self.proxy.times > 0 and self.proxy.path in f"{self.command} {self.path}"
        fault = self.proxy.fault if broken else ""
        self.proxy.times -= broken
        if fault in ("refuse", "401"):
            return self.answer(503 if fault == "refuse" else 401, b"{}")
        if fault == "reset":
            return self.hang_up()
        if fault == "late":
            threading.Timer(self.proxy.LATE, self.forward, [body]).start()
            return self.answer(504, b"<html>gateway</html>")
        if fault == "moved":
            return self.answer(308, b"", location="https://elsewhere.example")
        finish = None
        if callable(fault):
            fault, finish = "", fault()
        try:
            if fault == "twice":
                self.forward(body)
            reply = self.forward(body)
        except httpx.HTTPError:  # the server has died
            fault = "drop"
        if finish is not None:
            fault = "drop"
            finish()
        if fault == "slow":
            time.sleep(self.proxy.SLOW)
        if fault == "drop":
            return self.hang_up()
        if fault in ("502", "504", "page"):
            code = 200 if fault == "page" else int(fault)
            return self.answer(code, b"<html>gateway</html>")
        content = reply.content
        if self.proxy.lie is not None and self.proxy.lie_path in f"{self.command} {self.path}":
            content = json.dumps(self.proxy.lie(reply.json())).encode()
        self.answer(reply.status_code, content, reply.headers.get("content-type"))

    def forward(self, body: bytes) -> httpx.Response:
        headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
        return self.proxy.client.request(
            self.command, self.proxy.target + self.path, content=body, headers=headers
        )

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()

    def answer(self, code: int, body: bytes, kind: str | None = None, location: str = "") -> None:
        with suppress(OSError):  # the other end may have given up waiting
            self.send_response(code)
            self.send_header("Content-Type", kind or "text/html")
            self.send_header("Content-Length", str(len(body)))
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_DELETE = handle_any

    def log_message(self, *args: object) -> None:
        pass


class Proxy:
    """Hands requests to the server; ``fault`` decides what happens to the next matching ones.

    ``drop`` forwards and then hangs up, ``504``/``502`` forward and answer that instead, ``page``
    forwards and answers with a page of its own, ``slow`` forwards and answers after ``SLOW``
    seconds, ``late`` answers 504 and forwards after ``LATE`` seconds, ``twice`` forwards twice,
    ``refuse`` answers 503 and ``401`` answers 401 without forwarding, ``moved`` answers with a
    redirect, ``reset`` hangs up at once. A function is called and then the request forwarded; if it
    returns a function, that is called too and then nothing answered. ``lies`` changes what comes
    back, until ``lie`` is None again.
    """

    SLOW = 2.5
    LATE = 3.0
    lie: Callable[[Any], Any] | None = None
    lie_path = ""

    def __init__(self, target: str) -> None:
        self.target, self.path, self.times = target, "", 0
        self.fault: str | Callable[[], Callable[[], None] | None] = ""
        self.seen: list[str] = []
        self.client = httpx.Client(timeout=120, trust_env=False, verify=False)
        self.http = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (Breaking,), {"proxy": self})
        )
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=[0.02], daemon=True).start()

    def breaks(
        self, fault: str | Callable[[], Callable[[], None] | None], path: str, times: int = 1
    ) -> None:
        self.fault, self.path, self.times = fault, path, times

    def lies(self, path: str, lie: Callable[[Any], Any]) -> None:
        self.lie_path, self.lie = path, lie


@pytest.fixture
def proxy(server):
    running = Proxy(server.url)
    yield running
    running.http.shutdown()


@pytest.fixture
def new_labeler(server, pictures):
    """Makes labelers of one new project, as after a restart; ``url`` may go through a proxy."""
    marker = uuid.uuid4().hex

    def make(url: str = "", token: str = "", **options) -> LabelStudio:
        return LabelStudio(
            url or server.url,
            token or server.token,
            title="test project",
            marker=marker,
            read=lambda uri: (pictures / uri).read_bytes(),
            image_root=pictures,
            local_root=str(server.folder / "files"),
            attempts=2,
            **{"images": "local", "classes": CLASSES, **options},
        )

    return make


@pytest.fixture(scope="session")
def picked(tmp_path_factory):
    """A project ready to be pushed, made once and copied."""
    folder = tmp_path_factory.mktemp("picked")
    write_images(folder / "images")
    values = small_values(
        folder / "images", pool={"test": PICKS}, labeler={"kind": "label-studio", "error_rate": 0.0}
    )
    project = create(folder / "p", config.check(values, "test"))
    scan(project)
    embed(project)
    return project


@pytest.fixture
def world(picked, tmp_path, server, proxy, monkeypatch):
    root = tmp_path / "p"
    shutil.copytree(picked.root, root)
    project = find(root)
    with project.records.write() as session:
        session.execute(update(Pool).values(source={"marker": uuid.uuid4().hex}))
    monkeypatch.setenv("LABEL_STUDIO_URL", proxy.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", server.token)
    return World(project, server, proxy, monkeypatch)
