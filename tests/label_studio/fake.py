"""A small Label Studio in memory: its answers are recordings of the real one's (``recorded.json``)
with the projects, tasks and annotations that it was given. ``lie`` may change each on its way."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.label_studio.loopback import Reply, Request, reply

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text(encoding="utf-8"))
START = datetime(2026, 11, 28, 12, tzinfo=UTC)
GONE = reply({"detail": "Not found."}, 404)


def recorded(name: str) -> Any:
    """A copy of what the real server answered."""
    return copy.deepcopy(RECORDED[name])


class FakeStudio:
    """One server.

    Attributes:
        projects, tasks: by id; tasks with their annotations.
        deleted: ids of tasks that somebody asked to delete.
        lie: changes an answer, given what it answers: the name of the recording.
    """

    def __init__(self) -> None:
        self.projects: dict[int, dict[str, Any]] = {}
        self.tasks: dict[int, dict[str, Any]] = {}
        self.files: dict[int, str] = {}
        self.deleted: list[int] = []
        self.now = START
        self.lie: Callable[[str, Any], Any] = lambda name, answer: answer

    def answer(self, request: Request) -> Reply:
        """To be handed to ``loopback``."""
        for method, pattern, name in ROUTES:
            match = re.fullmatch(pattern, request.path)
            if match and method == request.method:
                value = getattr(self, name)(request, *map(int, match.groups()))
                if isinstance(value, Reply):
                    return value
                told = self.lie(name, value)
                return told if isinstance(told, Reply) else reply(told, Date=self._date())
        return reply({"detail": f"no {request.method} {request.path}"}, 404)

    def annotate(self, key: str, label: str) -> None:
        """A person answers."""
        for task in self.tasks.values():
            if task["data"].get("coreloop_key") == key:
                entry = recorded("answered")["tasks"][0]["annotations"][0]
                entry["id"] = 1000 + 10 * task["id"] + len(task["annotations"])
                entry["result"][0]["value"]["choices"] = [label]
                entry["created_at"] = entry["updated_at"] = task["updated_at"] = self._stamp()
                task["annotations"].append(entry)

    def projects_list(self, request: Request) -> Any:
        listed = recorded("projects")
        fields = ("id", "title", "description")
        listed["results"] = [{f: p[f] for f in fields} for p in self.projects.values()]
        return {**listed, "count": len(self.projects)}

    def projects_create(self, request: Request) -> Any:
        id_ = len(self.projects) + 1
        project = {**recorded("project"), **request.json, "id": id_, "created_at": self._stamp()}
        self.projects[id_] = project
        return project

    def project_get(self, request: Request, id_: int) -> Any:
        if id_ not in self.projects:
            return GONE
        tasks = [task for task in self.tasks.values() if task["project"] == id_]
        notes = [note for task in tasks for note in task["annotations"]]
        return {
            **self.projects[id_],
            "task_number": len(tasks),
            "num_tasks_with_annotations": sum(bool(task["annotations"]) for task in tasks),
            "total_annotations_number": sum(not note.get("was_cancelled") for note in notes),
            "skipped_annotations_number": sum(bool(note.get("was_cancelled")) for note in notes),
        }

    def project_patch(self, request: Request, id_: int) -> Any:
        if id_ not in self.projects:
            return GONE
        self.projects[id_].update(request.json)
        return self.projects[id_]

    def project_delete(self, request: Request, id_: int) -> Any:
        del self.projects[id_]
        return Reply(204, b"")

    def validate(self, request: Request, id_: int) -> Any:
        return json.loads(recorded("validate"))

    def imported(self, request: Request, id_: int) -> Any:
        if request.query.get("commit_to_project") == "false":
            return self._upload(request, id_)
        ids = [self._add(id_, task["data"]) for task in request.json]
        count = sum(len(task.get("predictions", [])) for task in request.json)
        answer = {**recorded("import"), "task_ids": ids, "prediction_count": count}
        return {**answer, "task_count": len(ids)}

    def _upload(self, request: Request, project: int) -> Any:
        names = re.findall(rb'filename="([^"]+)"', request.body)
        ids = []
        for name in names:
            id_ = len(self.files) + 1
            self.files[id_] = f"upload/{project}/{id_:08x}-{name.decode()}"
            ids.append(id_)
        return {**recorded("upload"), "file_upload_ids": ids}

    def picture(self, request: Request) -> Any:
        return Reply(200, b"bytes of a picture")

    def uploads(self, request: Request, id_: int) -> Any:
        ids = json.loads(request.query["ids"])
        return [{**recorded("file_uploads")[0], "id": i, "file": self.files[i]} for i in ids]

    def predictions(self, request: Request, id_: int) -> Any:
        return {"created": len(request.json)}

    def model_versions(self, request: Request, id_: int) -> Any:
        return recorded("model_versions")

    def tasks_list(self, request: Request) -> Any:
        tasks = [t for t in self.tasks.values() if str(t["project"]) == request.query["project"]]
        conditions = json.loads(request.query["query"])["filters"]["items"]
        tasks = [task for task in tasks if all(_lets(condition, task) for condition in conditions)]
        name = "answered" if request.query["fields"] == "all" else "tasks"
        fields = request.query["include"].split(",")
        page = [_fields(task, fields) for task in tasks[: int(request.query["page_size"])]]
        return {**recorded(name), "total": len(tasks), "tasks": page}

    def task_get(self, request: Request, id_: int) -> Any:
        if id_ not in self.tasks:
            return GONE
        task = {**recorded("task"), **self.tasks[id_], **_counts(self.tasks[id_])}
        people = [{"user_id": 1}] if task["annotations"] else []
        return {**task, "annotators": [1] if people else [], "updated_by": people}

    def task_delete(self, request: Request, id_: int) -> Any:
        self.deleted.append(id_)
        self.tasks.pop(id_, None)
        return Reply(204, b"")

    def version(self, request: Request) -> Any:
        return recorded("version")

    def _add(self, project: int, data: dict[str, Any]) -> int:
        id_ = max(self.tasks, default=0) + 1
        self.tasks[id_] = {
            "id": id_,
            "project": project,
            "data": data,
            "annotations": [],
            "created_at": self._stamp(),
            "updated_at": self._stamp(),
        }
        return id_

    def _stamp(self) -> str:
        self.now += timedelta(seconds=1)
        return self.now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _date(self) -> str:
        return self.now.strftime("%a, %d %b %Y %H:%M:%S GMT")


def _lets(condition: dict[str, Any], task: dict[str, Any]) -> bool:
    column, value = condition["filter"].removeprefix("filter:tasks:"), condition["value"]
    if column == "id":
        return task["id"] > int(value)
    if column == "updated_at":
        return task["updated_at"] > value
    held = task["data"].get(column.removeprefix("data."))
    return held in value if condition["operator"] == "in_list" else held == value


def _counts(task: dict[str, Any]) -> dict[str, int]:
    skipped = sum(bool(note.get("was_cancelled")) for note in task["annotations"])
    return {
        "total_annotations": len(task["annotations"]) - skipped,
        "cancelled_annotations": skipped,
    }


def _fields(task: dict[str, Any], fields: list[str]) -> dict[str, Any]:
    known = {**task, **_counts(task)}
    return {name: known[name] for name in fields if name in known}


ROUTES = [
    ("GET", r"/api/projects/", "projects_list"),
    ("POST", r"/api/projects/", "projects_create"),
    ("GET", r"/api/projects/(\d+)/", "project_get"),
    ("PATCH", r"/api/projects/(\d+)/", "project_patch"),
    ("DELETE", r"/api/projects/(\d+)/", "project_delete"),
    ("POST", r"/api/projects/(\d+)/validate/", "validate"),
    ("POST", r"/api/projects/(\d+)/import", "imported"),
    ("GET", r"/api/projects/(\d+)/file-uploads", "uploads"),
    ("POST", r"/api/projects/(\d+)/import/predictions", "predictions"),
    ("DELETE", r"/api/projects/(\d+)/model-versions/", "model_versions"),
    ("GET", r"/api/tasks/", "tasks_list"),
    ("GET", r"/api/tasks/(\d+)/", "task_get"),
    ("DELETE", r"/api/tasks/(\d+)/", "task_delete"),
    ("GET", r"/api/version", "version"),
    ("GET", r"/data/.*", "picture"),
]
