"""Answers that are none: each ends with exit code 4 and one sentence, soon, in little memory."""

from __future__ import annotations

import gzip
import itertools
import json
import time
import tracemalloc
import zlib
from contextlib import suppress
from datetime import timedelta
from functools import cache

import pytest

from connectors.base import ConnectorError, Mismatch, Unknown, Unreachable
from connectors.label_studio import config as label_config
from connectors.label_studio.client import Client
from db.answers import current_answers
from loop import config
from loop.project import create
from loop.steps.doctor import doctor
from loop.steps.embed import embed
from loop.steps.pull import pull
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
    answer = {"email": "a\x1b[2J@b", "results": []}
    with loopback(lambda request: reply(answer)) as server:
        monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY)
        (check,) = [c for c in doctor(project.root) if c.name == "labeler"]
    assert check.ok
    assert check.detail.isprintable()


DATES = [
    "Sat, 28 Nov 99999999999999999999 12:00:00 GMT",
    "Sat, 28 Nov 2026 99999999999999999999:00:00 GMT",
    "Sat, 28 Nov 2026 12:00:00 +9999999999999",
    "Sat, 28 Nov 1970 12:00:00 GMT",
    "yesterday",
    "",
]


@pytest.mark.parametrize("date", DATES)
def test_odd_times_of_the_server_are_none(date):
    answer = reply({"email": "a@b"}, Date=date)
    with loopback(lambda request: answer) as server:
        client = Client(server.url, LEGACY, attempts=1)
        assert client.whoami() == "a@b"
        assert client.server_time is None


