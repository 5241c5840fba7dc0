"""Copies: several tasks of one image. One that nobody has touched is removed, but not before it and
the task that stays were looked at by their ids: a listing alone deletes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from connectors.base import Mismatch
from connectors.label_studio.answers import TaskDetail
from connectors.label_studio.project import RemoteProject
from connectors.label_studio.tasks import Filter, get_task, key_of, list_tasks


class Copy(NamedTuple):
    """One of the tasks of an image; sorted, those that people answered come first, then those of
    the project that people label in."""

    blank: bool
    home: int
    id: int


def without_copies(project: RemoteProject, filters: Sequence[Filter] = ()) -> dict[str, list[str]]:
    """Item key -> ids of its tasks, once copies that nobody touched are gone."""
    kept: dict[str, list[str]] = {}
    for key, tasks in _by_key(project, filters).items():
        first, *others = sorted(tasks)
        others = [copy for copy in others if not _remove(project, key, first, copy)]
        kept[key] = [str(copy.id) for copy in (first, *others)]
    return kept


def untouched(project: RemoteProject, tasks: Mapping[str, str]) -> set[str]:
    """Keys of the tasks (item key -> id) that are ours and nobody's work, by their ids; also of
    those that have gone."""
    keys = set()
    for key, id_ in tasks.items():
        task = get_task(project.client, id_)
        if task is None or (_is_of(project, key, task) and task.is_untouched):
            keys.add(key)
    return keys


def withdraw(project: RemoteProject, tasks: Mapping[str, str]) -> set[str]:
    """Deletes the tasks (item key -> id) that are ``untouched``; their keys."""
    withdrawn = set()
    for key, id_ in tasks.items():
        if not untouched(project, {key: id_}):
            continue
        with suppress(Mismatch):  # it has gone already
            project.client.write("DELETE", f"/api/tasks/{id_}/")
        withdrawn.add(key)
    return withdrawn


def _by_key(project: RemoteProject, filters: Sequence[Filter]) -> dict[str, list[Copy]]:
    by_key: dict[str, list[Copy]] = defaultdict(list)
    for home, id_ in enumerate(project.projects):
        for task in list_tasks(project.client, id_, filters):
            key = key_of(task.data)
            if key is not None:
                answered = task.total_annotations or task.cancelled_annotations
                by_key[key].append(Copy(not answered, home, task.id))
    return by_key


def _remove(project: RemoteProject, key: str, stays: Copy, copy: Copy) -> bool:
    """Deletes a copy if it is one, and nobody's work; whether it has gone."""
    if not copy.blank or copy.id == stays.id:
        return False
    kept, task = get_task(project.client, stays.id), get_task(project.client, copy.id)
    if task is None:
        return True
    if kept is None or not (_is_of(project, key, kept) and _is_of(project, key, task)):
        return False
    if not task.is_untouched:
        return False
    with suppress(Mismatch):  # somebody was faster
        project.client.write("DELETE", f"/api/tasks/{copy.id}/")
    return True


def _is_of(project: RemoteProject, key: str, task: TaskDetail) -> bool:
    return task.project in project.projects and key_of(task.data) == key
