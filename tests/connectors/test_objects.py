"""Addresses in a list, on a real web server: what is there is read, what is not is named."""

from __future__ import annotations

import functools
import http.server
import threading

import pytest

from connectors.base import Image, SourceError, UnreadableFile
from connectors.folder import content_key
from connectors.image_cache import ImageCache
from connectors.manifest import Manifest
from connectors.objects import Objects
from tests.connectors.test_manifest import save


class Quiet(http.server.SimpleHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self):
        self.asked.append(self.path)
        if "secret" in self.path:
            self.send_error(403)
        else:
            super().do_GET()

    def log_message(self, *args):
        """Nothing."""


@pytest.fixture
def web(tmp_path, monkeypatch):
    """Address of a web server with two images."""
    for i in range(2):
        save(tmp_path / "served" / f"{i}.png", i)
    monkeypatch.setattr(Quiet, "asked", [])
    monkeypatch.setattr("connectors.objects.TRIES", 2)
    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_list_of_addresses(web, tmp_path):
    save(tmp_path / "near.png", 7)
    names = [f"{web}/0.png", "near.png", f"{web}/1.png?size=2", f"{web}/2.png", f"{web}/secret.png"]
    names += ["http://127.0.0.1:9/dead.png"]
    (tmp_path / "l.csv").write_text("url\n" + "\n".join(names))
    cache = ImageCache(tmp_path / "cache")
    source = Manifest(tmp_path / "l.csv", root=tmp_path, cache=cache)
    scanned = list(source.scan())
    assert [each.uri for each in scanned] == names, "in the order of the list"
    images = [each for each in scanned if isinstance(each, Image)]
    assert [each.uri for each in images] == names[:3]
    reasons = {each.uri: each.reason for each in scanned if isinstance(each, UnreadableFile)}
    assert reasons[names[3]] == "it has gone"
    assert reasons[names[4]].startswith("the server answers 403")
    assert reasons[names[5]].startswith("cannot be reached")
    asked = len(Quiet.asked)
    assert all(content_key(source.read(each.uri)) == each.key for each in images)
    assert len(Quiet.asked) == asked, "what was fetched is kept"
    assert source.shown(names[0]) == names[0]
    assert source.missing(names[:3]) == []
    with pytest.raises(SourceError, match="it has gone"):
        Objects(cache).read(f"{web}/2.png")
