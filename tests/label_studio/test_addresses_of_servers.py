"""What may be wrong with an address is named: host, proxy, certificate, redirect, page, path."""

from __future__ import annotations

import httpx
import pytest

from connectors.base import ItemToLabel, Rejected, Unauthorized, Unreachable
from connectors.label_studio.client import Client
from connectors.label_studio.errors import UnusableProxy, moved, no_answer, refusal
from connectors.label_studio.images import OnDisk, Uploaded
from loop.errors import ConfigError
from loop.project.servers import label_studio_url
from tests.label_studio.test_addresses import asked, encrypted, plain  # noqa: F401


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)


def test_an_untrusted_certificate(encrypted):  # noqa: F811
    with pytest.raises(Unreachable, match=r"is not trusted .*SSL_CERT_FILE") as caught:
        asked(f"https://127.0.0.1:{encrypted.server_port}")
    assert "self-signed" in str(caught.value) or "mismatch" in str(caught.value)


def test_an_unknown_host():
    with pytest.raises(Unreachable, match=r"no host is called nowhere\.invalid here"):
        asked("http://nowhere.invalid")


def test_a_dead_proxy_without_its_password(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:9")
    with pytest.raises(Unreachable, match=r"by way of the proxy 127\.0\.0\.1:9 .*NO_PROXY") as e:
        asked("http://labels.example")
    assert "secret" not in str(e.value)
    monkeypatch.setenv("NO_PROXY", "labels.example")
    error = httpx.ConnectError("refused")
    assert "proxy" not in str(no_answer("http://labels.example", error))


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("HTTP_PROXY", "http://me:secret/x@127.0.0.1:9", "HTTP_PROXY .* is no address of a proxy"),
        ("https_proxy", "http://me:secret@h:port", "HTTPS_PROXY .* is no address of a proxy"),
        ("ALL_PROXY", "ftp://me:secret@h:9", "ALL_PROXY .* is no address of a proxy"),
        ("NO_PROXY", "localhost,[::1]", "NO_PROXY holds something that is no host"),
    ],
)
def test_a_proxy_that_is_none_is_named_without_its_password(monkeypatch, variable, value, words):
    """httpx takes what follows the first colon for a port, and shows it."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(UnusableProxy, match=words) as refused:
        asked("http://labels.example")
    assert "secret" not in str(refused.value)
    assert refused.value.exit_code == 2


def test_a_proxy_that_wants_a_password(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@proxy:3128")
    error = refusal("http://labels.example", "GET /api/version", 407, None, b"")
    assert isinstance(error, Unauthorized)
    assert str(error).startswith("the proxy proxy:3128 answered 407")
    assert "secret" not in str(error)


def test_a_proxy_without_tls_is_no_server_without_it(monkeypatch):
    """The advice was to send the token in plain http."""
    monkeypatch.setenv("HTTPS_PROXY", "https://me:secret@proxy:3128")
    error = no_answer("https://labels.example", httpx.ConnectError("[SSL: WRONG_VERSION_NUMBER]"))
    assert "the proxy proxy:3128 speaks http, not https; its address in HTTPS_PROXY" in str(error)
    assert "http://labels" not in str(error)


def test_http_that_is_sent_on_to_https():
    error = moved("http://host/ls", "GET /api/version", "https://host/ls/api/version?x=1")
    assert str(error).endswith("to https://host/ls")
    assert "behind the redirect" in str(moved("http://host", "GET /api/version", "/login"))


@pytest.mark.parametrize(
    ("page", "behind"),
    [
        ("http://h:8080/projects/17/data?tab=3&labeling=1", "http://h:8080"),
        ("https://h/labels/projects/", "https://h/labels"),
        ("https://h/user/login/?next=/projects/", "https://h"),
        ("https://h/ls/?x=1", "https://h/ls"),
    ],
)
def test_the_address_of_a_page_is_refused_with_the_servers_own(page, behind):
    with pytest.raises(ConfigError, match="address of a page") as caught:
        label_studio_url(page)
    assert str(caught.value).endswith(behind)
    assert label_studio_url("https://h/user-labels/projects-of-us") != ""


class Served:
    """Stands for the client: what is asked for, and what answers."""

    def __init__(self, url, status=200):
        self.url, self.status, self.asked = url, status, []

    def write(self, *args, **kwargs):
        from connectors.label_studio.answers import UploadAnswer

        return UploadAnswer(file_upload_ids=[1])

    def get(self, path, params=None, answer=None):
        from connectors.label_studio.answers import Storage, Upload

        if "storages" in path:
            return [Storage(path=str(self.folder))]
        return [Upload(id=1, file=f"upload/1/0a-{'0' * 32}.png")]

    def fetch(self, path, params=None):
        self.asked.append(path)
        return httpx.Response(self.status, content=b"x")


def test_addresses_hold_the_path_of_the_server_and_the_first_is_looked_at(tmp_path):
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "a b.png").write_bytes(b"x")
    items = [ItemToLabel("0" * 32, "a b.png")]
    ways = (
        (Uploaded(lambda uri: b"x"), f"/data/upload/1/0a-{'0' * 32}.png"),
        (OnDisk(tmp_path, tmp_path / "pool"), "/data/local-files/?d=pool/a%20b.png"),
    )
    for serving, path in ways:
        client = Served("https://host/labels")
        client.folder = tmp_path / "pool"
        assert serving.addresses(client, 1, items) == [f"/labels{path}"]
        assert client.asked == [path]
        serving._tried = False
        client.status = 404
        with pytest.raises(Rejected, match="nobody would see the images"):
            serving.addresses(client, 1, items)


def test_other_servers_get_no_token():
    from connectors.label_studio.pictures import Pictures

    seen = []

    def answer(request):
        seen.append(request)
        if "/tasks/" in request.url.path:
            return httpx.Response(303, headers={"Location": "https://bucket.example/k?signed=1"})
        return httpx.Response(200, content=b"picture")

    client = Client("https://host/ls", "a" * 40, attempts=1)
    client._http = httpx.Client(transport=httpx.MockTransport(answer))
    pictures = Pictures(client)
    pictures._others = httpx.Client(transport=httpx.MockTransport(answer))
    assert pictures.read("s3://b/k.png", task=3) == b"picture"
    assert pictures.read("/data/upload/1/x.png") == b"picture"
    assert pictures.read("/ls/data/upload/1/x.png") == b"picture"
    assert pictures.read("https://elsewhere.example/x.png") == b"picture"
    with_token = [str(r.url) for r in seen if "Authorization" in r.headers]
    assert all(url.startswith("https://host/ls/") for url in with_token)
    assert len(with_token) == 3
    assert len(seen) == 5
    from connectors.base import SourceError

    for odd in ("/api/users/", "/data/../api/users/", "image.png", "file:///etc/passwd"):
        with pytest.raises(SourceError, match="no address of an image"):
            pictures.read(odd)
