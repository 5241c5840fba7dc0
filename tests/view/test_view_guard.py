"""Who may ask the pages of ``coreloop view``, and what hostile names become on them."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from loop import config
from loop.project import create
from loop.steps.scan import scan
from loop.steps.view import View
from loop.view.app import make_app
from loop.view.guard import POST_TOKEN, Credentials
from tests.conftest import finished_project, small_values, write_images

BASE = "http://127.0.0.1:8123"
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finished_project(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def browser(finished):
    yield from opened(finished)


def opened(project, **options):
    """A browser that was given the address."""
    view, credentials = View(project), Credentials(8123)
    client = TestClient(make_app(view, credentials, **options), BASE, raise_server_exceptions=False)
    client.credentials = credentials
    entry = client.get(f"/?token={credentials.token}")
    assert entry.status_code == 200
    yield client
    view.close()


def test_the_address_gives_a_cookie_that_other_sites_cannot_use(finished):
    credentials = Credentials(8123)
    client = TestClient(make_app(View(finished), credentials), BASE)
    entry = client.get(f"/image/x?a=1&token={credentials.token}&b=%3Cb%3E")
    for words in ("HttpOnly", "SameSite=strict", "Path=/", credentials.cookie):
        assert words in entry.headers["set-cookie"]
    assert 'content="0;url=/image/x?a=1&amp;b=%3Cb%3E"' in entry.text
    assert credentials.token not in entry.text
    assert client.get("/").status_code == 200
    elsewhere = client.get(BASE + f"//evil.example/?token={credentials.token}")
    assert 'content="0;url=/evil.example/"' in elsewhere.text


@pytest.mark.parametrize("path", ["/", "/thumbnail/x", "/static/view.css", "/version", "/nothing"])
@pytest.mark.parametrize("query", ["", "?token=", "?token=wrong", "?token=\u00e9"])
def test_without_the_token_nothing_is_shown(finished, path, query):
    client = TestClient(make_app(View(finished), Credentials(8123)), BASE)
    answer = client.get(path + query)
    assert answer.status_code == 403
    assert "small" not in answer.text
    assert "set-cookie" not in answer.headers
    assert client.get(path, cookies={"coreloop_8123": "wrong"}).status_code == 403


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8123",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8123",
        "10.0.0.1:8123",
        "[::2]:8123",
        "",
        "[",
        "127.0.0.1@evil.example",
    ],
)
def test_another_name_for_this_machine_is_refused(browser, host):
    """A page of evil.example, whose DNS now says 127.0.0.1, sends its own name."""
    answer = browser.get("/", headers={"Host": host})
    assert answer.status_code == 403
    assert "small" not in answer.text
    token = browser.credentials.token
    assert browser.get(f"/?token={token}", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1", "[::1]:8123", "LOCALHOST:1"])
def test_a_forwarded_port_is_this_machine(browser, host):
    assert browser.get("/", headers={"Host": host}).status_code == 200


def test_beyond_loopback_numbers_are_served_and_names_are_not(finished):
    (client,) = opened(finished, everywhere=True)
    assert client.get("/", headers={"Host": "192.168.1.5:8123"}).status_code == 200
    assert client.get("/", headers={"Host": "evil.example:8123"}).status_code == 403


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:9999", "https://127.0.0.1:8123", ""],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_foreign_pages_are_refused(browser, method, origin):
    headers = {"Origin": origin, POST_TOKEN: browser.credentials.post_token}
    assert browser.request(method, "/", headers=headers).status_code == 403


def test_what_changes_something_needs_a_page_of_ours(browser):
    own, token = {"Origin": BASE}, {POST_TOKEN: browser.credentials.post_token}
    assert browser.post("/", headers=token).status_code == 403
    assert browser.post("/", headers=own).status_code == 403
    assert browser.post("/", headers={**own, POST_TOKEN: "wrong"}).status_code == 403
    assert browser.post("/", headers={**own, **token}).status_code == 405
    assert browser.credentials.post_token in browser.get("/").text


def test_every_answer_forbids_what_others_could_add(browser):
    key = first_key(browser)
    for path in ("/", f"/thumbnail/{key}", "/thumbnail/none", "/static/view.js", "/nothing"):
        headers = browser.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    refused = browser.get("/", headers={"Host": "evil.example"})
    assert "default-src 'none'" in refused.headers["content-security-policy"]


def first_key(browser):
    return browser.get("/").text.partition('href="/image/')[2][:32]


@pytest.mark.parametrize(
    "path",
    [
        "/static/../pages.py",
        "/static/%2e%2e/pages.py",
        "/static/..%2f..%2fcoreloop.toml",
        "/static/%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/static//etc/passwd",
        "/coreloop.toml",
        "/picture/..%2f..%2fcoreloop.db",
        "/thumbnail/%00",
        "/image/../../coreloop.toml",
        "/%ff",
    ],
)
def test_no_path_leads_to_a_file(browser, path):
    """Sent as it stands: the client would resolve the dots before it asks."""
    answer = browser.get(BASE + path)
    assert answer.status_code in (200, 404)
    assert "root:" not in answer.text
    assert "[project]" not in answer.text
    assert "import" not in answer.text
    if answer.status_code == 200:
        assert answer.headers["content-type"] == "image/svg+xml"
        assert "no such image" in answer.text


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=-1",
        "page=99999999999999999999",
        "page=x",
        "page=1e3",
        "round=x",
        "round=9",
        "least=nan",
        "least=-5",
        "most=1e999",
        "state=nothing",
        "label=%00",
        "order=",
        "text=%ff",
        "person=%3Cscript%3E",
        "text=" + "a" * 3000,
        "page=%D9%A1",
        "round=1&round=2",
    ],
)
def test_an_odd_question_is_answered(browser, query):
    answer = browser.get(f"/?{query}")
    assert answer.status_code == 200
    assert "<script>" not in answer.text.partition("<main")[2]


def test_names_from_files_and_people_are_text(tmp_path):
    names = [f"{SCRIPT.replace('/', '')}.png", 'a"onerror="x.png', "\u202egnp.png", "a\x1b[2J.png"]
    names += ["\udcff.png", "line\nbreak.png", "{{7*7}}.png", "'.png", "percent%2e.png", "#?&.png"]
    folder = tmp_path / "images"
    folder.mkdir()
    for number, name in enumerate(names):
        pixels = np.full((9, 9, 3), 20 * number, np.uint8)
        Image.fromarray(pixels).save(os.fsencode(folder) + b"/" + os.fsencode(name), "PNG")
    (folder / f"broken{SCRIPT.replace('/', '')}.png").write_bytes(b"no image")
    values = small_values(
        folder,
        project={"name": SCRIPT, "classes": [SCRIPT, "b\x1b[2J\u202e"]},
        pool={"labelled": False},
        labeler={"kind": "csv"},
    )
    project = create(tmp_path / "project", config.check(values, "test"))
    scan(project)
    (client,) = opened(project)
    page = client.get("/")
    assert page.status_code == 200
    for address in ("/", "/?state=unreadable", f"/?text={SCRIPT}&label={SCRIPT}"):
        html = client.get(address).text
        assert "&lt;script&gt;" in html
        assert SCRIPT not in html
        assert "<script>" not in html
        for character in "\x1b\u202e\udcff":
            assert character not in html
    for words in ("\\x1b[2J.png", "\\u202egnp.png", "line\\nbreak.png", "{{7*7}}"):
        assert words in page.text
    assert 'a"onerror' not in page.text
    keys = {part[:32] for part in page.text.split('href="/image/')[1:]}
    assert len(keys) == len(names) - 1  # the records take no name that is no text
    assert "\\udcff.png" in client.get("/?state=unreadable").text
    for key in keys:
        assert client.get(f"/thumbnail/{key}").headers["content-type"] == "image/jpeg"
        assert client.get(f"/image/{key}").status_code == 200


def test_an_image_that_cannot_be_shown_says_why(tmp_path):
    write_images(tmp_path / "images", 30)
    values = small_values(tmp_path / "images", measure={"by": "holdout", "images": 3}, pool={})
    del values["pool"]["test"]
    project = create(tmp_path / "project", config.check(values, "test"))
    scan(project)
    (client,) = opened(project)
    known = View(project).gallery()
    path = tmp_path / "images" / known.uris[0]
    path.unlink()
    gone = client.get(f"/thumbnail/{known.keys[0]}")
    assert (gone.status_code, gone.headers["content-type"]) == (200, "image/svg+xml")
    assert "No such file" in gone.text
    assert gone.headers["cache-control"] == "no-store"
    path.write_bytes(b"\x89PNG no image <script>")
    assert "is another image" in client.get(f"/thumbnail/{known.keys[0]}").text
    path.unlink()
    path.symlink_to("/etc/passwd")
    led_out = client.get(f"/picture/{known.keys[0]}")
    assert "leads out" in " ".join(led_out.text.split("</tspan>"))
    assert "root:" not in led_out.text
    assert client.get(f"/image/{known.keys[0]}").status_code == 200
