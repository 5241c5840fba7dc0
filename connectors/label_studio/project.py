"""The project on the server: found or made, and its label config kept fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connectors.base import Mismatch, Progress, RemoteChange, Unknown, WouldReopen
from connectors.label_studio import config
from connectors.label_studio.answers import ProjectAnswer
from connectors.label_studio.client import Client
from connectors.label_studio.search import Homes, ProjectSearch
from connectors.label_studio.tasks import Filter, count_tasks


class RemoteProject:
    """One project of one server, looked up when it is first needed.

    Args:
        title: name of a project that has to be made.
        marker: identity of our project, kept in the project's description.
        overlap: different people per image.
        reopen: whether tasks that are finished may be opened again where ``overlap`` has grown.
        adopted: id of an existing project; its label config must fit.
        projects: ids of the projects as ``projects`` gave them earlier.
        batches: uuids of batches that were sent, or may have been.
        control: name of the Choices that are ours, where several offer the classes.
    """

    def __init__(
        self,
        client: Client,
        *,
        title: str,
        marker: str,
        classes: Sequence[str],
        overlap: int = 1,
        reopen: bool = False,
        adopted: int | None = None,
        projects: Sequence[int] = (),
        batches: Sequence[str] = (),
        control: str = "",
    ) -> None:
        self.client, self.marker, self.control = client, marker, control
        self.classes = list(classes)
        self._title, self._overlap, self._adopted = title, overlap, adopted
        self._reopen = reopen
        self._remembered = list(projects)
        self._search = ProjectSearch(client, marker, self.classes, batches)
        self._homes: Homes | None = None
        self._description: ProjectAnswer | None = None

    @property
    def homes(self) -> Homes:
        """The projects that hold our tasks. Raises Mismatch if there is none."""
        if self._homes is None:
            self._homes = self._look_up()
        if self._homes is None:
            raise Mismatch(
                f"no project with the marker {self.marker} or our tasks on {self.client.url}; was "
                "it deleted? 'coreloop push' makes a new one and sends the open picks again"
            )
        return self._homes

    @property
    def id(self) -> int:
        """The server's number of the one people label in."""
        return self.homes.main

    @property
    def projects(self) -> list[int]:
        """Ids of all that hold our tasks, the one people label in first."""
        return [self.homes.main, *self.homes.twins]

    @property
    def description(self) -> ProjectAnswer:
        """The project as the server describes it."""
        if self._description is None:
            self._description = self.client.get(self.path, answer=ProjectAnswer)
        return self._description

    @property
    def path(self) -> str:
        """Path of the project's own requests."""
        return f"/api/projects/{self.id}/"

    @property
    def url(self) -> str:
        """Where people label."""
        return f"{self.client.url}/projects/{self.id}/data"

    @property
    def version(self) -> str:
        """See connectors.base.Labeler."""
        return config.digest(self.description.label_config, self.classes, self.control)

    def progress(self, extra: dict[str, int]) -> Progress:
        """The projects' own counters, asked anew: one request each."""
        answers = [
            self.client.get(f"/api/projects/{id_}/", answer=ProjectAnswer) for id_ in self.projects
        ]
        self._description = answers[0]
        skipped = sum(answer.skipped_annotations_number or 0 for answer in answers)
        return Progress(
            tasks=sum(answer.task_number or 0 for answer in answers),
            annotated=sum(answer.num_tasks_with_annotations or 0 for answer in answers),
            skipped=skipped,
            answers=skipped + sum(answer.total_annotations_number or 0 for answer in answers),
            url=self.url,
            notes=self._notes(),
            extra=extra,
        )

    def read_config(self, label_config: str) -> config.Controls:
        """See ``config.read``."""
        return config.read(label_config, self.classes, self.control)

    def controls(self) -> config.Controls:
        """Names and classes of the project's config. Raises Mismatch if a class is missing."""
        controls = self.read_config(self.description.label_config)
        missing = [name for name in self.classes if name not in controls.classes]
        if missing and list(controls.classes) + missing == self.classes:
            raise Mismatch(
                f"the label config of project {self.id} does not offer {missing}; "
                "'coreloop push' adds it"
            )
        if missing:
            raise Mismatch(
                f"the label config of project {self.id} does not offer {missing} any more; "
                "put the choices back in Label Studio"
            )
        return controls

    def prepare(self, classes: Sequence[str]) -> None:
        """Finds or makes the project; adds classes that its config lacks, and asks more people of
        each image where ``overlap`` has grown.

        Raises:
            WouldReopen: that would open finished tasks, and ``reopen`` is false.
        """
        if not self._find(classes):
            self._create()
            return
        self._check_reopen()
        if extended := self._extended_config():
            wanted = {"label_config": extended}
            self.client.write("POST", f"{self.path}validate/", wanted)
            self.change(wanted)
        if self._raises_overlap:  # the server then opens the tasks that are finished
            self.change({"maximum_annotations": self._overlap})

    def foretell(self, classes: Sequence[str]) -> list[RemoteChange]:
        """What ``prepare`` would change, and the project's title; changes nothing.

        Raises:
            Mismatch: ``prepare`` would refuse.
        """
        if not self._find(classes):
            settings = self._settings()
            shown = ("title", "label_config", "sampling", "maximum_annotations")
            made = RemoteChange("project", None, f"a new one on {self.client.url}")
            return [made, *(RemoteChange(name, None, settings[name]) for name in shown)]
        now = self.description
        changes = [
            RemoteChange("project", self.url, self.url),
            RemoteChange("title", now.title, now.title),
        ]
        if extended := self._extended_config():
            changes.append(RemoteChange("label_config", now.label_config, extended))
        if self._raises_overlap:
            people = now.maximum_annotations or 1
            changes.append(RemoteChange("maximum_annotations", people, self._overlap))
            changes.append(RemoteChange("finished tasks opened again", 0, self._reopened()))
        return changes

    def _find(self, classes: Sequence[str]) -> bool:
        """Looks everywhere on the server; whether there is a project of ours."""
        self.classes[:] = classes
        if self._adopted:
            self._homes = Homes(self._adopted)
        else:
            self._homes = self._search.everywhere(self._remembered)
        return self._homes is not None

    def change(self, values: dict[str, Any]) -> None:
        """Sets fields of the project."""
        self._description = self.client.write("PATCH", self.path, values, answer=ProjectAnswer)

    def _look_up(self) -> Homes | None:
        if self._adopted:
            return Homes(self._adopted)
        known = self._search.known(self._remembered) if self._remembered else None
        return known or self._search.everywhere(self._remembered)

    def _notes(self) -> tuple[str, ...]:
        """What people should know about the projects on the server."""
        twins = tuple(
            f"project {id_} holds tasks of ours too, and answers in both count; people should "
            f"label at {self.url}"
            for id_ in self.homes.twins
        )
        return twins + self.homes.notes

    def _create(self) -> None:
        """Makes the project. What the server, or something on the way to it, made beside it by
        repeating the request is removed while it is empty."""
        before = self._search.marked()
        settings = self._settings()
        try:
            made = self.client.write("POST", "/api/projects/", settings, answer=ProjectAnswer).id
        except Unknown:
            new = self._search.marked() - before
            if not new:
                raise
            made = min(new)
        for twin in self._search.marked() - before - {made}:
            self._remove_empty(twin, settings["description"])
        self._homes = Homes(made)

    def _settings(self) -> dict[str, Any]:
        """Fields of a project that has to be made."""
        return {
            "title": (self._title if len(self._title) > 2 else f"{self._title} images")[:50],
            "description": f"made by coreloop, marker {self.marker}",
            "label_config": config.build(self.classes),
            "expert_instruction": config.instructions(self.classes),
            "sampling": "Sequential sampling",
            "maximum_annotations": self._overlap,
            "show_collab_predictions": True,
            "skip_queue": "IGNORE_SKIPPED",  # who skips speaks for as many as who labels
        }

    def _remove_empty(self, project: int, description: Any) -> None:
        """Deletes a twin that was made a moment ago, once it was looked at."""
        twin = self._search.describe(project)
        if twin is not None and twin.description == description and twin.task_number == 0:
            self.client.write("DELETE", f"/api/projects/{project}/")

    @property
    def _raises_overlap(self) -> bool:
        return (self.description.maximum_annotations or 1) < self._overlap

    def _check_reopen(self) -> None:
        """Raises WouldReopen if finished tasks would be opened again unasked."""
        if self._reopen or not self._raises_overlap:
            return
        if count := self._reopened():
            before = self.description.maximum_annotations or 1
            tasks = "1 finished task" if count == 1 else f"{count} finished tasks"
            raise WouldReopen(
                count,
                f"overlap = {self._overlap} under [labeler], {before} until now: {tasks} of "
                f"project {self.id} would be open again for one more person each, those of earlier "
                "rounds too; nothing was changed. Type 'coreloop push --reopen' to have that, or "
                f"put overlap = {before} back",
            )

    def _reopened(self) -> int:
        """Tasks that are finished now and would not be with ``overlap`` people each."""
        before = self.description.maximum_annotations or 1
        enough = Filter("total_annotations", "greater_or_equal", "Number", str(before))
        too_few = Filter("total_annotations", "less", "Number", str(self._overlap))
        return sum(count_tasks(self.client, id_, [enough, too_few]) for id_ in self.projects)

    def _extended_config(self) -> str | None:
        """The label config with what it lacks: at its end as people have made it, or, where a class
        got lost and nobody has answered yet, made anew. None: it lacks nothing.

        Raises:
            Mismatch: answers would be lost, or the project is another's.
        """
        label_config = self.description.label_config
        controls = self.read_config(label_config)
        offered = controls.classes
        if controls.several and self._adopted:
            raise Mismatch(
                f"in project {self.id} people may choose several classes of an image; set "
                f'choice="single" at <Choices name="{controls.label}"> in its label config'
            )
        missing = [name for name in self.classes if name not in offered]
        if not missing:
            return None
        if self._adopted:
            raise Mismatch(
                f"project {self.id} does not offer {missing}; add these choices to its "
                "label config in Label Studio, or take them out of 'classes'"
            )
        if list(offered) + missing == self.classes:
            return config.add(label_config, missing, self.classes, self.control)
        if self.description.total_annotations_number:
            raise Mismatch(
                f"the label config of project {self.id} lost {missing}, and there are "
                "annotations; put the choices back in Label Studio"
            )
        return config.build(self.classes, captioned=config.is_captioned(label_config))
