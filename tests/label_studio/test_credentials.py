"""The token goes to the server it is for, and to nobody else; addresses hold no password."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from pathlib import Path

import pytest

from connectors.base import ConnectorError, Rejected
from connectors.label_studio.client import Client
from db.arrays import file_digest
from loop import config
from loop.errors import ConfigError
from loop.project import create, find
from loop.steps.backup import backup, restore
from loop.steps.doctor import doctor
from loop.steps.run import run
from loop.steps.status import status
from tests.conftest import rows, small_values
from tests.label_studio.loopback import Reply, loopback, reply

PERSONAL = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2VjcmV0LXNpZ25hdHVyZQ"
LEGACY = "0123456789abcdef0123456789abcdef01234567"
ACCESS = "secret-access"
PASSWORD = "s3cret-pw"
REQUESTS = {
    "read": lambda client: client.get("/api/projects/1/"),
    "import": lambda client: client.write("POST", "/api/projects/1/import", [{"data": {}}]),
    "upload": lambda client: client.write("POST", "/api/x", files={"f": ("a.png", b"1")}),
    "change": lambda client: client.write("PATCH", "/api/projects/1/", {"title": "t"}),
    "delete": lambda client: client.write("DELETE", "/api/tasks/1/"),
}


def redirecting(elsewhere, status, *, refresh):
    """Sends the exchange of a token (or else all but that) to another host."""

    def answer(request):
        if request.path.endswith("/api/token/refresh/") and not refresh:
            return reply({"access": ACCESS})
        return Reply(status, b"", {"Location": elsewhere.url + request.path})

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("refresh", [True, False], ids=["exchange", "request"])
@pytest.mark.parametrize("token", [PERSONAL, LEGACY], ids=["personal", "legacy"])
@pytest.mark.parametrize("kind", REQUESTS)
def test_no_credential_follows_a_redirect(kind, token, refresh, status):
    with (
        loopback(lambda request: reply({"access": ACCESS})) as elsewhere,
        loopback(redirecting(elsewhere, status, refresh=refresh)) as server,
    ):
        with pytest.raises(Rejected, match="set url under") as caught:
            REQUESTS[kind](Client(server.url, token, attempts=1))
        assert elsewhere.requests == []
        assert any(token in request.text or ACCESS in request.text for request in server.requests)
    for secret in (token, ACCESS):
        assert secret not in str(caught.value)


@pytest.fixture
def project(tmp_path, images, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", PERSONAL)
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    values = small_values(images, labeler={"kind": "label-studio", "error_rate": 0.0})
    return create(tmp_path / "p", config.check(values, "test"))


def test_doctor_and_run_keep_the_token_from_another_host(project, monkeypatch):
    with (
        loopback(lambda request: reply({"access": ACCESS})) as elsewhere,
        loopback(redirecting(elsewhere, 308, refresh=True)) as server,
    ):
        monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
        check = next(c for c in doctor(project.root) if c.name == "labeler")
        assert not check.ok
        with pytest.raises(Rejected, match="set url under"):
            run(project)
        assert elsewhere.requests == []
        assert [request.path for request in server.requests] == ["/api/token/refresh/"] * 2


@pytest.mark.parametrize(
    "address",
    [
        f"http://me:{PASSWORD}@127.0.0.1:9",
        f"http://{PASSWORD}@127.0.0.1:9/labelstudio",
        f"//me:{PASSWORD}@host",
        f"me:{PASSWORD}@host",
        f"http://me:{PASSWORD}@[::1",
        f"http://me:{PASSWORD}/@host",
    ],
)
def test_a_password_in_an_address_is_refused_and_never_shown(
    address, project, images, tmp_path, monkeypatch
):
    values = small_values(images, labeler={"kind": "label-studio", "url": address})
    with pytest.raises(ConfigError, match="take it out") as caught:
        config.check(values, "test")
    assert PASSWORD not in str(caught.value)
    with pytest.raises(ConnectorError) as caught:
        Client(address, LEGACY)
    assert PASSWORD not in str(caught.value)
    monkeypatch.setenv("LABEL_STUDIO_URL", address)
    shown = [str(status(project)), *(check.detail for check in doctor(project.root))]
    backup(project, tmp_path / "backup")
    assert PASSWORD not in "".join(shown)
    leaks = subprocess.run(["grep", "-rl", PASSWORD, str(tmp_path)], capture_output=True)
    assert leaks.stdout == b""


def test_a_password_written_into_the_file_later_is_refused(project):
    file = project.root / config.FILE
    text = file.read_text()
    assert 'url = ""' in text
    file.write_text(text.replace('url = ""', f'url = "http://me:{PASSWORD}@host"'))
    with pytest.raises(ConfigError, match="take it out") as caught:
        find(project.root)
    assert PASSWORD not in json.dumps(str(caught.value))


def test_where_images_are_served_needs_no_password_either(images):
    values = small_values(
        images, labeler={"kind": "label-studio", "url_base": f"https://me:{PASSWORD}@cdn/x"}
    )
    with pytest.raises(ConfigError, match="url_base"):
        config.check(values, "test")
    values["labeler"]["url_base"] = "https://cdn/photos@2x"
    config.check(values, "test")


FIXTURES = Path(__file__).parents[1] / "db" / "fixtures"
IN_TEXT = f"cannot reach http://me:{PASSWORD}@127.0.0.1:9: refused"


def old_project(folder, images, revision, address):
    """A project as an earlier version left it, that knew its server by an address with a password:
    in its file, its rounds, its events and a batch, and in pages of the database since given up."""
    values = small_values(images)
    project = create(folder, config.check(values, "test"))
    project.close()
    file = folder / config.FILE
    file.write_text(file.read_text().replace('url = ""', f'url = "{address}"'))
    for path in folder.glob("coreloop.db*"):
        path.unlink()
    with sqlite3.connect(folder / "coreloop.db") as raw:
        raw.execute("PRAGMA secure_delete = OFF")
        raw.executescript((FIXTURES / f"{revision}.sql").read_text(encoding="utf-8"))
        for number, text in raw.execute("SELECT id, config FROM round").fetchall():
            held = json.loads(text)
            held["labeler"] = {**held.get("labeler", {}), "url": address}
            change = "UPDATE round SET config = ? WHERE id = ?"
            raw.execute(change, (json.dumps(held), number))
        raw.execute("UPDATE event SET message = ? WHERE id = 3", (IN_TEXT,))
        raw.execute("UPDATE batch SET message = ?", (IN_TEXT,))
        raw.execute('DELETE FROM "array"')  # their files are not kept
        raw.execute("CREATE TABLE gone (x)")
        raw.executemany("INSERT INTO gone VALUES (?)", [(IN_TEXT * 100,)] * 10)
        raw.execute("DROP TABLE gone")
    raw.close()
    return file


def holding(folder):
    """Names of the files below a folder that hold the password."""
    listed = subprocess.run(["grep", "-rl", PASSWORD, str(folder)], capture_output=True, text=True)
    return sorted(Path(line).name for line in listed.stdout.splitlines())


def take_out(file, address):
    with pytest.raises(ConfigError, match="change that password: the records forget it") as caught:
        find(file.parent)
    assert PASSWORD not in str(caught.value)
    file.write_text(file.read_text().replace(address, "http://127.0.0.1:9"))


@pytest.mark.parametrize("revision", sorted(path.stem for path in FIXTURES.glob("*.sql")))
@pytest.mark.parametrize("address", [f"http://me:{PASSWORD}@127.0.0.1:9", f"me:{PASSWORD}@h"])
def test_old_records_forget_a_password(tmp_path, images, revision, address):
    file = old_project(tmp_path / "p", images, revision, address)
    assert holding(tmp_path) == ["coreloop.db", "coreloop.toml"]
    take_out(file, address)
    with find(tmp_path / "p") as project:
        before = rows(project, "SELECT count(*) FROM event")
        status(project)
        assert holding(tmp_path) == []
        ((told,),) = rows(project, "SELECT message FROM event WHERE step = 'open'")
        assert "change that password" in told
        assert rows(project, "SELECT message FROM event WHERE id = 3") == [
            ("cannot reach http://127.0.0.1:9: refused",)
        ]
        urls = {
            json.loads(text)["labeler"]["url"]
            for (text,) in rows(project, "SELECT config FROM round")
        }
        assert urls == {"http://127.0.0.1:9" if "//" in address else "h"}
        backup(project, tmp_path / "backup")
    with find(tmp_path / "p") as project:  # it is said once
        status(project)
        assert rows(project, "SELECT count(*) FROM event") == [(before[0][0] + 1,)]
    assert holding(tmp_path) == []


def test_an_old_backup_is_restored_without_its_password(tmp_path, images):
    address = f"http://me:{PASSWORD}@127.0.0.1:9"
    old_project(tmp_path / "old", images, "0001", address)
    names = ("coreloop.db", config.FILE)
    digests = {name: file_digest(tmp_path / "old" / name) for name in names}
    listed = {"name": "p", "folder": str(tmp_path / "old"), "files": digests}
    (tmp_path / "old" / "backup.json").write_text(json.dumps(listed))
    restored = restore(tmp_path / "old", tmp_path / "new")
    assert "change it, for the backup still holds it" in restored.note
    assert holding(tmp_path / "new") == []
    assert find(tmp_path / "new").config.labeler.url == "http://127.0.0.1:9"
