"""Which projects of a server are ours: by their id, by the batches of their tasks, and at first by
a marker in their description, which anybody may edit, copy or paste elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connectors.base import Mismatch, Unreachable
from connectors.label_studio import config
from connectors.label_studio.answers import ListedProject, ProjectAnswer, ProjectPage, moment
from connectors.label_studio.client import Client
from connectors.label_studio.tasks import BATCH, Filter, count_tasks, key_of, list_tasks

MOST_PAGES = 1000
"""Pages of a hundred projects each."""


@dataclass(frozen=True)
class Homes:
    """Projects that hold our tasks: the one people label in, and twins that a repeated creation
    made, whose answers count as well. ``notes`` tell people of the others."""

    main: int
    twins: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProjectSearch:
    """Looks for the projects of one pool.

    Attributes:
        marker: what the description of a project made by us holds.
        classes: what the label config of our project offers.
        batches: uuids of batches that were sent, or may have been.
    """

    client: Client
    marker: str
    classes: Sequence[str]
    batches: Sequence[str]

    def known(self, projects: Sequence[int]) -> Homes | None:
        """The projects remembered, as far as they are ours; None if the first is not."""
        ours = [id_ for id_ in projects if self._is_ours(id_)]
        if not ours or ours[0] != projects[0]:
            return None
        return Homes(ours[0], tuple(ours[1:]))

    def everywhere(self, projects: Sequence[int]) -> Homes | None:
        """Our projects among all of the server; None if there is none. One that was remembered
        stays the one people label in."""
        listed = self.list_all()
        marked = [project.id for project in listed if self._is_marked(project)]
        known = self.known(projects)
        remembered = [known.main, *known.twins] if known else []
        holders = [id_ for id_ in dict.fromkeys([*remembered, *marked]) if self.holds(id_)]
        if not remembered and self._misses_batches(holders):
            holders = [project.id for project in listed if self.holds(project.id)]
        empty = [id_ for id_ in marked if id_ not in holders and self._is_empty(id_)]
        candidates = remembered[:1] or sorted(holders)[:1] or sorted(empty)[:1]
        if not candidates:
            return None
        main = candidates[0]
        twins = [id_ for id_ in holders if id_ != main and self._is_twin(id_, main)]
        copies = [id_ for id_ in holders if id_ != main and id_ not in twins]
        empty = [id_ for id_ in empty if id_ != main]
        return Homes(main, tuple(twins), (*self._copies(copies), *self._empty(empty)))

    def list_all(self) -> list[ListedProject]:
        """Every project that the token may see."""
        listed: dict[int, ListedProject] = {}
        for page in range(1, MOST_PAGES + 1):
            params = {"page": page, "page_size": 100, "include": "id,title,description"}
            answer = self.client.get("/api/projects/", params, answer=ProjectPage)
            new = {project.id: project for project in answer.results if project.id not in listed}
            listed |= new
            if not answer.next:
                return list(listed.values())
            if not new:
                break
        raise Unreachable(f"{self.client.url} lists its projects without an end")

    def marked(self) -> set[int]:
        """Ids of the projects whose description holds our marker."""
        return {project.id for project in self.list_all() if self._is_marked(project)}

    def describe(self, project: int) -> ProjectAnswer | None:
        """A project as it is now; None if it has gone."""
        try:
            return self.client.get(f"/api/projects/{project}/", answer=ProjectAnswer)
        except Mismatch:
            return None

    def holds(self, project: int) -> bool:
        """Whether a project has tasks of our batches; before the first batch is known (records
        restored from an early backup) whether it has tasks with a key."""
        if self.batches:
            ours = Filter(f"data.{BATCH}", "in_list", "String", list(self.batches))
            return count_tasks(self.client, project, [ours]) > 0
        return any(key_of(task.data) for task in list_tasks(self.client, project))

    def _is_marked(self, project: ListedProject | ProjectAnswer) -> bool:
        return self.marker in (project.description or "")

    def _is_ours(self, project: int) -> bool:
        description = self.describe(project)
        if description is None:
            return False
        fits = not description.task_number and self._offers_classes(description)
        return self._is_marked(description) or fits or self.holds(project)

    def _is_empty(self, project: int) -> bool:
        description = self.describe(project)
        return description is not None and not description.task_number

    def _offers_classes(self, description: ProjectAnswer) -> bool:
        try:
            offered = config.read(description.label_config, self.classes).classes
        except Mismatch:
            return False
        return set(self.classes) <= set(offered)

    def _misses_batches(self, projects: Sequence[int]) -> bool:
        """Whether a batch is in none of these projects."""
        return any(
            not any(self._has_batch(project, batch) for project in projects)
            for batch in self.batches
        )

    def _has_batch(self, project: int, batch: str) -> bool:
        return count_tasks(self.client, project, [of_batch(batch)]) > 0

    def _is_twin(self, project: int, main: int) -> bool:
        """Whether it came about by a repeated creation, before there were tasks to copy, or has a
        batch of its own; a person's copy has neither."""
        if any(
            self._has_batch(project, batch) and not self._has_batch(main, batch)
            for batch in self.batches
        ):
            return True
        description = self.describe(project)
        first = next(iter(list_tasks(self.client, main)), None)
        if description is None or description.created_at is None:
            return False
        if first is None or first.created_at is None:
            return False
        return moment(description.created_at) < moment(first.created_at)

    def _copies(self, projects: Sequence[int]) -> list[str]:
        return [
            f"project {id_} is a copy that somebody made; its answers are not read"
            for id_ in projects
        ]

    def _empty(self, projects: Sequence[int]) -> list[str]:
        return [
            f"project {id_} has our marker and no task; delete it in Label Studio"
            for id_ in projects
        ]


def of_batch(batch: str) -> Filter:
    """Lets through the tasks of one batch."""
    return Filter(f"data.{BATCH}", "equal", "String", batch)
