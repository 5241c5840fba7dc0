"""Answers that are none: each ends with exit code 4 and one sentence, soon, in little memory."""

from __future__ import annotations

import gzip
import itertools
import json
import time
import tracemalloc
import zlib
from functools import cache

import pytest

from connectors.base import ConnectorError, Unknown, Unreachable
from connectors.label_studio.client import Client
from loop import config
from loop.project import create
from loop.steps.doctor import doctor
from loop.steps.embed import embed
from loop.steps.push import push
from loop.steps.scan import scan
from tests.conftest import rows, small_values
from tests.label_studio.fake import FakeStudio, recorded
from tests.label_studio.loopback import Reply, loopback, reply

LEGACY = "0" * 40
PERSONAL = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2VjcmV0"


@pytest.fixture(autouse=True)
def impatient_client(monkeypatch):
    monkeypatch.setattr("connectors.label_studio.client.PAUSE", 0.001)


@pytest.fixture
def fake(monkeypatch):
    """A fake server, and the environment that leads to it."""
    studio = FakeStudio()
    with loopback(studio.answer) as server:
        monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY)
        yield studio


@pytest.fixture
def project(tmp_path, images):
    labeler = {"kind": "label-studio", "error_rate": 0.0}
    made = create(tmp_path / "p", config.check(small_values(images, labeler=labeler), "test"))
    scan(made)
    embed(made)
    return made


@cache
def bomb() -> bytes:
    """Half a gigabyte of blanks."""
    packer = zlib.compressobj(6, wbits=zlib.MAX_WBITS | 16)
    block = b" " * 2**20
    return b"".join(packer.compress(block) for _ in range(512)) + packer.flush()


def drip():
    """A byte a second, for ever."""
    while True:
        yield b" "
        time.sleep(0.2)


NO_JSON = {
    "nothing": b"",
    "words": b"Welcome to the hotel",
    "page": b"<html><script>alert(1)</script></html>",
    "half": b'{"id": 1, "title": "x',
    "nan": b'{"id": NaN}',
    "infinity": b'{"id": Infinity}',
    "deep": b"[" * 100_000,
    "deep-objects": b'{"a":' * 100_000,
    "surrogate": b'{"id": "\\ud800"}',
    "utf-16": json.dumps({"id": 1}).encode("utf-16"),
    "latin-1": '{"title": "é"}'.encode("latin-1"),
    "long-number": b"9" * 100_000,
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
def test_what_is_no_json(body):
    with loopback(lambda request: Reply(200, body)) as server:
        client = Client(server.url, LEGACY, attempts=2)
        with pytest.raises(Unreachable) as caught:
            client.whoami()
        assert str(caught.value).isprintable()
        assert caught.value.exit_code == 4
        assert len(server.requests) == 2
        with pytest.raises(Unknown, match="may have been done"):
            client.write("POST", "/api/projects/", {}, answer=dict)


def test_a_byte_order_mark_is_no_matter():
    body = b"\xef\xbb\xbf" + json.dumps({"email": "a@b"}).encode()
    with loopback(lambda request: Reply(200, body)) as server:
        assert Client(server.url, LEGACY).whoami() == "a@b"


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "deflate", "br", "zip"])
def test_packed_answers_fill_no_memory(encoding):
    packed = gzip.compress(bomb()) if encoding == "gzip, gzip" else bomb()
    assert len(packed) < 2**20
    tracemalloc.start()
    with loopback(lambda request: Reply(200, packed, {"Content-Encoding": encoding})) as server:
        with pytest.raises(Unreachable):
            Client(server.url, LEGACY, attempts=1).whoami()
        _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 250 * 2**20


def test_an_honest_packed_answer_is_read():
    body = gzip.compress(json.dumps({"email": "a@b"}).encode())
    with loopback(lambda request: Reply(200, body, {"Content-Encoding": "gzip"})) as server:
        assert Client(server.url, LEGACY).whoami() == "a@b"


def test_an_answer_without_end():
    endless = itertools.repeat(b" " * 2**20)
    with loopback(lambda request: Reply(200, endless)) as server, pytest.raises(Unreachable):
        Client(server.url, LEGACY, attempts=1).whoami()


def test_a_byte_a_second_ends_with_the_time(monkeypatch):
    monkeypatch.setattr("connectors.label_studio.client.READ_TIMEOUT", 1.0)
    monkeypatch.setattr("connectors.label_studio.client.WRITE_TIMEOUT", 1.0)
    with loopback(lambda request: Reply(200, drip())) as server:
        client = Client(server.url, LEGACY, attempts=1)
        began = time.monotonic()
        with pytest.raises(Unreachable, match="ReadTimeout"):
            client.whoami()
        with pytest.raises(Unknown, match="ReadTimeout"):
            client.write("POST", "/api/projects/", {})
        assert time.monotonic() - began < 5


def test_headers_without_end(monkeypatch):
    monkeypatch.setattr("connectors.label_studio.client.READ_TIMEOUT", 1.0)
    headers = {f"X-{i}": "x" * 1000 for i in range(500)}
    answer = Reply(200, b"{}", headers)
    with loopback(lambda request: answer) as server, pytest.raises(Unreachable):
        Client(server.url, LEGACY, attempts=1).whoami()


