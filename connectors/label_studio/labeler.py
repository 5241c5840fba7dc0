"""The Labeler: one project of one server, its tasks known by our keys."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from connectors.base import (
    AskedAgain,
    BatchToLabel,
    ItemToLabel,
    Prediction,
    Progress,
    Rejected,
    RemoteAnnotation,
    RemoteChange,
    Seen,
)
from connectors.label_studio import copies, people, predictions, push
from connectors.label_studio.client import Client
from connectors.label_studio.images import CLOUDS, ByUrl, InBucket, OnDisk, Serving, Uploaded
from connectors.label_studio.project import RemoteProject
from connectors.label_studio.pull import AnnotationReader
from connectors.label_studio.tasks import key_of, list_tasks

LAG = 100.0
"""Label Studio on SQLite waits out a lock in pauses of 3, 6, 12, 24, 48 seconds before it
imports."""
PROJECTS = "projects"
"""Key in ``location``."""


class LabelStudio:
    """See connectors.base.Labeler for the contract.

    Args:
        url, token: server, and a personal access or legacy token.
        title: name of a project that has to be made.
        marker: identity of our project, kept in the project's description.
        read: uri -> bytes, for uploads.
        images: "upload", "local" (below ``local_root``) or "url".
        image_root: folder that uris are relative to, for "local".
        url_base: where the browser finds the images' folder, for "url".
        overlap: different people per image; ``reopen``: whether finished tasks may be opened again
            where it has grown.
        order: "picked" (as pushed), or "uncertain": by the score of the newest predictions, which
            people get who start with "Label All Tasks".
        project_id: an existing project to adopt; its label config must fit.
        control: name of the Choices that are ours, where several offer the classes.
        location: what ``location`` gave earlier.
        batches: uuids of batches that were sent, or may have been.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        title: str,
        marker: str,
        classes: Sequence[str],
        read: Callable[[str], bytes],
        images: str = "upload",
        local_root: str | None = None,
        image_root: Path | None = None,
        url_base: str = "",
        order: str = "picked",
        overlap: int = 1,
        reopen: bool = False,
        project_id: int | None = None,
        control: str = "",
        location: Mapping[str, Any] | None = None,
        batches: Sequence[str] = (),
        attempts: int = 5,
    ) -> None:
        self.client = Client(url, token, attempts=attempts)
        self.project = RemoteProject(
            self.client,
            title=title,
            marker=marker,
            classes=classes,
            overlap=overlap,
            reopen=reopen,
            adopted=project_id,
            projects=(location or {}).get(PROJECTS, []),
            batches=batches,
            control=control,
        )
        self.name = f"label-studio:{marker[:12]}"
        self.lag = LAG
        self.order = order
        self._reader = AnnotationReader(self.project)
        self._serving: Serving = Uploaded(read)
        if images == "local":
            if not local_root or image_root is None:
                raise Rejected("images = 'local' needs local_root under [labeler]")
            self._serving = OnDisk(Path(local_root), image_root)
        elif images == "url":
            bucket = url_base.partition("://")[0] in CLOUDS
            self._serving = InBucket(url_base) if bucket else ByUrl(url_base)

    @property
    def version(self) -> str:
        """Digest of the names in the label config."""
        return self.project.version

    @property
    def location(self) -> Mapping[str, Any]:
        """Ids of the projects that hold our tasks."""
        return {PROJECTS: self.project.projects}

    @property
    def cursor(self) -> str | None:
        """The server's time up to which the last ``pull`` has seen changes."""
        return self._reader.cursor

    @property
    def seen(self) -> Mapping[str, Seen]:
        """Item key -> tasks and annotations of an image, of all that the last ``pull`` saw."""
        return self._reader.seen

    def prepare(self, classes: Sequence[str]) -> None:
        """Finds or makes the project and adds what its label config lacks.

        Raises:
            WouldReopen: ``overlap`` has grown, and finished tasks would be open again.
        """
        self.project.prepare(classes)

    def foretell(
        self, classes: Sequence[str], images: int, guesses: Sequence[Prediction]
    ) -> Sequence[RemoteChange]:
        """What a push would change in the project; asks only."""
        changes = self.project.foretell(classes)
        fresh = changes[0].before is None
        now = None if fresh else self.project.description
        tasks = 0 if now is None else now.task_number or 0
        changes.append(RemoteChange("tasks", tasks, tasks + images))
        if guesses:
            version = max(guess.version for guess in guesses)
            shown = None if now is None else now.model_version or None
            changes.append(RemoteChange("model_version", shown, version))
            changes.append(RemoteChange("predictions of that version", 0, len(guesses)))
            sampling = None if now is None else now.sampling
            if self.order == "uncertain":
                changes.append(RemoteChange("sampling", sampling, "Uncertainty sampling"))
        return changes

    def listed(self) -> Container[str]:
        """Keys of the images that have a task in a project of ours."""
        tasks = (task for id_ in self.project.projects for task in list_tasks(self.client, id_))
        return {key for task in tasks if (key := key_of(task.data))}

    def push(self, batch: BatchToLabel, items: Sequence[ItemToLabel]) -> Mapping[str, str]:
        """One import; what is there of this batch already is not sent again."""
        return push.send(self.project, self._serving, batch, items, self.order)

    def find(self, batch: BatchToLabel) -> Mapping[str, str]:
        """Item key -> id of its task, of this batch."""
        return push.find(self.project, batch)

    def inventory(self, known: Mapping[str, str]) -> Mapping[str, Sequence[str]]:
        """Item key -> ids of its tasks, of every batch."""
        return push.inventory(self.project, known)

    def predict(self, tasks: Mapping[str, str], guesses: Mapping[str, Prediction]) -> None:
        """Shows guesses (by item key) on tasks that are there, in place of earlier ones."""
        predictions.predict(self.project, tasks, guesses, self.order)

    def ask_again(self, tasks: Mapping[str, str]) -> AskedAgain:
        """Opens these tasks to one more person each, and makes a tab of them."""
        return push.ask_again(self.project, tasks)

    def people(self) -> Mapping[str, str]:
        """Annotator -> name, of everybody on the server that may label."""
        return people.names(self.client)

    def untouched(self, tasks: Mapping[str, str]) -> set[str]:
        """Keys of those that nobody has worked on, looked at by their ids."""
        return copies.untouched(self.project, tasks)

    def withdraw(self, tasks: Mapping[str, str]) -> set[str]:
        """Deletes those that nobody has worked on; their keys."""
        return copies.withdraw(self.project, tasks)

    def pull(self, since: str | None) -> Iterator[RemoteAnnotation]:
        """Every annotation of tasks that changed since the cursor."""
        return self._reader.read(since)

    def progress(self) -> Progress:
        """The project's own counters, and what the last pull passed over."""
        return self.project.progress(dict(self._reader.counts))
