"""Push: one import per batch, and what is there of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.base import AskedAgain, BatchToLabel, ItemToLabel, Unknown, Unreachable
from connectors.label_studio.answers import ImportAnswer
from connectors.label_studio.config import CAPTION, Controls, caption
from connectors.label_studio.copies import without_copies
from connectors.label_studio.images import Serving
from connectors.label_studio.look_again import look_again
from connectors.label_studio.marks import Marking
from connectors.label_studio.predictions import predict, prediction, show_newest
from connectors.label_studio.project import RemoteProject
from connectors.label_studio.search import of_batch
from connectors.label_studio.tasks import BATCH, KEY, get_task, key_of


def send(
    project: RemoteProject,
    serving: Serving,
    batch: BatchToLabel,
    items: Sequence[ItemToLabel],
    order: str,
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
    new_ids = answer.task_ids or []
    if len(set(new_ids)) == len(new_ids) == len(missing):
        task_ids.update({item.key: str(id_) for item, id_ in zip(missing, new_ids, strict=True)})
    else:  # an asynchronous server answers with an import id
        task_ids = dict(find(project, batch))
        if any(item.key not in task_ids for item in items):
            raise Unknown("the server is still importing; repeat the command in a while")
    guesses = {item.key: item.prediction for item in missing if item.prediction}
    if guesses and answer.prediction_count not in (None, len(guesses)):
        predict(project, task_ids, guesses, order)
    elif guesses:
        show_newest(project, {guess.version for guess in guesses.values()}, order)
    return task_ids


def find(project: RemoteProject, batch: BatchToLabel) -> Mapping[str, str]:
    """What is there of a batch. Of copies (somebody imported twice) those that people have
    worked on stay, or else the lowest id."""
    kept = without_copies(project, [of_batch(batch.uuid)])
    return {key: ids[0] for key, ids in kept.items()}


def inventory(project: RemoteProject, known: Mapping[str, str]) -> Mapping[str, Sequence[str]]:
    """Task ids by item key, of one scan of all our projects; copies removed as by ``find``.

    Args:
        known: item key -> id of the task that it had; one that the scan misses is asked for.

    Raises:
        Unreachable: the scan misses a task that is there.
    """
    task_ids = without_copies(project)
    for key, id_ in known.items():
        if key in task_ids:
            continue
        task = get_task(project.client, id_)
        if task is not None and task.project in project.projects and key_of(task.data) == key:
            raise Unreachable(
                f"{project.client.url} lists the tasks of project {task.project} without task "
                f"{id_}, which is there; nothing was sent or changed, repeat the command later"
            )
    return task_ids


def ask_again(project: RemoteProject, tasks: Mapping[str, str]) -> AskedAgain:
    """Opens these tasks (item key -> id) to one more person than have labelled them, and makes a
    tab of them; people who have are not asked twice."""
    ours = []
    for key, id_ in tasks.items():
        task = get_task(project.client, id_)
        if task is not None and task.project == project.id and key_of(task.data) == key:
            ours.append(task.id)
    return look_again(Marking(project.client, project.id, project.marker), ours)


def _import(
    project: RemoteProject, serving: Serving, batch: BatchToLabel, items: Sequence[ItemToLabel]
) -> ImportAnswer:
    """The server's answer to an import of these items; all or nothing."""
    controls = project.controls()
    addresses = serving.addresses(project.client, project.id, items)
    tasks = [
        _task(item, address, batch, controls)
        for item, address in zip(items, addresses, strict=True)
    ]
    path, params = f"{project.path}import", {"return_task_ids": "true"}
    return project.client.write("POST", path, tasks, params=params, answer=ImportAnswer)


def _task(
    item: ItemToLabel, address: str, batch: BatchToLabel, controls: Controls
) -> dict[str, Any]:
    data = {
        controls.data: address,
        KEY: item.key,
        BATCH: batch.uuid,
        CAPTION: caption(item.uri, batch.round),
    }
    if item.prediction is None:
        return {"data": data}
    return {"data": data, "predictions": [prediction(item.prediction, controls)]}
