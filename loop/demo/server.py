"""A Label Studio server of one's own, for the demo and the tests: loopback only, telemetry off.

Label Studio pins its own SDK, so it lives in an environment apart; only its command is started. The
first start of a data folder runs a minute of migrations; a template folder, made once, is copied.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from loop.errors import NotReady

USERNAME = "people@coreloop.example"
START_SECONDS = 300.0
NO_DELAY = """\
import socketserver

socketserver.StreamRequestHandler.disable_nagle_algorithm = True
"""
"""What the server's Python reads at its start. An answer leaves in two pieces, of which the second
would wait 40 ms for the first to be acknowledged (Nagle's algorithm)."""


@dataclass
class Server:
    """A running server; ``stop`` ends it."""

    url: str
    token: str
    username: str
    password: str
    folder: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """Ends the server, in the end by force."""
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(
    folder: Path,
    executable: Path,
    *,
    template: Path | None = None,
    port: int | None = None,
    document_root: Path | None = None,
    calls_loopback: bool = True,
) -> Server:
    """Starts a server whose data lie in ``folder``; waits until it answers.

    Args:
        executable: the ``label-studio`` command.
        template: a data folder that ``start`` made once; made now if it is missing.
        port: default: a free one.
        document_root: what local-file serving may hand out; default ``folder``/files.
        calls_loopback: whether it may call ML backends and webhooks of this machine.

    Raises:
        NotReady: it does not start; the message ends with its log.
    """
    if template is not None and not (folder / "data").exists():
        if not (template / "ready").exists():
            shutil.rmtree(template, ignore_errors=True)
            start(template, executable).stop()
            (template / "ready").touch()
        shutil.copytree(template, folder, dirs_exist_ok=True)
    for name in ("data", "home", "files", "python"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "python" / "sitecustomize.py").write_text(NO_DELAY)
    password, token = _credentials(folder)
    port = port or free_port()
    log = (folder / "server.log").open("ab")
    process = subprocess.Popen(
        [
            str(executable),
            "start",
            "--no-browser",
            "--internal-host",
            "127.0.0.1",
            "--port",
            str(port),
            "--log-level",
            "WARNING",
        ],
        env=_environment(
            folder,
            password,
            token,
            document_root or folder / "files",
            calls_loopback=calls_loopback,
        ),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        cwd=folder,
    )
    server = Server(f"http://127.0.0.1:{port}", token, USERNAME, password, folder, process)
    try:
        _wait(server)
    except BaseException:
        server.stop()
        raise
    return server


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _credentials(folder: Path) -> tuple[str, str]:
    """Password and legacy token of this data folder, kept beside it for its owner alone."""
    file = folder / "credentials"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(f"{secrets.token_urlsafe(12)}\n{secrets.token_hex(20)}\n")
    password, token = file.read_text().split()
    return password, token


def _environment(
    folder: Path, password: str, token: str, root: Path, *, calls_loopback: bool
) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "LC_ALL", "TMPDIR")}
    silent = dict.fromkeys(
        (
            "SENTRY_DSN",
            "LABEL_STUDIO_SENTRY_DSN",
            "FRONTEND_SENTRY_DSN",
            "LABEL_STUDIO_FRONTEND_SENTRY_DSN",
        ),
        "",
    )
    return {
        **kept,
        **silent,
        "HOME": str(folder / "home"),
        "PYTHONPATH": str(folder / "python"),
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
        "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
        "COLLECT_ANALYTICS": "false",
        "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "LABEL_STUDIO_USERNAME": USERNAME,
        "LABEL_STUDIO_PASSWORD": password,
        "LABEL_STUDIO_USER_TOKEN": token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_ML_BLOCK_LOCAL_IP": str(not calls_loopback).lower(),
        "LABEL_STUDIO_SSRF_PROTECTION_ENABLED": str(not calls_loopback).lower(),
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(root),
        "NO_PROXY": "127.0.0.1,localhost",
    }


def _wait(server: Server) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if server.process.poll() is not None:
            break
        try:
            answer = httpx.get(f"{server.url}/health", timeout=5, trust_env=False)
            if answer.status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.3)
    tail = (server.folder / "server.log").read_text(errors="replace")[-600:]
    raise NotReady(f"Label Studio did not start at {server.url}:\n{tail}")


def personal_token(server: Server) -> str:
    """A new personal access token, made as a person would: log in, then ask for one."""
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as http:
        log_in(http, server.username, server.password)
        listed = http.get("/api/token/", headers=_csrf(http)).json()
        for old in listed if isinstance(listed, list) else []:
            http.post("/api/token/blacklist/", json={"refresh": old["token"]}, headers=_csrf(http))
        answer = http.post("/api/token/", headers=_csrf(http))
        answer.raise_for_status()
        return str(answer.json()["token"])


def log_in(http: httpx.Client, username: str, password: str) -> None:
    """Logs the client's cookies in."""
    http.get("/user/login/")
    http.post(
        "/user/login/",
        data={"email": username, "password": password, "csrfmiddlewaretoken": _token(http)},
        headers={"Referer": str(http.base_url)},
    )


def _token(http: httpx.Client) -> str:
    return http.cookies.get("csrftoken") or ""


def _csrf(http: httpx.Client) -> dict[str, str]:
    return {"X-CSRFToken": _token(http), "Referer": str(http.base_url)}


def annotate(
    server: Server,
    project: int,
    answers: Mapping[str, tuple[str, float]],
    *,
    key: str = "coreloop_key",
    person: str = "demo",
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """A simulated annotator: answers the open tasks of a project that ``answers`` knows.

    Repeating it adds nothing: each annotation has an identity made of person and task.

    Args:
        answers: what the task's data has under ``key`` -> (label, seconds).

    Returns:
        The number of annotations made now.
    """
    with httpx.Client(
        base_url=server.url,
        headers={"Authorization": f"Token {server.token}"},
        trust_env=False,
        timeout=120,
    ) as http:
        control, image = _names(http, project)
        tasks = [task for task in _open_tasks(http, project) if task["data"].get(key) in answers]
        for done, task in enumerate(tasks, 1):
            label, seconds = answers[task["data"][key]]
            name = f"{project}/{task['id']}/{person}"
            region = {
                "from_name": control,
                "to_name": image,
                "type": "choices",
                "value": {"choices": [label]},
            }
            body = {
                "result": [region],
                "lead_time": seconds,
                "unique_id": str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
            }
            http.post(f"/api/tasks/{task['id']}/annotations/", json=body).raise_for_status()
            on_progress(done, len(tasks))
    return len(tasks)


def _names(http: httpx.Client, project: int) -> tuple[str, str]:
    """Names of the label config's first Choices and of the image it is for."""
    answer = http.get(f"/api/projects/{project}/").raise_for_status().json()
    for name, control in answer["parsed_label_config"].items():
        if control["type"] == "Choices":
            return str(name), str(control["to_name"][0])
    raise NotReady(f"project {project} has no Choices in its label config")


def _open_tasks(http: httpx.Client, project: int) -> list[dict[str, Any]]:
    """Tasks that nobody has answered."""
    tasks: list[dict[str, Any]] = []
    params: dict[str, str | int] = {
        "project": project,
        "page_size": 1000,
        "fields": "task_only",
        "include": "id,data,total_annotations",
    }
    for page in itertools.count(1):
        answer = http.get("/api/tasks/", params={**params, "page": page})
        listed = answer.raise_for_status().json()
        tasks += listed["tasks"]
        if not listed["tasks"] or len(tasks) >= listed["total"]:
            break
    return [task for task in tasks if not task["total_annotations"]]
