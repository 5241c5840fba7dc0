"""serve: what Label Studio asks a project's service, and how it learns where that is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from pydantic import ValidationError

from connectors.base import ConnectorError, Rejected, Unknown, Unreachable
from connectors.label_studio.backend import (
    WEBHOOK_HEADER,
    PredictRequest,
    Registered,
    ServiceAddress,
    TaskAsked,
    image_field,
    read_picture,
    register,
    result_of,
)
from connectors.label_studio.client import Client
from connectors.label_studio.pictures import Pictures
from connectors.label_studio.tasks import key_of
from db import queries
from db.state import log
from loop import config as settings
from loop.errors import ConfigError, DataError
from loop.project import Project, find
from loop.project.labeler import connect_labeler, label_studio_url, labelling_projects
from loop.project.predictor import Guess, TaskImage, TaskPredictor
from loop.project.repeats import Repeats
from loop.project.watch import WatchState, watch_state
from loop.secrets import label_studio_token, service_secret, webhook_secret

__all__ = ["WEBHOOK_HEADER", "Answered", "Connection", "Service"]

USER = "coreloop"
"""Of basic authentication."""
TRIES = 2
"""Of a picture while somebody waits for it."""
ELSEWHERE = (
    "If Label Studio is on another machine or in a container, say where it reaches this one: "
    "--address http://...:9090. Until then answers are looked for at intervals"
)
REPEATED = Guess(None, "repeated", "it was asked about a moment ago")
"""The server would store a second answer beside the first."""


@dataclass(frozen=True)
class Answered:
    """An answer to ``/predict``.

    Attributes:
        results: of each task what the server stores: no prediction, or one.
        counts: how each came about: stored, embedded, silent, failed, repeated.
        reasons: why some failed, each once.
    """

    version: str
    results: list[list[dict[str, Any]]]
    counts: dict[str, int]
    reasons: tuple[str, ...]


class Service:
    """A project that Label Studio asks for predictions. Any number of threads may ask.

    Args:
        root: the project's folder; found anew when ``coreloop.toml`` has changed.

    Raises:
        ConfigError: there is no project, its labeler is no Label Studio, or the secret is none.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = Lock()
        self._pictures: Pictures | None = None
        self._repeats = Repeats()
        self._open()
        if self.project.config.labeler.kind != "label-studio":
            raise ConfigError(
                f"'coreloop serve' answers Label Studio, and kind under [labeler] is "
                f"{self.project.config.labeler.kind!r}; 'coreloop run --watch' turns the loop of "
                "any project by itself"
            )
        self.secret = service_secret(root)
        self.webhook_secret = webhook_secret(self.secret)

    def close(self) -> None:
        """Gives the database's connections back."""
        self.project.close()

    def versions(self) -> list[str]:
        """What the newest model is called; empty while none is kept."""
        return self._fresh().versions()

    def version(self) -> str:
        """The newest model's name; empty while none is kept."""
        return self._fresh().version()

    def watch_state(self) -> WatchState | None:
        """How the loop stands."""
        return watch_state(self.project)

    def check_setup(self, request: dict[str, Any]) -> None:
        """Raises Mismatch where the label config of the project that asks offers none of our
        classes. The token that the server sends along is not read."""
        schema = request.get("schema")
        if isinstance(schema, str) and schema.strip():
            labeler = self.project.config.labeler
            image_field(schema, self.project.config.project.classes, labeler.control)

    def predict(self, body: bytes) -> Answered:
        """Answers a request for predictions. Of a task that somebody else asks about at the same
        moment nothing is said here, once they have their answer.

        Raises:
            DataError: it is no such request.
            Mismatch: its label config offers none of our classes.
            LoopError, DbError: the records or the model cannot be read.
        """
        try:
            asked = PredictRequest.model_validate_json(body)
        except ValidationError:
            raise DataError("this is no request for predictions of Label Studio") from None
        predictor, config = self._fresh(), self.project.config
        classes, control = config.project.classes, config.labeler.control
        label_config = asked.label_config or ""
        field = image_field(label_config, classes, control) if asked.tasks else ""
        names = [(task.id, json.dumps(task.data, sort_keys=True)) for task in asked.tasks]
        tasks = dict(zip(names, asked.tasks, strict=True))
        with self._repeats.first(names) as first:
            asked_first = {name: self._task_image(tasks[name], field) for name in first}
            version, answers = predictor.predict(list(asked_first.values()))
        by_name = dict(zip(asked_first, answers, strict=True))
        guesses = [by_name.get(name, REPEATED) for name in names]
        results = [
            [result_of(guess.prediction, label_config, classes, control)]
            if guess.prediction
            else []
            for guess in guesses
        ]
        return Answered(version, results, _counts(guesses), _reasons(guesses))

    def _task_image(self, task: TaskAsked, field: str) -> TaskImage:
        address = task.data.get(field)
        text = address if isinstance(address, str) else ""
        uris = (f"task {task.id}: {text}", text) if text else ()
        return TaskImage(key_of(task.data), uris, lambda: self._read(text, task.id))

    def _read(self, address: str, task: int) -> bytes:
        settings = self.project.config.labeler
        with self._lock:
            if self._pictures is None:
                token = label_studio_token(self.root)
                client = Client(label_studio_url(settings.url), token, attempts=TRIES)
                self._pictures = Pictures(client)
            pictures = self._pictures
        return read_picture(pictures, address, task, settings.url_base)

    def _open(self) -> None:
        self.project = find(self.root)
        self._file = _version(self.root)
        self._predictor = TaskPredictor(self.project)
        self._pictures = None

    def _fresh(self) -> TaskPredictor:
        """Goes by an edited ``coreloop.toml`` once it can be read again."""
        with self._lock:
            now = _version(self.root)
            if now != self._file:
                before = self.project
                try:
                    self._open()
                except ConfigError:  # somebody is editing it
                    return self._predictor
                before.close()
            return self._predictor


