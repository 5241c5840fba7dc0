"""The images of a Label Studio project as the pool: ``label-studio://17``. Each task is one image,
read through the server; what was fetched is kept in a cache of bounded size."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from connectors.base import (
    Image,
    Mismatch,
    PassedOver,
    Rejected,
    RemoteAnnotation,
    SourceError,
    UnreadableFile,
)
from connectors.folder import Encoded, content_key, examine
from connectors.image_cache import ImageCache, default_folder
from connectors.label_studio import config
from connectors.label_studio.annotation import read_annotation
from connectors.label_studio.answers import ListedTask, ProjectAnswer
from connectors.label_studio.client import Client
from connectors.label_studio.config import Controls
from connectors.label_studio.errors import FailedAt
from connectors.label_studio.pictures import Pictures
from connectors.label_studio.tasks import Filter, key_of, list_answered_tasks, list_tasks
from connectors.workers import in_order

SCHEME = "label-studio://"
AT_ONCE = 8
"""Images that are fetched at the same time."""
AHEAD = 64
"""Images that are fetched before they are asked for."""
NAMED_AT_ONCE = 200
"""Tasks that one request names: proxies refuse addresses of more than 8 KB."""
LISTED = 5000
"""Tasks from which on all are listed rather than named."""
URI = re.compile(r"task (\d+): (.*)", re.DOTALL)


def project_of(address: str) -> int:
    """17 of ``label-studio://17``.

    Raises:
        SourceError: it names no project.
    """
    number = address.removeprefix(SCHEME).strip("/")
    if not address.startswith(SCHEME) or not number.isdigit() or not 0 < int(number) < 2**31:
        raise SourceError(
            f"{address!r} names no project; the number stands in its page's address: "
            f"/projects/17/data is {SCHEME}17"
        )
    return int(number)


def uri_of(task: int, address: object) -> str | None:
    """How a task's image is called: by the task's number and the address in its data, as numbers
    of deleted tasks are used again. None where the task has no image."""
    return f"task {task}: {address}" if isinstance(address, str) and address else None


def parts_of(uri: str) -> tuple[int, str]:
    """(task, address). Raises SourceError."""
    match = URI.fullmatch(uri)
    if match is None:
        raise SourceError(f"{uri!r} is no image of a Label Studio project")
    return int(match[1]), match[2]


@dataclass(frozen=True)
class TaskImages:
    """Source over the tasks of a project.

    Attributes:
        url, token: the server and who asks; an empty token: from LABEL_STUDIO_API_KEY.
        project: its number there.
        classes, control: say which of the project's controls is ours, and so which image.
        cache: of what was fetched.
    """

    url: str
    token: str = field(repr=False)
    project: int
    classes: tuple[str, ...] = ()
    control: str = ""
    cache: ImageCache = field(default_factory=lambda: ImageCache(default_folder()), compare=False)
    _passed: list[PassedOver] = field(default_factory=list, repr=False, compare=False)
    _listed: list[set[str]] = field(default_factory=list, repr=False, compare=False)

    def scan(
        self, workers: int = 0, skip: Container[str] = frozenset()
    ) -> Iterator[Image | UnreadableFile]:
        """The image of every task, in the order of the tasks; some are fetched while others are
        decoded.

        Args:
            workers: processes that decode and hash.
            skip: uris that are known already; they are not fetched.

        Raises:
            Mismatch: there is no such project, or its label config shows no image that is read.
            Unreachable, Unauthorized, Rejected: see ``connectors.label_studio.client``.
        """
        uris = self._all_uris()
        self._listed[:] = [set(uris)]
        yield from in_order(examine, self._fetched(uri for uri in uris if uri not in skip), workers)

    @property
    def passed_over(self) -> list[PassedOver]:
        """Tasks without an image; valid once a scan is exhausted."""
        return list(self._passed)

    def read(self, uri: str) -> bytes:
        """Encoded bytes of one image, from the cache where it is kept.

        Raises:
            SourceError: it cannot be had.
            Unreachable, Unauthorized: see ``scan``.
        """
        kept = self.cache.read(self._cached_as(uri))
        if kept is not None:
            return kept
        fetched = self._fetch(uri)
        if fetched.reason:
            raise SourceError(f"cannot read {uri}: {fetched.reason}")
        return fetched.data

    def missing(self, uris: Iterable[str]) -> list[str]:
        """Those whose task has gone, or has another image now. A scan's own listing counts once.
        Raises as ``scan`` does."""
        wanted = list(uris)
        if self._listed:
            there = self._listed.pop()
        elif len(wanted) > LISTED:
            there = set(self._all_uris())
        else:
            there = set(self.tasks_of(wanted))
        return [uri for uri in wanted if uri not in there]

    def shown(self, uri: str) -> str:
        """The page of its task."""
        return f"{self.url}/projects/{self.project}/data?task={parts_of(uri)[0]}"

    def labels(self, keys: Mapping[str, str]) -> Iterator[RemoteAnnotation]:
        """Every annotation of these images (uri -> item key), skips of otherwise unlabelled tasks
        left out. Raises as ``scan`` does."""
        labelled = [Filter("total_annotations", "greater", "Number", "0")]
        for task in list_answered_tasks(self.client, self.project, labelled):
            uri = uri_of(task.id, task.data.get(self.controls.data))
            if uri is None or uri not in keys:
                continue
            for entry in task.annotations:
                yield read_annotation(
                    entry, keys[uri], task.identity, self.controls, self.shown(uri)
                )

    def tasks_of(self, uris: Sequence[str]) -> dict[str, int]:
        """Uri -> task, of those that are there as they are called. Raises as ``scan`` does."""
        tasks: dict[str, int] = {}
        wanted = {uri: parts_of(uri)[0] for uri in uris}
        numbers = sorted(set(wanted.values()))
        for start in range(0, len(numbers), NAMED_AT_ONCE):
            part = [str(number) for number in numbers[start : start + NAMED_AT_ONCE]]
            named = [Filter("id", "in_list", "Number", part)]
            for task in list_tasks(self.client, self.project, named):
                uri = self._uri(task)
                if uri in wanted:
                    tasks[str(uri)] = task.id
        return tasks

    @cached_property
    def client(self) -> Client:
        """Connected at first use."""
        return Client(self.url, self.token or os.environ.get("LABEL_STUDIO_API_KEY", "").strip())

    @cached_property
    def controls(self) -> Controls:
        """Names of the project's label config. Raises as ``scan`` does."""
        answer = self.client.get(f"/api/projects/{self.project}/", answer=ProjectAnswer)
        return config.read(answer.label_config, self.classes, self.control)

    def __reduce__(self) -> Any:
        """Travels to other processes without its token and connections."""
        return TaskImages, (self.url, "", self.project, self.classes, self.control, self.cache)

    @cached_property
    def _pictures(self) -> Pictures:
        return Pictures(self.client)

    def _uri(self, task: ListedTask) -> str | None:
        return uri_of(task.id, task.data.get(self.controls.data))

    def _cached_as(self, uri: str) -> str:
        return f"{self.url} {uri}"

    def _all_uris(self) -> list[str]:
        """Of every task with an image, in their order; counts the others."""
        uris, without = [], []
        for task in list_tasks(self.client, self.project):
            uri = self._uri(task)
            if uri is None:
                without.append(f"task {task.id}")
            else:
                uris.append(uri)
        reason = f"no image in the field {self.controls.data!r}"
        self._passed[:] = [PassedOver(reason, "", len(without), without[0])] if without else []
        return uris

    def _fetched(self, uris: Iterable[str]) -> Iterator[Encoded]:
        """Each image in order, some ahead of who takes them."""
        waiting: deque[Future[Encoded]] = deque()
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            for uri in uris:
                waiting.append(pool.submit(self._fetch, uri))
                if len(waiting) >= AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _fetch(self, uri: str) -> Encoded:
        """An image, kept in the cache; ``reason`` says why it cannot be had."""
        task, address = parts_of(uri)
        try:
            data = self._pictures.read(address, task)
        except (SourceError, Rejected, Mismatch, FailedAt) as error:
            return Encoded(uri, b"", None, "pool", str(error))
        self.cache.write(self._cached_as(uri), data)
        return Encoded(uri, data, None, "pool")


@dataclass(frozen=True)
class ForeignLabels:
    """Labels that people gave to tasks of their own, in a project that was adopted, of images that
    the pool has too: known by their content."""

    tasks: TaskImages

    def labels(self, keys: Mapping[str, str]) -> Iterator[RemoteAnnotation]:
        """Every annotation of these images; ours, which ``pull`` reads, left out. Raises as
        ``TaskImages.scan`` does."""
        tasks, wanted = self.tasks, set(keys.values())
        labelled = [Filter("total_annotations", "greater", "Number", "0")]
        for task in list_answered_tasks(tasks.client, tasks.project, labelled):
            uri = uri_of(task.id, task.data.get(tasks.controls.data))
            if uri is None or key_of(task.data):
                continue
            try:
                key = content_key(tasks.read(uri))
            except SourceError:  # nobody can say which image that is
                continue
            if key in wanted:
                for entry in task.annotations:
                    yield read_annotation(
                        entry, key, task.identity, tasks.controls, tasks.shown(uri)
                    )


def offered_classes(url: str, token: str, project: int, control: str = "") -> list[str]:
    """Names of the choices of a project's label config, without those that only group others.

    Raises:
        Mismatch: several controls could be meant, or see ``TaskImages.scan``.
    """
    answer = Client(url, token).get(f"/api/projects/{project}/", answer=ProjectAnswer)
    controls = config.read(answer.label_config, (), control)
    others = config.names(answer.label_config)
    if not control and len(others) > 1:
        raise Mismatch(
            f"project {project} asks several questions of an image ({', '.join(others)}); say what "
            "the classes are, e.g. --classes cat,dog"
        )
    return [name for name in controls.classes if name in controls.leaves]
