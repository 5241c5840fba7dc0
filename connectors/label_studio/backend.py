"""Our service as a project's ML backend and webhook: registered once, mended where it differs.

The server takes the same address twice and then asks twice, so it is looked first. It makes a
webhook of its own for a backend, without our secret, unless there is one at that address: so the
webhook comes first. Of what it sends, only that something happened is believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, PositiveInt

from connectors.base import Prediction, Rejected, SourceError
from connectors.label_studio import config
from connectors.label_studio.answers import ServerAnswer
from connectors.label_studio.client import Client
from connectors.label_studio.errors import PrivateNetwork
from connectors.label_studio.pictures import STORED, Pictures
from connectors.label_studio.predictions import LIVE, OURS, prediction
from connectors.label_studio.project import RemoteProject

WEBHOOK_HEADER = "X-Coreloop-Secret"
"""Of a webhook's requests; the server sends no signature."""
ANSWERED = (
    "ANNOTATION_CREATED",
    "ANNOTATIONS_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATIONS_DELETED",
)
"""Events after which a pull may bring something."""


class ListedWebhook(ServerAnswer):
    """A line of GET /api/webhooks/"""

    id: PositiveInt
    url: str
    headers: dict[str, Any] | None = None
    is_active: bool | None = None
    send_for_all_actions: bool | None = None
    actions: list[str] | None = None


class ListedBackend(ServerAnswer):
    """A line of GET /api/ml/"""

    id: PositiveInt
    url: str
    title: str | None = None
    readable_state: str | None = None


class TaskAsked(BaseModel):
    """A task in a request for predictions; what else the server sends is passed over."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    id: int
    data: dict[str, Any]


class PredictRequest(BaseModel):
    """What the server sends to ``/predict``."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    tasks: list[TaskAsked]
    label_config: str | None = None


class HasProject(Protocol):
    """A labeler of this package."""

    client: Client
    project: RemoteProject


@dataclass(frozen=True)
class ServiceAddress:
    """Where and how a server reaches us.

    Attributes:
        url: without a slash at its end.
        user, password: of basic authentication; empty: none.
        header: what ``WEBHOOK_HEADER`` has to say.
    """

    url: str
    user: str
    password: str
    header: str


@dataclass(frozen=True)
class Registered:
    """What came of it. ``refused`` and ``notes``: in words, for people."""

    project: int
    backend: bool = False
    webhook: bool = False
    refused: str = ""
    notes: tuple[str, ...] = ()


def register(labeler: HasProject, at: ServiceAddress, *, live: bool) -> Registered:
    """Makes us the project's ML backend, and has answers told to us; repeating it adds nothing.

    Args:
        live: whether people shall see what we predict at that moment.

    Raises:
        Unreachable, Unauthorized, Rejected, Unknown: see ``Client``; a server that may not reach
            private networks is no error, see ``Registered.refused``.
    """
    client, project = labeler.client, labeler.project
    done = Registered(project.id)
    try:
        _set_webhook(client, project.id, at)
        done = Registered(project.id, webhook=True)
        other = _set_backend(client, project.id, at)
    except PrivateNetwork as error:
        return Registered(project.id, webhook=done.webhook, refused=str(error))
    except Rejected:  # each answer would wait for a webhook that nobody gets
        _remove_webhooks(client, _webhooks(client, project.id, at))
        raise
    if other:
        note = (
            f"project {project.id} has another ML backend ({other}), which Label Studio asks "
            "instead of this one; remove it there to see coreloop's predictions"
        )
        return Registered(project.id, webhook=True, notes=(note,))
    notes = _show(project) if live else ()
    return Registered(project.id, backend=True, webhook=True, notes=notes)


def result_of(guess: Prediction, label_config: str, classes: list[str], control: str) -> Any:
    """A guess as the server takes it from a backend. Raises Mismatch: it fits no choice."""
    return prediction(guess, config.read(label_config, classes, control))


