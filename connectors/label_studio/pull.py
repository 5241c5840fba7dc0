"""Pull: annotations of the tasks that changed since a cursor, which is the server's own time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from connectors.base import RemoteAnnotation, Seen
from connectors.label_studio.annotation import identity, read_annotation
from connectors.label_studio.answers import (
    STAMP,
    AnsweredTask,
    ListedTask,
    ProjectAnswer,
    moment,
)
from connectors.label_studio.config import Controls
from connectors.label_studio.project import RemoteProject
from connectors.label_studio.tasks import Filter, key_of, list_answered_tasks

OVERLAP = timedelta(seconds=60)
"""Each incremental pull looks back this far: the server saves task and annotation apart."""


class AnnotationReader:
    """Reads annotations of our projects, and notes what it saw on the way.

    Args:
        key_of: item key of a task; None where it is no image of ours.
        is_copy: whether a task is a further one of its image from before it was sent.

    Attributes:
        cursor: up to when the last reading has seen all changes, by the server's clock; None where
            it saw fewer annotations than the server counts.
        seen: item key -> tasks and annotations of an image, of all that the last reading saw.
        counts: tasks without our key, annotations without a label, labels that are no class.
    """

    def __init__(
        self,
        project: RemoteProject,
        key_of: Callable[[ListedTask], str | None] = lambda task: key_of(task.data),
        is_copy: Callable[[ListedTask], bool] = lambda task: False,
    ) -> None:
        self.project = project
        self._key_of, self._is_copy = key_of, is_copy
        self.cursor: str | None = None
        self.seen: dict[str, Seen] = {}
        self.counts = {"foreign": 0, "empty": 0, "strange": 0}

    def read(self, since: str | None) -> Iterator[RemoteAnnotation]:
        """Every annotation of tasks that changed since the cursor; of all tasks if there is none,
        or one that is later than the server's own time."""
        self.seen = {}
        controls = self.project.controls()
        counted = self._counted()
        began = self.project.client.server_time
        start = _start(since, began)
        newest = start
        listed = 0
        for home in self.project.projects:
            if home != self.project.id:
                controls = self._controls(home)
            for task in list_answered_tasks(self.project.client, home, _changed_since(start)):
                changed = moment(task.updated_at)
                newest = max(newest or changed, changed)
                listed += len(task.annotations)
                yield from self._annotations(task, home, controls)
        lacking = start is None and listed < counted and listed < self._counted()
        self.cursor = _stamp(min(newest, began)) if newest and began and not lacking else None

    def _annotations(
        self, task: AnsweredTask, home: int, controls: Controls
    ) -> Iterator[RemoteAnnotation]:
        key = self._key_of(task)
        if key is None:
            self.counts["foreign"] += 1
            return
        self._note(key, task)
        url = f"{self.project.client.url}/projects/{home}/data?task={task.id}"
        for entry in task.annotations:
            annotation = read_annotation(entry, key, task.identity, controls, url)
            if annotation.label is not None:
                self.counts["strange"] += annotation.label not in controls.classes
            elif not annotation.cancelled and not annotation.problem:
                self.counts["empty"] += 1
            yield annotation

    def _note(self, key: str, task: AnsweredTask) -> None:
        """Adds a task to what was seen of its image."""
        seen = self.seen.get(key, Seen())
        made = moment(task.created_at) if task.created_at else None
        self.seen[key] = Seen(
            annotations=seen.annotations | {identity(entry, key) for entry in task.annotations},
            tasks=seen.tasks if self._is_copy(task) else seen.tasks | {str(task.id)},
            identities=seen.identities | {task.identity},
            since=min(filter(None, (seen.since, made)), default=None),
        )

    def _counted(self) -> int:
        """Annotations that the server counts; its answer tells its time as well."""
        return self.project.progress({}).answers or 0

    def _controls(self, home: int) -> Controls:
        path = f"/api/projects/{home}/"
        answer = self.project.client.get(path, answer=ProjectAnswer)
        return self.project.read_config(answer.label_config)


def _start(since: str | None, began: datetime | None) -> datetime | None:
    """Where to begin; None: at the beginning."""
    if since is None or began is None:
        return None
    start = datetime.strptime(since, STAMP).replace(tzinfo=UTC)
    return start if start <= began else None


def _changed_since(start: datetime | None) -> list[Filter]:
    if start is None:
        return []
    return [Filter("updated_at", "greater", "Datetime", _stamp(start - OVERLAP))]


def _stamp(time: datetime) -> str:
    """The one form of time that the server's filter takes."""
    return time.astimezone(UTC).strftime(STAMP)
