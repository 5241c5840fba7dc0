"""Marks: how tasks that were there before are picked. One prediction with an empty result each,
whose model version names the round and the place in it; nothing of the task's data changes, and
nothing is pre-selected by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.base import Unknown
from connectors.label_studio.answers import ModelVersions, PredictionsAnswer
from connectors.label_studio.client import Client
from connectors.label_studio.tasks import Filter, list_tasks

COLUMN = "predictions_model_versions"
"""The Data Manager's column of marks, among other models' versions."""


@dataclass(frozen=True)
class Marking:
    """What the marks of one pool are called on one project.

    Attributes:
        marker: identity of the pool; several may share a project.
    """

    client: Client
    project: int
    marker: str

    def start_of(self, turn: str) -> str:
        """What all marks of a turn begin with: ``coreloop 1a2b3c round 1 place``.

        Args:
            turn: ``round 1``, or ``look again``.
        """
        return f"coreloop {self.marker[:6]} {turn} place"

    def name(self, turn: str, place: int, batch: str, person: str = "") -> str:
        """Model version of one mark; sorted, those of a turn are in the order of their places."""
        ours = f"{self.start_of(turn)} {place:06} {batch[:8]}"
        return f"{ours} {for_person(person)}" if person else ours

    def put(self, marks: Iterable[tuple[int, str]]) -> None:
        """Puts marks, (task, model version) each, on tasks. Raises Unknown: fewer were kept."""
        body: list[dict[str, Any]] = [
            {"task": task, "result": [], "score": 1.0, "model_version": version}
            for task, version in marks
        ]
        if not body:
            return
        path = f"/api/projects/{self.project}/import/predictions"
        kept = self.client.write("POST", path, body, answer=PredictionsAnswer).created
        if kept != len(body):
            raise Unknown(f"the server kept {kept} of {len(body)} marks; repeat the command")

    def tasks(self, text: str) -> dict[int, Any]:
        """Task -> its data, of the tasks with a mark that holds this text."""
        listed = list_tasks(self.client, self.project, [holding(text)])
        return {task.id: task.data for task in listed}

    def names(self, turns: Sequence[str]) -> list[str]:
        """Model versions of all marks of these turns."""
        path = f"/api/projects/{self.project}/model-versions/"
        versions = self.client.get(path, {"extended": "true"}, answer=ModelVersions).static
        starts = tuple(self.start_of(turn) for turn in turns)
        named = [version.model_version or "" for version in versions]
        return [name for name in named if name.startswith(starts)]

    def remove(self, names: Iterable[str]) -> int:
        """Takes marks away, one request each; how many."""
        path, count = f"/api/projects/{self.project}/model-versions/", 0
        for name in names:
            self.client.write("DELETE", path, {"model_version": name})
            count += 1
        return count


def for_person(person: str) -> str:
    """Stands at the end of the mark of what one person is to label."""
    return f"for {person};"


def holding(text: str) -> Filter:
    """Lets through tasks with a mark that holds this text. As a string the server would take it
    letter by letter."""
    return Filter(COLUMN, "contains", "List", [text])