CONFIGS = {
    "no-names": "<View><Choices><Choice value='a'/></Choices><Image/></View>",
    "no-name": "<View><Choices toName='i'/><Image name='i' value='$x'/></View>",
    "deep": "<View><Choices name='a' toName='i'>{}{}</Choices><Image name='i' value='$x'/></View>",
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_odd_label_configs(kind):
    xml = CONFIGS[kind].format("<b>" * 100_000, "</b>" * 100_000)
    with pytest.raises(Mismatch, match="adopt another one"):
        label_config.add(xml, ["cat"], ["cat"])


def labels(project):
    with project.records.read() as session:
        return {answer.key: answer.label for answer in current_answers(session, 1)}


def answered(fake, count: int) -> dict[str, str]:
    """The first tasks, answered by a person: item key -> label."""
    keys = [task["data"]["coreloop_key"] for task in list(fake.tasks.values())[:count]]
    for key in keys:
        fake.annotate(key, "digit-1")
    return dict.fromkeys(keys, "digit-1")


def second_half(told):
    return {**told, "tasks": told["tasks"][len(told["tasks"]) // 2 :]}


@pytest.mark.parametrize("command", [push, pull])
def test_a_listing_with_gaps_is_no_answer(fake, project, command):
    """In the order of its ids, as it should be, but for the tasks that it leaves out."""
    push(project)
    people = answered(fake, 12)
    fake.lie = lambda name, told: second_half(told) if name == "tasks_list" else told
    with pytest.raises(Unreachable, match="with gaps"):
        command(project)
    fake.lie = lambda name, told: told
    assert push(project).sent == 0
    assert pull(project).complete
    assert labels(project) == people


def test_tasks_deleted_while_they_are_listed_are_no_gap(fake, project, monkeypatch):
    monkeypatch.setattr("connectors.label_studio.tasks.PAGE", 3)
    push(project)
    people = answered(fake, 3)
    pages = itertools.count()

    def lie(name, told):
        if name == "tasks_list" and next(pages) == 1:
            del fake.tasks[12]
        return told

    fake.lie = lie
    pull(project)
    assert labels(project) == people


@pytest.mark.parametrize("change", ["left out", "null"])
def test_a_listing_without_annotations_deletes_no_answer(fake, project, change):
    push(project)
    people = answered(fake, 3)
    pull(project)

    def lie(name, told):
        if name != "tasks_list":
            return told
        tasks = [dict(task) for task in told["tasks"]]
        for task in tasks:
            if task.pop("annotations", None) is not None and change == "null":
                task["annotations"] = None
        return {**told, "tasks": tasks}

    fake.lie = lie
    with pytest.raises(Unreachable, match="annotations"):
        pull(project, full=True)
    assert labels(project) == people


@pytest.mark.parametrize("full", [False, True])
def test_the_server_s_clock_was_a_day_ahead_at_the_push(fake, project, full):
    """An annotation older than its own task was never found to be deleted."""
    fake.now += timedelta(days=1)
    push(project)
    fake.now -= timedelta(days=1)
    people = answered(fake, 2)
    pull(project)
    assert labels(project) == people
    first, second = people
    (task,) = [task for task in fake.tasks.values() if task["data"]["coreloop_key"] == first]
    task["annotations"] = []
    task["updated_at"] = fake._stamp()
    pull(project, full=full)
    assert set(labels(project)) == {second}


def test_a_server_set_up_anew_deletes_no_answer(fake, project):
    """Its tasks have the numbers of the old ones, and are others."""
    push(project)
    people = answered(fake, 2)
    pull(project)
    for task in fake.tasks.values():
        task["annotations"] = []
        task["created_at"] = task["updated_at"] = fake._stamp()
    pull(project, full=True)
    assert labels(project) == people


def test_headers_of_any_bytes_are_no_matter():
    answer = reply(
        {"email": "a@b"}, **{"X-Name": "\xfc\xff", "Set-Cookie": "a=\xff", "Date": "\xff"}
    )
    with loopback(lambda request: answer) as server:
        assert Client(server.url, LEGACY, attempts=1).whoami() == "a@b"


@pytest.mark.parametrize("location", ["javascript:x", "http://[::1", "http://x:999999/", "", "//"])
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_to_what_is_no_address(code, location):
    with loopback(lambda request: Reply(code, b"", {"Location": location})) as server:
        client = Client(server.url, LEGACY, attempts=1)
        with pytest.raises(ConnectorError) as read:
            client.whoami()
        with pytest.raises(ConnectorError):
            client.write("POST", "/api/projects/", {})
        assert str(read.value).isprintable()
        assert len(server.requests) == 2


TIMES = [
    None,
    5,
    "",
    "now",
    "2026-11-28",
    "2026-11-28T12:00:00",
    "9999-12-31T23:59:59Z",
    "2" * 10**6,
]


@pytest.mark.parametrize("time", [*TIMES, "left out"])
def test_an_annotation_without_a_time_does_not_stop_the_others(fake, project, time):
    push(project)
    odd, *good = answered(fake, 3)
    (task,) = [task for task in fake.tasks.values() if task["data"]["coreloop_key"] == odd]
    (entry,) = task["annotations"]
    kept = entry.pop("updated_at")
    if time != "left out":
        entry["updated_at"] = time
    for full in (False, True):
        pulled = pull(project, full=full)
        assert labels(project) == dict.fromkeys(good, "digit-1")
        assert len(pulled.odd) == 1
        assert "updated_at" in pulled.odd[0]
    assert pulled.new == 0
    entry["updated_at"] = kept
    pull(project, full=True)
    assert labels(project) == dict.fromkeys([odd, *good], "digit-1")


def test_nobody_calls_a_class_by_a_million_characters(fake, project):
    push(project)
    odd, *good = answered(fake, 3)
    for task in fake.tasks.values():
        if task["data"]["coreloop_key"] == odd:
            task["annotations"][0]["result"][0]["value"]["choices"] = ["x" * 10**6]
    (named,) = pull(project).odd
    assert len(named) < 400
    assert labels(project) == dict.fromkeys(good, "digit-1")


LISTS = {
    "no-annotations": lambda task: {**task, "annotations": []},
    "no-keys": lambda task: {**task, "data": {"image": "/data/x.png"}},
}


@pytest.mark.parametrize("earlier", [False, True], ids=["unread", "read"])
@pytest.mark.parametrize("kind", LISTS)
def test_a_listing_that_lacks_what_the_server_counts_is_read_again(
    fake, project, kind, earlier, monkeypatch
):
    """The difference was taken for other people's tasks, and the answers never looked at again."""
    monkeypatch.setattr("connectors.label_studio.pull.OVERLAP", timedelta(0))
    push(project)
    people = answered(fake, 3)
    if earlier:
        pull(project)

    def lie(name, told):
        if name != "tasks_list" or "annotations" not in told["tasks"][0]:
            return told
        return {**told, "tasks": [LISTS[kind](task) for task in told["tasks"]]}

    fake.lie = lie
    with suppress(Unreachable):
        pull(project, full=earlier)
    fake.lie = lambda name, told: told
    pull(project)
    assert labels(project) == people
