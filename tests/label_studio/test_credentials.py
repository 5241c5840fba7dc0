"""The token goes to the server it is for, and to nobody else; addresses hold no password."""

from __future__ import annotations

import json
import subprocess

import pytest

from connectors.base import ConnectorError, Rejected
from connectors.label_studio.client import Client
from loop import config
from loop.errors import ConfigError
from loop.project import create, find
from loop.steps.backup import backup
from loop.steps.doctor import doctor
from loop.steps.run import run
from loop.steps.status import status
from tests.conftest import small_values
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
