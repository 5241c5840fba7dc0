"""The project on the server: adopted by its id or found by a marker, made, and kept fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connectors.base import Mismatch, Progress, Unknown
from connectors.label_studio import config
from connectors.label_studio.client import Client


class RemoteProject:
    """One project of one server, looked up when it is first needed.

    Args:
        title: name of a project that has to be made.
        marker: identity of our project, kept in the project's description.
        overlap: different people per image.
        adopted: id of an existing project; its label config must fit.
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
    ) -> None:
        self.client, self.marker = client, marker
        self.classes = list(classes)
        self._title, self._overlap, self._adopted = title, overlap, adopted
        self._description: dict[str, Any] | None = None

    @property
    def description(self) -> dict[str, Any]:
        """The project as the server describes it. Raises Mismatch if it has gone."""
        description = self._look_up()
        if description is None:
            raise Mismatch(
                f"no project with the marker {self.marker} on {self.client.url}; was it deleted? "
                "'coreloop push' makes a new one and sends the open picks again"
            )
        return description

    @property
    def id(self) -> int:
        """The server's number of it."""
        return int(self.description["id"])

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
        return config.digest(self.description["label_config"])

    def progress(self, counts: dict[str, int]) -> Progress:
        """The project's own counters, asked anew: one request."""
        now = self.client.get(self.path)
        return Progress(
            tasks=int(now.get("task_number") or 0),
            annotated=int(now.get("num_tasks_with_annotations") or 0),
            skipped=int(now.get("skipped_annotations_number") or 0),
            url=self.url,
            extra=counts,
        )

    def controls(self) -> config.Controls:
        """Names and classes of the project's config. Raises Mismatch if a class is missing."""
        controls = config.read(self.description["label_config"])
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
        self.classes = list(classes)
        description = self._look_up()
        if description is None:
            self._create()
            return
        self._add_classes(description)
        self._raise_overlap(description)

    def change(self, values: dict[str, Any]) -> None:
        """Sets fields of the project."""
        self._description = self.client.write("PATCH", self.path, values)

    def _look_up(self) -> dict[str, Any] | None:
        if self._description is None:
            number = self._adopted or self._find_marked()
            if number is not None:
                self._description = self.client.get(f"/api/projects/{number}/")
        return self._description

    def _find_marked(self) -> int | None:
        """Id of the project whose description holds our marker."""
        page = 1
        while True:
            answer = self.client.get(
                "/api/projects/",
                {"page": page, "page_size": 100, "include": "id,title,description"},
            )
            for listed in answer["results"]:
                if self.marker in str(listed.get("description") or ""):
                    return int(listed["id"])
            if not answer.get("next"):
                return None
            page += 1

    def _create(self) -> None:
        title = (self._title if len(self._title) > 2 else f"{self._title} images")[:50]
        settings = {
            "title": title,
            "description": f"made by coreloop, marker {self.marker}",
            "label_config": config.build(self.classes),
            "sampling": "Sequential sampling",
            "maximum_annotations": self._overlap,
            "show_collab_predictions": True,
        }
        try:
            self._description = self.client.write("POST", "/api/projects/", settings)
        except Unknown:
            if self._look_up() is None:
                raise

    def _raise_overlap(self, description: dict[str, Any]) -> None:
        """The server then opens the tasks that are finished."""
        if int(description.get("maximum_annotations") or 1) < self._overlap:
            self.change({"maximum_annotations": self._overlap})

    def _add_classes(self, description: dict[str, Any]) -> None:
        """Adds what the config lacks: at its end as people have made it, or, where a class got
        lost and nobody has answered yet, by a config made anew."""
        offered = config.read(description["label_config"]).classes
        missing = [name for name in self.classes if name not in offered]
        if not missing:
            return
        if self._adopted:
            raise Mismatch(
                f"project {self.id} does not offer {missing}; add these choices to its "
                "label config in Label Studio, or take them out of 'classes'"
            )
        added_at_end = list(offered) + missing == self.classes
        if not added_at_end and int(description.get("total_annotations_number") or 0):
            raise Mismatch(
                f"the label config of project {self.id} lost {missing}, and there are "
                "annotations; put the choices back in Label Studio"
            )
        extended = config.add(description["label_config"], missing)
        wanted = {"label_config": extended if added_at_end else config.build(self.classes)}
        self.client.write("POST", f"{self.path}validate/", wanted)
        self.change(wanted)
