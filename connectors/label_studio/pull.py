"""Pull: annotations of the tasks that changed since a cursor, which is the server's own time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from connectors.base import Annotation
from connectors.label_studio.config import Controls
from connectors.label_studio.project import RemoteProject
from connectors.label_studio.tasks import KEY, Filter, list_tasks

OVERLAP = timedelta(seconds=60)
"""Each incremental pull looks back this far: the server saves task and annotation apart."""
STAMP = "%Y-%m-%dT%H:%M:%S.%fZ"


class AnnotationReader:
    """Reads annotations of one project, and notes what it saw on the way.

    Attributes:
        cursor: newest change of a task that the last reading saw.
        present: item key -> ids of its annotations, of every task that the last reading saw.
        counts: tasks without our key, annotations without a label, labels that are no class.
    """

    def __init__(self, project: RemoteProject) -> None:
        self.project = project
        self.cursor: str | None = None
        self.present: dict[str, set[str]] = {}
        self.counts = {"foreign": 0, "empty": 0, "strange": 0}

    def read(self, since: str | None) -> Iterator[Annotation]:
        """Every annotation of tasks that changed since the cursor; None: of all."""
        newest = since
        self.present = {}
        controls = self.project.controls()
        for task in list_tasks(self.project, _changed_since(since), annotations=True):
            stamp = _stamp(str(task["updated_at"]))
            newest = max(newest or stamp, stamp)
            key = task["data"].get(KEY)
            if not key:
                self.counts["foreign"] += 1
                continue
            entries = task.get("annotations") or []
            ids = self.present.setdefault(str(key), set())
            ids.update(_identity(entry, str(key)) for entry in entries)
            for entry in entries:
                yield self._annotation(str(key), entry, controls)
        self.cursor = newest

    def _annotation(self, key: str, entry: dict[str, Any], controls: Controls) -> Annotation:
        label = _choice(entry.get("result") or [], controls)
        skipped = bool(entry.get("was_cancelled"))
        if label is None and not skipped:
            self.counts["empty"] += 1
        elif label is not None and label not in controls.classes:
            self.counts["strange"] += 1
        person = entry.get("completed_by")
        if isinstance(person, dict):
            person = person.get("id")
        at = str(entry.get("updated_at") or entry.get("created_at"))
        return Annotation(
            id=_identity(entry, key),
            version=at,
            key=key,
            annotator=f"user {person}",
            label=None if skipped else label,
            seconds=entry.get("lead_time"),
            cancelled=skipped,
            at=datetime.fromisoformat(at.replace("Z", "+00:00")),
        )


def _changed_since(cursor: str | None) -> list[Filter]:
    if not cursor:
        return []
    start = datetime.strptime(cursor, STAMP) - OVERLAP
    return [Filter("updated_at", "greater", "Datetime", start.strftime(STAMP))]


def _identity(entry: dict[str, Any], key: str) -> str:
    """``<annotation id>@<key>``: a server set up anew counts from 1 again, on other images."""
    return f"{entry['id']}@{key[:12]}"


def _choice(result: list[dict[str, Any]], controls: Controls) -> str | None:
    for region in result:
        if region.get("type") == "choices" and region.get("from_name") == controls.label:
            chosen = (region.get("value") or {}).get("choices") or []
            return str(chosen[0]) if chosen else None
    return None


def _stamp(text: str) -> str:
    """The one form of time that the server's filter takes."""
    if not re.search(r"\.\d+", text):
        text = text.replace("Z", ".000000Z")
    return datetime.strptime(text, STAMP).strftime(STAMP)
