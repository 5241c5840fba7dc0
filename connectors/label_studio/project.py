"""The project on the server: found or made, and its label config kept fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connectors.base import Mismatch, Progress, Unknown
from connectors.label_studio import config
from connectors.label_studio.answers import ProjectAnswer
from connectors.label_studio.client import Client
from connectors.label_studio.search import Homes, ProjectSearch


class RemoteProject:
    """One project of one server, looked up when it is first needed.

    Args:
        title: name of a project that has to be made.
        marker: identity of our project, kept in the project's description.
        overlap: different people per image.
        adopted: id of an existing project; its label config must fit.
        projects: ids of the projects as ``projects`` gave them earlier.
        batches: uuids of batches that were sent, or may have been.
    """

    def __init__(
        self,
        client: Client,
        *,
        title: str,
        marker: str,
        classes: Sequence[str],
        overlap: int = 1,
        adopted: int | None = None,
        projects: Sequence[int] = (),
        batches: Sequence[str] = (),
    ) -> None:
        self.client, self.marker = client, marker
        self.classes = list(classes)
        self._title, self._overlap, self._adopted = title, overlap, adopted
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
        return config.digest(self.description.label_config)

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

    def controls(self) -> config.Controls:
        """Names and classes of the project's config. Raises Mismatch if a class is missing."""
        controls = config.read(self.description.label_config)
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
        each image where ``overlap`` has grown."""
        self.classes[:] = classes
        homes = None if self._adopted else self._search.everywhere(self._remembered)
        if homes is None and not self._adopted:
            self._create()
            return
        self._homes = homes
        self._add_classes()
        self._raise_overlap()

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
        settings = {
            "title": (self._title if len(self._title) > 2 else f"{self._title} images")[:50],
            "description": f"made by coreloop, marker {self.marker}",
            "label_config": config.build(self.classes),
            "sampling": "Sequential sampling",
            "maximum_annotations": self._overlap,
            "show_collab_predictions": True,
        }
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

    def _remove_empty(self, project: int, description: Any) -> None:
        """Deletes a twin that was made a moment ago, once it was looked at."""
        twin = self._search.describe(project)
        if twin is not None and twin.description == description and twin.task_number == 0:
            self.client.write("DELETE", f"/api/projects/{project}/")

    def _raise_overlap(self) -> None:
        """The server then opens the tasks that are finished."""
        if (self.description.maximum_annotations or 1) < self._overlap:
            self.change({"maximum_annotations": self._overlap})

    def _add_classes(self) -> None:
        """Adds what the config lacks: at its end as people have made it, or, where a class got
        lost and nobody has answered yet, by a config made anew."""
        label_config = self.description.label_config
        offered = config.read(label_config).classes
        missing = [name for name in self.classes if name not in offered]
        if not missing:
            return
        if self._adopted:
            raise Mismatch(
                f"project {self.id} does not offer {missing}; add these choices to its "
                "label config in Label Studio, or take them out of 'classes'"
            )
        added_at_end = list(offered) + missing == self.classes
        if not added_at_end and self.description.total_annotations_number:
            raise Mismatch(
                f"the label config of project {self.id} lost {missing}, and there are "
                "annotations; put the choices back in Label Studio"
            )
        extended = config.add(label_config, missing)
        wanted = {"label_config": extended if added_at_end else config.build(self.classes)}
        self.client.write("POST", f"{self.path}validate/", wanted)
        self.change(wanted)