def image_field(label_config: str, classes: list[str], control: str) -> str:
    """Name of the field of a task's data that has its image. Raises Mismatch: see config.read."""
    return config.read(label_config, classes, control).data


def read_picture(pictures: Pictures, address: str, task: int, url_base: str) -> bytes:
    """A task's image by way of the server. A task may name any address: only the server itself, its
    storages, and where the project's images are said to be are asked.

    Raises:
        SourceError: it is elsewhere, or cannot be had.
        Unreachable, Rejected: see ``Pictures.read``.
    """
    within = url_base and address.startswith(f"{url_base.rstrip('/')}/")
    if not (within or address.startswith(STORED) or pictures.is_own(address)):
        raise SourceError("is on another server than Label Studio, its storages or 'url_base'")
    return pictures.read(address, task)


def _set_webhook(client: Client, project: int, at: ServiceAddress) -> None:
    path = "/api/webhooks/"
    wanted = {
        "url": f"{at.url}/webhook",
        "headers": {WEBHOOK_HEADER: at.header},
        "send_payload": False,
        "send_for_all_actions": False,
        "actions": list(ANSWERED),
        "is_active": True,
    }
    ours = _webhooks(client, project, at)
    if not ours:
        client.write("POST", path, {"project": project, **wanted})
        return
    now = {name: getattr(ours[0], name) for name in wanted if name != "send_payload"}
    differs = {**now, "actions": sorted(now["actions"] or [])} != {
        **{name: wanted[name] for name in now},
        "actions": sorted(ANSWERED),
    }
    if differs:
        client.write("PATCH", f"{path}{ours[0].id}/", wanted)
    _remove_webhooks(client, ours[1:])


def _webhooks(client: Client, project: int, at: ServiceAddress) -> list[ListedWebhook]:
    """Ours, at whatever address."""
    listed = client.get("/api/webhooks/", {"project": project}, answer=list[ListedWebhook])
    url = f"{at.url}/webhook"
    return [hook for hook in listed if hook.url == url or WEBHOOK_HEADER in _headers(hook)]


def _remove_webhooks(client: Client, hooks: Sequence[ListedWebhook]) -> None:
    for hook in hooks:
        client.write("DELETE", f"/api/webhooks/{hook.id}/")


def _headers(hook: ListedWebhook) -> Mapping[str, Any]:
    return hook.headers or {}


def _set_backend(client: Client, project: int, at: ServiceAddress) -> str:
    """Title of another backend, which stays; empty where ours is the one that is asked."""
    path = "/api/ml/"
    wanted: dict[str, Any] = {"project": project, "url": at.url, "title": LIVE, "timeout": 100}
    if at.password:
        wanted |= {"auth_method": "BASIC_AUTH"}
        wanted |= {"basic_auth_user": at.user, "basic_auth_pass": at.password}
    else:
        wanted |= {"auth_method": "NONE"}
    listed = client.get(path, {"project": project}, answer=list[ListedBackend])
    ours = [backend for backend in listed if backend.url == at.url or backend.title == LIVE]
    others = [backend for backend in listed if backend not in ours]
    if others:
        return others[0].title or others[0].url
    if not ours:
        client.write("POST", path, wanted)
        return ""
    now = ours[0]
    if (now.url, now.title, now.readable_state) != (at.url, LIVE, "Connected"):
        client.write("PATCH", f"{path}{now.id}", wanted)
    for copy in ours[1:]:
        client.write("DELETE", f"{path}{copy.id}")
    return ""


def _show(project: RemoteProject) -> tuple[str, ...]:
    """Has people see live predictions, unless the project shows those of somebody else."""
    now = project.description.model_version or ""
    if now == LIVE:
        return ()
    if now and not OURS.fullmatch(now):
        return (
            f"project {project.id} shows the predictions of {now!r}, which stays so; choose "
            f"{LIVE!r} there (Settings, Annotation) to see coreloop's",
        )
    try:
        project.change({"model_version": LIVE, "show_collab_predictions": True})
    except Rejected as error:
        return (f"predictions are not shown: {error}",)
    return ()
