"""The Labeler of a project that is the pool itself: picks are no new tasks, but marks on those that
are there, and people get them by the link of a tab."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from connectors.base import (
    AskedAgain,
    BatchToLabel,
    Cleaned,
    ItemToLabel,
    Prediction,
    Progress,
    RemoteAnnotation,
    RemoteChange,
    Seen,
)
from connectors.label_studio import people
from connectors.label_studio.answers import ListedTask
from connectors.label_studio.look_again import look_again
from connectors.label_studio.marks import Marking, for_person
from connectors.label_studio.project import RemoteProject
from connectors.label_studio.pull import AnnotationReader
from connectors.label_studio.tabs import Tabs
from connectors.label_studio.task_images import TaskImages, uri_of
from connectors.label_studio.tasks import get_task

LAG = 100.0
"""As for imports: see ``connectors.label_studio.labeler``."""
TABS = "tabs"
"""Key in ``location``: turn -> number of its tab."""


class PoolLabeler:
    """See connectors.base.Labeler for the contract.

    Args:
        images: the project's tasks as the pool.
        marker: identity of the pool.
        keys: uri -> item key of all images, asked when it is first needed.
        round_number: the round whose tab people are sent to.
        overlap: different people per picked image.
        assigned: people that picks are dealt to; none: everybody gets all.
        location: what ``location`` gave earlier.
    """

    def __init__(
        self,
        images: TaskImages,
        *,
        marker: str,
        keys: Callable[[], Mapping[str, str]],
        round_number: int,
        overlap: int = 1,
        assigned: Sequence[str] = (),
        location: Mapping[str, Any] | None = None,
    ) -> None:
        self.images, self.client = images, images.client
        self.project = RemoteProject(
            self.client,
            title="",
            marker=marker,
            classes=images.classes,
            adopted=images.project,
            control=images.control,
        )
        self.name = f"label-studio:{marker[:12]}"
        self.lag = LAG
        self._marking = Marking(self.client, images.project, marker)
        self._tabs = Tabs(self.client, images.project)
        self._keys_of_uris = keys
        self._turn = f"round {round_number}"
        self._overlap, self._assigned = overlap, list(assigned)
        self._known_tabs: dict[str, int] = dict((location or {}).get(TABS, {}))
        self._reader = AnnotationReader(self.project, self._key_of, self._is_copy)

    @property
    def version(self) -> str:
        """Digest of the names in the label config."""
        return self.project.version

    @property
    def location(self) -> Mapping[str, Any]:
        """The project, and its tabs that are ours."""
        return {"projects": [self.images.project], TABS: self._known_tabs}

    @property
    def cursor(self) -> str | None:
        """See ``LabelStudio.cursor``."""
        return self._reader.cursor

    @property
    def seen(self) -> Mapping[str, Seen]:
        """See ``LabelStudio.seen``."""
        return self._reader.seen

    def prepare(self, classes: Sequence[str]) -> None:
        """Looks whether the project's label config fits; changes nothing.

        Raises:
            Mismatch: it does not.
        """
        self.project.prepare(classes)

    def foretell(
        self, classes: Sequence[str], images: int, guesses: Sequence[Prediction]
    ) -> Sequence[RemoteChange]:
        """What a push would change in the project; asks only."""
        changes = self.project.foretell(classes)
        now = self.project.description
        marked = len(self._marking.tasks(self._marking.start_of(self._turn)))
        changes.append(RemoteChange("tasks", now.task_number, now.task_number))
        changes.append(RemoteChange("model_version", now.model_version, now.model_version))
        changes.append(RemoteChange(f"marks of {self._turn}", marked, marked + images))
        if self._overlap > self._people_there:
            what = f"people per task, of {images} picked ones"
            changes.append(RemoteChange(what, self._people_there, self._overlap))
        listed = self._tabs.list()
        if not listed:
            changes.append(RemoteChange("tab Default", None, "all tasks"))
        for _, title, texts in self._tabs_of(self._turn):
            there = any(tab.texts == texts for tab in listed)
            shown = f"tab {title}"
            changes.append(RemoteChange(shown, title if there else None, title))
        return changes

    def listed(self) -> Container[str]:
        """Keys of the images that have a task in the project."""
        keys = self._keys
        there = set(keys) - set(self.images.missing(list(keys)))
        return {keys[uri] for uri in there}

    def push(self, batch: BatchToLabel, items: Sequence[ItemToLabel]) -> Mapping[str, str]:
        """Makes the round's tab and marks the tasks of these items; what is marked already is not
        marked again. An item whose task has gone is left out. Marks come last: where they are,
        everything else was done."""
        turn = f"round {batch.round}"
        marked = {} if batch.fresh else dict(self.find(batch))
        missing = [item for item in items if item.key not in marked]
        tasks = self.images.tasks_of([item.uri for item in missing])
        wanted = [(item, tasks[item.uri]) for item in missing if item.uri in tasks]
        for name, title, texts in self._tabs_of(turn):
            self._known_tabs[name] = self._tabs.ensure(title, texts)
        if self._overlap > self._people_there:
            for _, task in wanted:
                self.client.write("PATCH", f"/api/tasks/{task}/", {"overlap": self._overlap})
        self._marking.put(
            (task, self._marking.name(turn, item.place, batch.uuid, person))
            for item, task in wanted
            for person in self._dealt_to(item.place)
        )
        return marked | {item.key: str(task) for item, task in wanted}

    def find(self, batch: BatchToLabel) -> Mapping[str, str]:
        """Item key -> task, of those with a mark of this batch."""
        return {
            key: str(task)
            for task, data in self._marking.tasks(batch.uuid[:8]).items()
            if (key := self._key(task, data)) is not None
        }

    def inventory(self, known: Mapping[str, str]) -> Mapping[str, Sequence[str]]:
        """Item key -> its task, of the known ones that are there as they were scanned."""
        uris = {uri: key for uri, key in self._keys.items() if key in known}
        tasks = self.images.tasks_of(list(uris))
        there = {(uris[uri], str(task)) for uri, task in tasks.items()}
        return {key: [id_] for key, id_ in known.items() if (key, id_) in there}

    def ask_again(self, tasks: Mapping[str, str]) -> AskedAgain:
        """Opens these tasks to one more person each, and makes a tab of them."""
        return look_again(self._marking, self._ours(tasks))

    def tasks_of(self, keys: Sequence[str]) -> Mapping[str, str]:
        """Item key -> task, of those of these images that are there."""
        wanted = set(keys)
        uris = {uri: key for uri, key in self._keys.items() if key in wanted}
        return {uris[uri]: str(task) for uri, task in self.images.tasks_of(list(uris)).items()}

    def people(self) -> Mapping[str, str]:
        """Annotator -> name, of everybody on the server that may label."""
        return people.names(self.client)

    def untouched(self, tasks: Mapping[str, str]) -> set[str]:
        """Keys of those that nobody has worked on; of one that has gone too."""
        keys = set()
        for key, id_ in tasks.items():
            task = get_task(self.client, id_)
            if task is None or self._key(task.id, task.data) != key or task.is_untouched:
                keys.add(key)
        return keys

    def withdraw(self, tasks: Mapping[str, str]) -> set[str]:
        """Takes the marks of those away that nobody has worked on; the tasks stay. Their keys."""
        keys = self.untouched(tasks)
        wanted = {int(tasks[key]) for key in keys}
        for name in self._marking.names([self._turn]):
            if wanted & self._marking.tasks(name).keys():
                self._marking.remove([name])
        return keys

    def clean(self, rounds: Sequence[int]) -> Cleaned:
        """Takes the marks and tabs of these rounds away; answers stay."""
        turns = [f"round {number}" for number in rounds]
        starts = tuple(self._marking.start_of(turn) for turn in turns)
        tabs = [tab for tab in self._tabs.list() if tab.texts and tab.texts[0] in starts]
        for tab in tabs:
            self._tabs.remove(tab)
        marks = self._marking.remove(self._marking.names(turns)) if turns else 0
        gone = {tab.id for tab in tabs}
        self._known_tabs = {t: id_ for t, id_ in self._known_tabs.items() if id_ not in gone}
        return Cleaned(marks, len(tabs))

    def pull(self, since: str | None) -> Iterator[RemoteAnnotation]:
        """Every annotation of tasks that changed since the cursor."""
        return self._reader.read(since)

    def progress(self) -> Progress:
        """The project's own counters, and what people should know."""
        counted = self.project.progress(dict(self._reader.counts))
        self._recall_tabs()
        return Progress(
            tasks=None,
            annotated=counted.annotated,
            skipped=counted.skipped,
            answers=counted.answers,
            url=self.url,
            notes=self._links(),
            extra=counted.extra,
        )

    @property
    def url(self) -> str:
        """Where people label the picks of the round."""
        tab = self._known_tabs.get(self._turn)
        return self.project.url if tab is None else self._tabs.url(tab)

    def _links(self) -> tuple[str, ...]:
        """The link of each person that picks are dealt to. This edition assigns nothing: whoever
        opens a link labels what is behind it."""
        tabs = {
            who: self._known_tabs.get(f"{self._turn} {for_person(who)}") for who in self._assigned
        }
        return tuple(
            f"{who} labels at {self._tabs.url(tab)} (the link is the assignment)"
            for who, tab in tabs.items()
            if tab is not None
        )

    def _recall_tabs(self) -> None:
        """Looks for tabs of the round whose making was recorded nowhere."""
        wanted = {texts: name for name, _, texts in self._tabs_of(self._turn)}
        if self._known_tabs.keys() >= set(wanted.values()):
            return
        for tab in self._tabs.list():
            if tab.texts in wanted:
                self._known_tabs.setdefault(wanted[tab.texts], tab.id)

    def _tabs_of(self, turn: str) -> list[tuple[str, str, tuple[str, ...]]]:
        """(name, title, what the marks of its tasks hold): of all picks, and of each person's."""
        start, title = self._marking.start_of(turn), turn.capitalize()
        return [(turn, title, (start,))] + [
            (f"{turn} {for_person(who)}", f"{title}, {who}", (start, for_person(who)))
            for who in self._assigned
        ]

    def _dealt_to(self, place: int) -> list[str]:
        """People who label the pick at a place: as many as asked for, in turn, so that each gets
        as many picks as the others; nobody by name where everybody gets all."""
        count = len(self._assigned)
        if not count:
            return [""]
        several = min(self._overlap, count)
        return [self._assigned[(place * several + i) % count] for i in range(several)]

    def _ours(self, tasks: Mapping[str, str]) -> list[int]:
        """Numbers of those of these tasks (item key -> task) that are still that image's."""
        uris = {uri: key for uri, key in self._keys.items() if key in tasks}
        there = self.images.tasks_of(list(uris))
        return sorted(task for uri, task in there.items() if tasks[uris[uri]] == str(task))

    @property
    def _people_there(self) -> int:
        return self.project.description.maximum_annotations or 1

    @cached_property
    def _keys(self) -> Mapping[str, str]:
        return self._keys_of_uris()

    @cached_property
    def _field(self) -> str:
        return self.project.controls().data

    def _key(self, task: int, data: Mapping[str, Any]) -> str | None:
        uri = uri_of(task, data.get(self._field))
        return None if uri is None else self._keys.get(uri)

    def _key_of(self, task: ListedTask) -> str | None:
        return self._key(task.id, task.data)

    @cached_property
    def _first_uris(self) -> set[str]:
        """Of several tasks with the same image, the one that the records name it by."""
        first: dict[str, str] = {}
        for uri, key in self._keys.items():
            first[key] = uri  # images stand after their copies
        return set(first.values())

    def _is_copy(self, task: ListedTask) -> bool:
        return uri_of(task.id, task.data.get(self._field)) not in self._first_uris