class Connection:
    """Makes a service known to the project's Label Studio, once it has a project there.

    Args:
        address: where Label Studio reaches the service.
        secret: of basic authentication; empty: none is asked for.
        on_told: hears in words what came of it.
    """

    def __init__(
        self, address: str, secret: str, header: str, on_told: Callable[[str], None]
    ) -> None:
        self._at = ServiceAddress(address.rstrip("/"), USER if secret else "", secret, header)
        self._on_told = on_told
        self._settled_for, self._told = 0, ""

    def settle(self, project: Project) -> None:
        """Registers the service, once for each project there; what passes is tried again at the
        next call, and no reason to stop the loop."""
        with project.records.read() as session:
            homes = labelling_projects(project, queries.the_pool(session))
            if not homes or homes[0] == self._settled_for:
                return
            labeler: Any = connect_labeler(session, project)
        config = project.config.labeler
        live = config.predictions and config.order != "uncertain"
        number = homes[0]
        try:
            registered = register(labeler, self._at, live=live)
        except (Unreachable, Unknown) as error:
            self._tell(project, f"not connected with Label Studio yet: {error}")
            return
        except ConnectorError as error:
            self._settled_for = number
            hint = f". {ELSEWHERE}" if isinstance(error, Rejected) else ""
            self._tell(project, f"not connected with Label Studio: {error}{hint}")
            return
        self._settled_for = number
        self._tell(project, in_words(registered, self._at.url))

    def _tell(self, project: Project, text: str) -> None:
        """Once where it is the same again."""
        if text == self._told:
            return
        self._told = text
        self._on_told(text)
        with project.records.write("serve-connect") as session:
            log(session, "serve", text[:500])


def in_words(registered: Registered, address: str) -> str:
    """What came of a registration."""
    if registered.refused:
        return (
            f"{registered.refused}. Until then answers are looked for at intervals, and "
            "predictions are sent along with each round"
        )
    what = "ML backend and webhook" if registered.backend else "webhook"
    text = f"project {registered.project} of Label Studio knows {address} as its {what}"
    return "; ".join([text, *registered.notes])


def _counts(guesses: list[Guess]) -> dict[str, int]:
    hows = [guess.how for guess in guesses]
    return {how: hows.count(how) for how in sorted(set(hows))}


def _reasons(guesses: list[Guess]) -> tuple[str, ...]:
    failed = [guess.reason for guess in guesses if guess.how == "failed"]
    return tuple(dict.fromkeys(failed))


def _version(root: Path) -> tuple[int, ...]:
    try:
        status = os.stat(root / settings.FILE)
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns
