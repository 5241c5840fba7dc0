"""view: the project as it is now, for somebody who looks while other commands work. Reads only,
but for labels that a person clicks, which go into the sheet of the open round."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from connectors.base import SourceError
from db import queries, snapshot
from loop import config as settings
from loop.errors import DataError, LoopError, NotReady
from loop.label_issues import LabelIssue
from loop.near_duplicates import NearDuplicates, near_duplicates
from loop.project import Project, find
from loop.project.evidence import Evidence, gather
from loop.project.gallery import Gallery
from loop.project.gallery import gallery as fill_gallery
from loop.project.pictures import embedding_map
from loop.project.problem import read_scanned
from loop.project.remote import LOCATION
from loop.project.servers import label_studio_url
from loop.project.sheet_tasks import OpenSheets, fill_in, open_sheets
from loop.reports.facts import MapPoint
from loop.steps.labels import Divided, label_issues, labels
from loop.steps.status import Status, status

T = TypeVar("T")
MOST_COMPARED = 50_000
"""Images of which every pair is compared while a person waits."""
THUMBNAIL, PICTURE = 192, 960
"""Pixels of the longer side."""
KEPT_BYTES = 64_000_000
"""Of thumbnails and pictures, the least recently shown thrown away first."""


class NoPicture(DataError):
    """An image cannot be shown; the message says why."""


@dataclass
class _Once:
    """A value that is computed at its first use, by one thread."""

    lock: Lock = field(default_factory=Lock)
    values: list[Any] = field(default_factory=list)


class View:
    """A project that is looked at. What was read is kept until the records or ``coreloop.toml``
    change; each reading is a short session. Any number of threads may ask.

    Args:
        project: found, and closed by ``close``.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._lock = Lock()
        self._files = _versions(project)
        self._stored: tuple[Any, ...] = ()
        self._kept: dict[str, _Once] = {}
        self._pictures: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._pictures_bytes = 0
        self._comparing = Lock()
        self._alike: tuple[object, list[NearDuplicates]] | None = None

    def close(self) -> None:
        """Gives the database's connections back."""
        self._project.close()

    @property
    def config(self) -> settings.Config:
        """``coreloop.toml`` as last read."""
        return self._project.config

    def version(self) -> str:
        """Another text once something changed."""
        with self._lock:
            self._refresh()
            return f"{hash((self._files, self._stored)):x}"

    def evidence(self) -> Evidence:
        """What a report would be made of.

        Raises:
            Missing: the images have not been scanned.
            ConfigError: see ``loop.project.labels.collect``.
        """
        return self._once("evidence", gather)

    def gallery(self) -> Gallery:
        """Every image.

        Raises:
            Missing, ConfigError: see ``evidence``.
        """
        evidence = self.evidence()

        def fill(project: Project) -> Gallery:
            with project.records.read() as session:
                return fill_gallery(session, project, evidence)

        return self._once("gallery", fill)

    def picture(self, key: str, side: int) -> bytes:
        """JPEG of an image, its longer side at most ``side``.

        Raises:
            NoPicture: there is no such image, it has gone, was replaced or cannot be decoded.
        """
        from loop.images import thumbnail

        with self._lock:
            if (kept := self._pictures.get((key, side))) is not None:
                self._pictures.move_to_end((key, side))
                return kept
        shown = self._kept.get("gallery")
        known: Gallery = shown.values[0] if shown and shown.values else self.gallery()
        if key not in known.row_of:
            known = self.gallery()
        if key not in known.row_of:
            raise NoPicture("the project has no such image")
        uri = known.uris[known.row_of[key]]
        try:
            jpeg = thumbnail(read_scanned(self._project.source, uri, key), side, name=uri)
        except (SourceError, LoopError) as error:
            raise NoPicture(str(error)) from None
        self._keep_picture((key, side), jpeg)
        return jpeg

    def label_issues(self) -> list[LabelIssue]:
        """Those of ``coreloop labels --label-issues``. Raises NotReady: too few are labelled."""
        return self._once("label issues", label_issues)

    def divided(self) -> list[Divided]:
        """Images on which people differ. Raises NotReady: nobody has labelled anything."""
        return self._once("divided", lambda project: labels(project).divided)

    def rounds(self) -> Status:
        """What ``coreloop status`` says."""
        return self._once("status", status)

    def map_points(self) -> list[MapPoint]:
        """Picks and a sample of the pool in the plane, as in the report.

        Raises:
            NotReady: the images are not embedded.
        """
        evidence = self.evidence()

        def points(project: Project) -> list[MapPoint]:
            issue_keys = {issue.key for issue in evidence.label_issues}
            return embedding_map(
                _embedded(evidence),
                evidence.pool_rows,
                evidence.classes,
                evidence.chosen,
                evidence.labels.by_row,
                issue_keys,
            )

        return self._once("map", points)

    def near_duplicates(self, cosine: float) -> list[NearDuplicates]:
        """Groups of images with nearly the same embedding.

        Raises:
            NotReady: the images are not embedded, or too many for a page that waits.
        """
        evidence = self.evidence()
        embedded = _embedded(evidence)
        if len(embedded) > MOST_COMPARED:
            raise NotReady(
                f"every pair of {len(embedded)} images would be compared, which takes too long "
                f"for a page; it does so up to {MOST_COMPARED}"
            )
        of = evidence.pool.digest, evidence.config.encoder, cosine
        with self._comparing:  # labels that come in meanwhile change nothing here
            if self._alike is None or self._alike[0] != of:
                self._alike = of, near_duplicates(embedded, cosine)
            return self._alike[1]

    def sheets(self) -> OpenSheets:
        """The open round's sheets as they are now; see ``open_sheets`` for what it raises."""
        with self._lock:
            self._refresh()
        return open_sheets(self._project)

    def fill_in(self, key: str, label: str, before: str) -> None:
        """Writes an answer into its sheet; see ``loop.project.sheet_tasks.fill_in``."""
        with self._lock:
            self._refresh()
        fill_in(self._project, key, label, before)

    def task_address(self, key: str) -> str | None:
        """Where people label an image in Label Studio; of an image of none, or whose project is not
        known, None."""
        evidence = self.evidence()
        projects = evidence.pool.source.get(LOCATION, {}).get("projects", [])
        task = self.gallery().tasks.get(key)
        if task is None or len(projects) != 1:
            return None
        return (
            f"{label_studio_url(self.config.labeler.url)}/projects/{projects[0]}/data?task={task}"
        )

    def _keep_picture(self, name: tuple[str, int], jpeg: bytes) -> None:
        with self._lock:
            if name in self._pictures:
                return
            self._pictures[name] = jpeg
            self._pictures_bytes += len(jpeg)
            while self._pictures_bytes > KEPT_BYTES:
                _, dropped = self._pictures.popitem(last=False)
                self._pictures_bytes -= len(dropped)

    def _once(self, name: str, compute: Callable[[Project], T]) -> T:
        """The value of this name, computed anew where something changed since."""
        with self._lock:
            self._refresh()
            project, once = self._project, self._kept.setdefault(name, _Once())
        with once.lock:
            if not once.values:
                once.values.append(compute(project))
            value: T = once.values[0]
            return value

    def _refresh(self) -> None:
        """Forgets what was read before a change, and opens anew what was replaced."""
        files = _versions(self._project)
        if files != self._files:
            replaced = files.database[:1] != self._files.database[:1]
            if files.config != self._files.config:
                self._project.close()
                self._project = find(self._project.root)
            elif replaced or files.copied:
                self._project.close()
            self._files, self._kept = files, {}
        with self._project.records.read() as session:
            stored = queries.changes(session)
        if stored != self._stored:
            self._stored, self._kept = stored, {}
            self._project.read_config_again()


@dataclass(frozen=True)
class _Versions:
    """Of the files whose change is not seen in the records that are open.

    Attributes:
        database: empty on a server; else inode and, where a copy is read, size and time.
    """

    config: tuple[int, ...]
    database: tuple[int, ...]
    copied: bool


def _embedded(evidence: Evidence) -> NDArray[np.float32]:
    if evidence.embedded is None:
        raise NotReady("the images are not embedded yet; 'coreloop run' does that")
    return evidence.embedded


def _versions(project: Project) -> _Versions:
    config = _version(project.root / settings.FILE)
    file = Path(project.root / "coreloop.db")
    if project.config.project.database or not file.exists():
        return _Versions(config, (), False)
    copied = not snapshot.may_write(file)
    log = file.with_name(f"{file.name}-wal")
    versions = _version(file) + _version(log)
    return _Versions(config, versions if copied else versions[:1], copied)


def _version(path: Path) -> tuple[int, ...]:
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns


def view(project: Project) -> View:
    """The project to look at, its images read once already.

    Raises:
        Missing: the images have not been scanned.
        ConfigError: see ``loop.project.labels.collect``.
    """
    opened = View(project)
    opened.gallery()
    return opened