SERVER_WORDS = "\x1b]0;owned\x07\x1b[2J\r\nexit code 0"


@pytest.mark.parametrize("code", [400, 409, 422])
def test_escape_sequences_of_its_error_are_written_out(code):
    answer = reply({"detail": SERVER_WORDS}, code)
    with loopback(lambda request: answer) as server, pytest.raises(ConnectorError) as caught:
        Client(server.url, LEGACY, attempts=1).whoami()
    assert str(caught.value).isprintable()
    assert "x1b" in str(caught.value)


TOKENS = {
    "missing": {},
    "null": {"access": None},
    "number": {"access": 5},
    "list": {"access": ["x"]},
    "object": {"access": {"token": "x"}},
    "empty": {"access": ""},
    "two-lines": {"access": "x\r\nX-Admin: 1"},
    "no-ascii": {"access": "tökén"},
    "huge": {"access": "x" * 10**6},
    "list-for-object": [],
    "word-for-object": "word",
    "nothing": None,
}


@pytest.mark.parametrize("answer", TOKENS.values(), ids=TOKENS)
def test_odd_access_tokens(answer):
    with loopback(lambda request: reply(answer)) as server:
        with pytest.raises(Unreachable, match="no token") as caught:
            Client(server.url, PERSONAL, attempts=1).whoami()
        assert PERSONAL not in str(caught.value)


CLAIMS = ["e30", "bnVsbA", "eyJleHAiOiJ4In0", "eyJleHAiOjFlNDAwfQ", "eyJleHAiOi0xfQ", "!!!", ""]


@pytest.mark.parametrize("claims", CLAIMS)
def test_odd_claims_of_an_access_token_are_not_read(claims):
    """It is what the server itself takes that counts."""

    def answer(request):
        if request.path.endswith("refresh/"):
            return reply({"access": f"eyJhbGciOiJub25lIn0.{claims}.x"})
        return reply({"email": "a@b"})

    with loopback(answer) as server:
        assert Client(server.url, PERSONAL, attempts=1).whoami() == "a@b"


def test_the_same_page_for_ever(fake, project):
    push(project)
    fake.lie = lambda name, told: {**told, "total": 99} if name == "tasks_list" else told
    with pytest.raises(Unreachable, match="brings nothing new"):
        push(project)


def test_tasks_without_end(fake, project, monkeypatch):
    monkeypatch.setattr("connectors.label_studio.tasks.MOST_IMPORTED", 50)
    push(project)
    numbers = itertools.count(1000)
    task = {**recorded("tasks")["tasks"][0], "data": {}}

    def lie(name, told):
        if name != "tasks_list":
            return told
        return {**told, "total": 50, "tasks": [{**task, "id": next(numbers)}]}

    fake.lie = lie
    with pytest.raises(Unreachable, match="without an end"):
        push(project)


@pytest.mark.parametrize("new", [True, False])
def test_projects_without_end(fake, project, new, monkeypatch):
    monkeypatch.setattr("connectors.label_studio.search.MOST_PAGES", 20)
    numbers = itertools.count(1)

    def lie(name, told):
        if name != "projects_list":
            return told
        listed = {"id": next(numbers) if new else 1, "title": "x", "description": "y"}
        return {**told, "results": [listed], "next": "http://more"}

    fake.lie = lie
    with pytest.raises(Unreachable, match="projects without an end"):
        push(project)


@pytest.mark.parametrize("wrong", [lambda ids: ids * 2, lambda ids: ids[1:], lambda ids: None])
def test_an_import_that_counts_wrongly_is_looked_up(fake, project, wrong):
    """One that named each task twice ended in a traceback."""

    def lie(name, answer):
        if "task_ids" not in answer:
            return answer
        return {**answer, "task_ids": wrong(answer["task_ids"])}

    fake.lie = lie
    assert push(project).sent == len(fake.tasks) == 12
    sent = dict(
        rows(
            project,
            "SELECT remote_id, key FROM sent JOIN pick ON pick.id = pick_id "
            "JOIN item ON item.id = item_id",
        )
    )
    assert sent == {str(id_): task["data"]["coreloop_key"] for id_, task in fake.tasks.items()}


def test_swapped_names_of_uploads_are_not_believed(fake, project):
    def lie(name, told):
        if name != "uploads":
            return told
        files = [upload["file"] for upload in told][::-1]
        return [{**upload, "file": file} for upload, file in zip(told, files, strict=True)]

    fake.lie = lie
    with pytest.raises(Unreachable, match="names the files"):
        push(project)
    assert fake.tasks == {}


def test_doctor_shows_no_escape_sequences(project, monkeypatch):
    with loopback(lambda request: reply({"email": "a\x1b[2J@b"})) as server:
        monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY)
        (check,) = [c for c in doctor(project.root) if c.name == "labeler"]
    assert check.ok
    assert check.detail.isprintable()
