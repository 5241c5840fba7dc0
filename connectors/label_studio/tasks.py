"""Tasks of a project, page by page after the last id seen, and the fields by which we know ours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from connectors.base import Mismatch, Unreachable
from connectors.label_studio.answers import (
    AnsweredTask,
    ListedTask,
    TaskDetail,
    TaskPage,
    TaskT,
    Version,
)
from connectors.label_studio.client import Client

KEY, BATCH = "coreloop_key", "coreloop_batch"
"""Our fields in task.data. They tell nothing of label or split: annotators can look them up."""
PAGE = 500
FIELDS = "id,data,updated_at,created_at,total_annotations,cancelled_annotations"
ANSWERED_FIELDS = (
    "id,data,updated_at,created_at,annotations,result,was_cancelled,lead_time,completed_by"
)
"""The server filters the fields of each annotation by the same list."""
MOST_IMPORTED = 100_000
"""Tasks that others may import while we list."""


class Filter(NamedTuple):
    """One condition of the server's Data Manager on a column of its tasks."""

    column: str
    operator: str
    type: str
    value: str | list[str]


def list_tasks(
    client: Client, project: int, filters: Sequence[Filter] = ()
) -> Iterator[ListedTask]:
    """Tasks in the order of their ids, each once; no page shifts while people annotate.

    Raises:
        Unreachable: the pages contradict each other.
    """
    params = _params(project, "task_only", FIELDS)
    return _pages(client, params, filters, TaskPage[ListedTask])


def list_answered_tasks(
    client: Client, project: int, filters: Sequence[Filter] = ()
) -> Iterator[AnsweredTask]:
    """``list_tasks`` with annotations, without the counts of them."""
    params = _params(project, "all", ANSWERED_FIELDS)
    if _is_community(client):  # leaves out columns that nobody asked for
        params["review"] = "true"
    return _pages(client, params, filters, TaskPage[AnsweredTask])


def _pages(
    client: Client,
    params: dict[str, Any],
    filters: Sequence[Filter],
    answer: type[TaskPage[TaskT]],
) -> Iterator[TaskT]:
    project = params["project"]
    last = seen = 0
    first_total: int | None = None
    while True:
        after_last = Filter("id", "greater", "Number", str(last))
        page = _page(client, params, [*filters, after_last], answer)
        first_total = page.total if first_total is None else first_total
        tasks = {task.id: task for task in page.tasks}
        whole = len(tasks) >= page.total  # pages may be cut short (TASK_API_PAGE_SIZE_MAX)
        if not whole and list(tasks) != sorted(tasks):
            raise _contradiction(client, project, "out of order")
        if page.total and not any(id_ > last for id_ in tasks):
            raise _contradiction(client, project, "of which a page brings nothing new")
        yield from (tasks[id_] for id_ in sorted(tasks) if id_ > last)
        seen += len(tasks)
        if whole:
            break
        last = max(tasks)
        if seen > first_total + MOST_IMPORTED:
            raise _contradiction(client, project, "without an end")
    if seen < first_total and seen < count_tasks(client, project, filters):  # none was deleted
        raise _contradiction(client, project, "with gaps")


def count_tasks(client: Client, project: int, filters: Sequence[Filter]) -> int:
    """How many tasks these filters let through: one cheap request."""
    params = {**_params(project, "task_only", FIELDS), "page_size": 1}
    return _page(client, params, filters, TaskPage[ListedTask]).total


def get_task(client: Client, id_: int | str) -> TaskDetail | None:
    """A task as it is now, with its annotations and drafts; None if it has gone."""
    try:
        task = client.get(f"/api/tasks/{id_}/", answer=TaskDetail)
    except Mismatch:
        return None
    if str(task.id) != str(id_):
        raise Unreachable(f"{client.url} answers with task {task.id} where {id_} was asked for")
    return task


def key_of(data: dict[str, Any]) -> str | None:
    """Our key in a task's data."""
    key = data.get(KEY)
    return key if isinstance(key, str) and key else None


def _params(project: int, fields: str, include: str) -> dict[str, Any]:
    return {
        "project": project,
        "page": 1,
        "page_size": PAGE,
        "fields": fields,
        "include": include,
        "resolve_uri": "false",
    }


def _page(
    client: Client,
    params: dict[str, Any],
    filters: Sequence[Filter],
    answer: type[TaskPage[TaskT]],
) -> TaskPage[TaskT]:
    items = [
        {
            "filter": f"filter:tasks:{condition.column}",
            "operator": condition.operator,
            "type": condition.type,
            "value": condition.value,
        }
        for condition in filters
    ]
    query = {"filters": {"conjunction": "and", "items": items}, "ordering": ["tasks:id"]}
    return client.get("/api/tasks/", {**params, "query": json.dumps(query)}, answer=answer)


def _contradiction(client: Client, project: int, how: str) -> Unreachable:
    return Unreachable(
        f"{client.url} lists the tasks of project {project} {how}, so that none can be believed; "
        "repeat the command later"
    )


def _is_community(client: Client) -> bool:
    """Elsewhere a listing "for review" may leave tasks out."""
    return client.get("/api/version", answer=Version).edition == "Community"
