"""The Labeler: one project of one server, found by a marker, its tasks known by our keys."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from connectors.base import (
    Annotation,
    Batch,
    Item,
    Mismatch,
    Prediction,
    Progress,
    Rejected,
    Unknown,
)
from connectors.label_studio import config
from connectors.label_studio.client import Client
from connectors.label_studio.images import ByUrl, OnDisk, Serving, Uploaded

KEY, BATCH = "coreloop_key", "coreloop_batch"
"""Our fields in task.data. They tell nothing of label or split: annotators can look them up."""
PAGE = 500
OVERLAP = timedelta(seconds=60)
"""Each incremental pull looks back this far: the server saves task and annotation apart."""
LAG = 20.0
"""Label Studio on SQLite waits out a lock in pauses of 3, 6, 12 seconds before it imports."""
STAMP = "%Y-%m-%dT%H:%M:%S.%fZ"


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
        overlap: different people per image.
        order: "picked" (as pushed), or "uncertain": by the score of the newest predictions, which
            people get who start with "Label All Tasks".
        project_id: an existing project to adopt; its label config must fit.
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
        project_id: int | None = None,
        attempts: int = 5,
    ) -> None:
        self.client = Client(url, token, attempts=attempts)
        self.title, self.marker, self.overlap, self.order = title, marker, overlap, order
        self.classes, self._adopted = list(classes), project_id
        self.name = f"label-studio:{marker[:12]}"
        self.lag = LAG
        self.cursor: str | None = None
        self.present: dict[str, set[str]] = {}
        self.counts = {"foreign": 0, "empty": 0, "strange": 0}
        self._project: dict[str, Any] | None = None
        self._serving: Serving = Uploaded(read)
        if images == "local":
            if not local_root or image_root is None:
                raise Rejected("images = 'local' needs local_root under [labeler]")
            self._serving = OnDisk(Path(local_root), image_root)
        elif images == "url":
            self._serving = ByUrl(url_base)

    # project

    def prepare(self, classes: Sequence[str]) -> None:
        """Finds or makes the project; adds classes that its config lacks, and asks more people of
        each image where ``overlap`` has grown."""
        self.classes = list(classes)
        project = self._find_project()
        if project is None:
            self._create()
        else:
            self._fit(project)

    def _find_project(self) -> dict[str, Any] | None:
        if self._project is not None:
            return self._project
        if self._adopted:
            self._project = self.client.get(f"/api/projects/{self._adopted}/")
            return self._project
        page = 1
        while True:
            answer = self.client.get(
                "/api/projects/",
                {"page": page, "page_size": 100, "include": "id,title,description"},
            )
            for one in answer["results"]:
                if self.marker in str(one.get("description") or ""):
                    self._project = self.client.get(f"/api/projects/{one['id']}/")
                    return self._project
            if not answer.get("next"):
                return None
            page += 1

    def _create(self) -> None:
        title = (self.title if len(self.title) > 2 else f"{self.title} images")[:50]
        try:
            self._project = self.client.write(
                "POST",
                "/api/projects/",
                {
                    "title": title,
                    "description": f"made by coreloop, marker {self.marker}",
                    "label_config": config.build(self.classes),
                    "sampling": "Sequential sampling",
                    "maximum_annotations": self.overlap,
                    "show_collab_predictions": True,
                },
            )
        except Unknown:
            if self._find_project() is None:
                raise

    def _fit(self, project: dict[str, Any]) -> None:
        has = config.read(project["label_config"])
        missing = [name for name in self.classes if name not in has.classes]
        if missing and self._adopted:
            raise Mismatch(
                f"project {project['id']} does not offer {missing}; add these choices to its "
                "label config in Label Studio, or take them out of 'classes'"
            )
        path = f"/api/projects/{project['id']}/"
        asked = int(project.get("maximum_annotations") or 1)
        if asked < self.overlap:  # the server opens the tasks that are finished
            more = {"maximum_annotations": self.overlap}
            self._project = self.client.write("PATCH", path, more)
        new = list(has.classes) + missing == self.classes
        if missing and not new and int(project.get("total_annotations_number") or 0):
            raise Mismatch(
                f"the label config of project {project['id']} lost {missing}, and there are "
                "annotations; put the choices back in Label Studio"
            )
        if missing:
            whole = config.add(project["label_config"], missing)
            wanted = {"label_config": whole if new else config.build(self.classes)}
            self.client.write("POST", path + "validate/", wanted)
            self._project = self.client.write("PATCH", path, wanted)

    @property
    def project(self) -> dict[str, Any]:
        """The project as the server describes it. Raises Mismatch if it has gone."""
        found = self._find_project()
        if found is None:
            raise Mismatch(
                f"no project with the marker {self.marker} on {self.client.url}; was it deleted? "
                "'coreloop push' makes a new one and sends the open picks again"
            )
        return found

    @property
    def url(self) -> str:
        """Where people label."""
        return f"{self.client.url}/projects/{self.project['id']}/data"

    @property
    def version(self) -> str:
        """See connectors.base.Labeler."""
        return config.digest(self.project["label_config"])

    def controls(self) -> config.Controls:
        """Names and classes of the project's config. Raises Mismatch if a class is missing."""
        controls = config.read(self.project["label_config"])
        gone = [name for name in self.classes if name not in controls.classes]
        if gone and list(controls.classes) + gone == self.classes:
            raise Mismatch(
                f"the label config of project {self.project['id']} does not offer {gone}; "
                "'coreloop push' adds it"
            )
        if gone:
            raise Mismatch(
                f"the label config of project {self.project['id']} does not offer {gone} any more; "
                "put the choices back in Label Studio"
            )
        return controls

    # push

    def push(self, batch: Batch, items: Sequence[Item]) -> Mapping[str, str]:
        """One import; what is there of this batch already is not sent again."""
        there = {} if batch.fresh else dict(self.find(batch))
        wanted = [item for item in items if item.key not in there]
        if not wanted:
            return there
        controls, project = self.controls(), self.project["id"]
        addresses = self._serving.addresses(self.client, project, wanted)
        tasks = [
            self._task(item, address, batch, controls)
            for item, address in zip(wanted, addresses, strict=True)
        ]
        answer = self.client.write(
            "POST", f"/api/projects/{project}/import", tasks, params={"return_task_ids": "true"}
        )
        ids = (answer or {}).get("task_ids") or []
        if len(ids) == len(tasks):
            there.update({item.key: str(i) for item, i in zip(wanted, ids, strict=True)})
        else:  # an asynchronous server answers with an import id
            there = dict(self.find(batch))
            if len(there) < len(items):
                raise Unknown("the server is still importing; repeat the command in a while")
        guesses = {i.key: i.prediction for i in wanted if i.prediction}
        if guesses and (answer or {}).get("prediction_count", len(guesses)) != len(guesses):
            self.predict(there, guesses)
        elif guesses:
            self._show_predictions({guess.version for guess in guesses.values()})
        return there

    def predict(self, tasks: Mapping[str, str], guesses: Mapping[str, Prediction]) -> None:
        """Shows these guesses (by item key) on tasks that are there, and no others of their
        versions: what the server has of them is replaced, so that repeating it adds nothing.

        Raises:
            Mismatch: a guess names no class of the label config.
            Unknown: the server stored fewer; the same call puts it right.
        """
        controls, path = self.controls(), f"/api/projects/{self.project['id']}/"
        wanted = [
            {"task": int(tasks[key]), **_prediction(guess, controls)}
            for key, guess in guesses.items()
            if key in tasks
        ]
        versions = {guess.version for guess in guesses.values()}
        for version in versions:
            self.client.write("DELETE", path + "model-versions/", {"model_version": version})
        answer = self.client.write("POST", path + "import/predictions", wanted)
        if int((answer or {}).get("created", 0)) != len(wanted):
            raise Unknown(f"the server kept {answer} of {len(wanted)} predictions; repeat it")
        self._show_predictions(versions)

    def _task(
        self, item: Item, address: str, batch: Batch, controls: config.Controls
    ) -> dict[str, Any]:
        task: dict[str, Any] = {"data": {controls.data: address, KEY: item.key, BATCH: batch.uuid}}
        if item.prediction is not None:
            task["predictions"] = [_prediction(item.prediction, controls)]
        return task

    def _show_predictions(self, versions: set[str]) -> None:
        """The server keeps showing the first version it ever got; this names the newest."""
        values = {"model_version": max(versions), "show_collab_predictions": True}
        if self.order == "uncertain":
            values["sampling"] = "Uncertainty sampling"
        self.client.write("PATCH", f"/api/projects/{self.project['id']}/", values)

    def find(self, batch: Batch) -> Mapping[str, str]:
        """What is there of a batch. Of copies (somebody imported twice) those that people have
        labelled stay, or else the lowest id."""
        kept = self._unique(self.tasks([("data." + BATCH, "equal", "String", batch.uuid)]))
        return {key: str(ids[0]) for key, ids in kept.items()}

    def inventory(self) -> Mapping[str, Sequence[str]]:
        """Task ids by item key, of one scan of the whole project; copies removed as by ``find``."""
        return {key: [str(i) for i in ids] for key, ids in self._unique(self.tasks()).items()}

    def _unique(self, tasks: Iterable[dict[str, Any]]) -> dict[str, list[int]]:
        """Item key -> ids of its tasks, once copies that nobody labelled are gone."""
        found: dict[str, list[tuple[bool, int]]] = {}
        for task in tasks:
            if key := task["data"].get(KEY):
                said = task.get("total_annotations") or task.get("cancelled_annotations")
                found.setdefault(str(key), []).append((not said, int(task["id"])))
        kept: dict[str, list[int]] = {}
        copies: list[int] = []
        for key, mine in found.items():
            mine.sort()
            kept[key] = [id_ for i, (blank, id_) in enumerate(mine) if i == 0 or not blank]
            copies += [id_ for i, (blank, id_) in enumerate(mine) if i and blank]
        if copies:
            self.client.write(
                "POST",
                "/api/dm/actions/",
                {"selectedItems": {"all": False, "included": copies}},
                params={"id": "delete_tasks", "project": self.project["id"]},
            )
        return kept

    def ask_again(self, tasks: Mapping[str, str]) -> int:
        """Opens these tasks (item key -> id) to one more person than have labelled them; people
        who have are not asked twice. Returns how many were opened."""
        opened = 0
        for key, id_ in tasks.items():
            try:
                task = self.client.get(f"/api/tasks/{id_}/")
            except Mismatch:  # somebody deleted it
                continue
            if task["data"].get(KEY) == key:
                people = int(task.get("total_annotations") or 0) + 1
                wanted = {"overlap": people, "is_labeled": False}
                self.client.write("PATCH", f"/api/tasks/{id_}/", wanted)
                opened += 1
        return opened

    # pull

    def pull(self, since: str | None) -> Iterator[Annotation]:
        """Every annotation of tasks that changed since the cursor (server time)."""
        filters = []
        newest = since
        self.present = {}
        if since:
            start = datetime.strptime(since, STAMP) - OVERLAP
            filters.append(("updated_at", "greater", "Datetime", start.strftime(STAMP)))
        controls = self.controls()
        for task in self.tasks(filters, annotations=True):
            stamp = _stamp(str(task["updated_at"]))
            newest = max(newest or stamp, stamp)
            key = task["data"].get(KEY)
            if not key:
                self.counts["foreign"] += 1
                continue
            notes = task.get("annotations") or []
            self.present.setdefault(str(key), set()).update(_identity(n, str(key)) for n in notes)
            for note in notes:
                yield self._annotation(str(key), note, controls)
        self.cursor = newest

    def _annotation(self, key: str, note: dict[str, Any], controls: config.Controls) -> Annotation:
        label = _choice(note.get("result") or [], controls)
        skipped = bool(note.get("was_cancelled"))
        if label is None and not skipped:
            self.counts["empty"] += 1
        elif label is not None and label not in controls.classes:
            self.counts["strange"] += 1
        who = note.get("completed_by")
        who = who.get("id") if isinstance(who, dict) else who
        at = str(note.get("updated_at") or note.get("created_at"))
        return Annotation(
            id=_identity(note, key),
            version=at,
            key=key,
            annotator=f"user {who}",
            label=None if skipped else label,
            seconds=note.get("lead_time"),
            cancelled=skipped,
            at=datetime.fromisoformat(at.replace("Z", "+00:00")),
        )

    def tasks(
        self, filters: Sequence[tuple[str, str, str, str]] = (), *, annotations: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Tasks in the order of their ids, page by page after the last id seen: no page shifts
        while people annotate."""
        if annotations:  # the server filters the fields of each annotation by the same list
            include = "id,data,updated_at,annotations,result,was_cancelled,lead_time,completed_by"
        else:
            include = "id,data,updated_at,total_annotations,cancelled_annotations"
        last = 0
        while True:
            items = [
                {
                    "filter": f"filter:tasks:{column}",
                    "operator": operator,
                    "type": kind,
                    "value": value,
                }
                for column, operator, kind, value in [
                    *filters,
                    ("id", "greater", "Number", str(last)),
                ]
            ]
            query = {"filters": {"conjunction": "and", "items": items}, "ordering": ["tasks:id"]}
            params = {
                "project": self.project["id"],
                "page": 1,
                "page_size": PAGE,
                "fields": "all" if annotations else "task_only",
                "include": include,
                "query": json.dumps(query),
                "resolve_uri": "false",
            }
            if annotations and self._is_community:  # leaves out columns that nobody asked for
                params["review"] = "true"
            answer = self.client.get("/api/tasks/", params)
            tasks = answer["tasks"]
            yield from tasks
            # a server may cut pages shorter (TASK_API_PAGE_SIZE_MAX) and says so by the total alone
            if not tasks or len(tasks) >= int(answer["total"]):
                return
            last = int(tasks[-1]["id"])

    @cached_property
    def _is_community(self) -> bool:
        """Elsewhere a listing "for review" may leave tasks out."""
        return str(self.client.get("/api/version").get("edition")) == "Community"

    # progress

    def progress(self) -> Progress:
        """The project's own counters: one request."""
        now = self.client.get(f"/api/projects/{self.project['id']}/")
        return Progress(
            tasks=int(now.get("task_number") or 0),
            annotated=int(now.get("num_tasks_with_annotations") or 0),
            skipped=int(now.get("skipped_annotations_number") or 0),
            url=self.url,
            extra=dict(self.counts),
        )


def _identity(note: dict[str, Any], key: str) -> str:
    """``<annotation id>@<key>``: a server set up anew counts from 1 again, on other images."""
    return f"{note['id']}@{key[:12]}"


def _choice(result: list[dict[str, Any]], controls: config.Controls) -> str | None:
    for one in result:
        if one.get("type") == "choices" and one.get("from_name") == controls.label:
            chosen = (one.get("value") or {}).get("choices") or []
            return str(chosen[0]) if chosen else None
    return None


def _prediction(guess: Prediction, controls: config.Controls) -> dict[str, Any]:
    """As the server takes it; the server itself checks neither class nor score."""
    if guess.label not in controls.classes or not 0 <= guess.score <= 1:
        raise Mismatch(
            f"the guess {guess.label!r} with score {guess.score} fits no choice of the label config"
        )
    return {
        "model_version": guess.version,
        "score": guess.score,
        "result": [
            {
                "from_name": controls.label,
                "to_name": controls.image,
                "type": "choices",
                "value": {"choices": [guess.label]},
            }
        ],
    }


def _stamp(text: str) -> str:
    """The one form of time that the server's filter takes."""
    if not re.search(r"\.\d+", text):
        text = text.replace("Z", ".000000Z")
    return datetime.strptime(text, STAMP).strftime(STAMP)
