"""Push: one import per batch, what is there of it, and copies that nobody labelled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from connectors.base import Batch, Item, Mismatch, Unknown
from connectors.label_studio.config import Controls
from connectors.label_studio.images import Serving
from connectors.label_studio.predictions import predict, prediction, show_newest
from connectors.label_studio.project import RemoteProject
from connectors.label_studio.tasks import BATCH, KEY, Filter, list_tasks


class Copy(NamedTuple):
    """One of the tasks of an image; sorted, those that people answered come first."""

    blank: bool
    id: int


def send(
    project: RemoteProject, serving: Serving, batch: Batch, items: Sequence[Item], order: str
) -> Mapping[str, str]:
    """Item key -> task id, after one import of what is not there of this batch yet.

    Raises:
        Rejected, Unknown: see connectors.base.Labeler.push.
    """
    task_ids = {} if batch.fresh else dict(find(project, batch))
    missing = [item for item in items if item.key not in task_ids]
    if not missing:
        return task_ids
    answer = _import(project, serving, batch, missing)
    new_ids = answer.get("task_ids") or []
    if len(new_ids) == len(missing):
        task_ids.update({item.key: str(id_) for item, id_ in zip(missing, new_ids, strict=True)})
    else:  # an asynchronous server answers with an import id
        task_ids = dict(find(project, batch))
        if len(task_ids) < len(items):
            raise Unknown("the server is still importing; repeat the command in a while")
    guesses = {item.key: item.prediction for item in missing if item.prediction}
    if guesses and answer.get("prediction_count", len(guesses)) != len(guesses):
        predict(project, task_ids, guesses, order)
    elif guesses:
        show_newest(project, {guess.version for guess in guesses.values()}, order)
    return task_ids


def find(project: RemoteProject, batch: Batch) -> Mapping[str, str]:
    """What is there of a batch. Of copies (somebody imported twice) those that people have
    labelled stay, or else the lowest id."""
    of_batch = Filter(f"data.{BATCH}", "equal", "String", batch.uuid)
    kept = _without_copies(project, list_tasks(project, [of_batch]))
    return {key: ids[0] for key, ids in kept.items()}


def inventory(project: RemoteProject) -> Mapping[str, Sequence[str]]:
    """Task ids by item key, of one scan of the whole project; copies removed as by ``find``."""
    return _without_copies(project, list_tasks(project))


def ask_again(project: RemoteProject, tasks: Mapping[str, str]) -> int:
    """Opens these tasks (item key -> id) to one more person than have labelled them; people
    who have are not asked twice. Returns how many were opened."""
    opened = 0
    for key, id_ in tasks.items():
        try:
            task = project.client.get(f"/api/tasks/{id_}/")
        except Mismatch:  # somebody deleted it
            continue
        if task["data"].get(KEY) == key:
            people = int(task.get("total_annotations") or 0) + 1
            wanted = {"overlap": people, "is_labeled": False}
            project.client.write("PATCH", f"/api/tasks/{id_}/", wanted)
            opened += 1
    return opened


def _import(
    project: RemoteProject, serving: Serving, batch: Batch, items: Sequence[Item]
) -> dict[str, Any]:
    """The server's answer to an import of these items; all or nothing."""
    controls = project.controls()
    addresses = serving.addresses(project.client, project.id, items)
    tasks = [
        _task(item, address, batch, controls)
        for item, address in zip(items, addresses, strict=True)
    ]
    path, params = f"{project.path}import", {"return_task_ids": "true"}
    return project.client.write("POST", path, tasks, params=params) or {}


def _task(item: Item, address: str, batch: Batch, controls: Controls) -> dict[str, Any]:
    data = {controls.data: address, KEY: item.key, BATCH: batch.uuid}
    if item.prediction is None:
        return {"data": data}
    return {"data": data, "predictions": [prediction(item.prediction, controls)]}


def _without_copies(
    project: RemoteProject, tasks: Iterable[dict[str, Any]]
) -> dict[str, list[str]]:
    """Item key -> ids of its tasks, once copies that nobody labelled are gone."""
    copies: dict[str, list[Copy]] = defaultdict(list)
    for task in tasks:
        key = task["data"].get(KEY)
        if key:
            answered = task.get("total_annotations") or task.get("cancelled_annotations")
            copies[str(key)].append(Copy(not answered, int(task["id"])))
    kept: dict[str, list[str]] = {}
    surplus: list[int] = []
    for key, of_image in copies.items():
        first, *others = sorted(of_image)
        kept[key] = [str(copy.id) for copy in (first, *others) if copy is first or not copy.blank]
        surplus += [copy.id for copy in others if copy.blank]
    if surplus:
        project.client.write(
            "POST",
            "/api/dm/actions/",
            {"selectedItems": {"all": False, "included": surplus}},
            params={"id": "delete_tasks", "project": project.id},
        )
    return kept
