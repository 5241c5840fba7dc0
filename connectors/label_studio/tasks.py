"""Tasks of a project, page by page after the last id seen, and the fields by which we know ours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from connectors.label_studio.project import RemoteProject

KEY, BATCH = "coreloop_key", "coreloop_batch"
"""Our fields in task.data. They tell nothing of label or split: annotators can look them up."""
PAGE = 500
FIELDS = "id,data,updated_at,total_annotations,cancelled_annotations"
ANSWERED_FIELDS = "id,data,updated_at,annotations,result,was_cancelled,lead_time,completed_by"
"""The server filters the fields of each annotation by the same list."""


class Filter(NamedTuple):
    """One condition of the server's Data Manager on a column of its tasks."""

    column: str
    operator: str
    type: str
    value: str


def list_tasks(
    project: RemoteProject, filters: Sequence[Filter] = (), *, annotations: bool = False
) -> Iterator[dict[str, Any]]:
    """Tasks in the order of their ids; no page shifts while people annotate.

    Args:
        annotations: with their annotations, without the counts of them.
    """
    params = {
        "project": project.id,
        "page": 1,
        "page_size": PAGE,
        "fields": "all" if annotations else "task_only",
        "include": ANSWERED_FIELDS if annotations else FIELDS,
        "resolve_uri": "false",
    }
    if annotations and _is_community(project):  # leaves out columns that nobody asked for
        params["review"] = "true"
    last = 0
    while True:
        query = _query([*filters, Filter("id", "greater", "Number", str(last))])
        answer = project.client.get("/api/tasks/", {**params, "query": query})
        tasks = answer["tasks"]
        yield from tasks
        # a server may cut pages shorter (TASK_API_PAGE_SIZE_MAX) and says so by the total alone
        if not tasks or len(tasks) >= int(answer["total"]):
            return
        last = int(tasks[-1]["id"])


def _query(filters: Sequence[Filter]) -> str:
    items = [
        {
            "filter": f"filter:tasks:{condition.column}",
            "operator": condition.operator,
            "type": condition.type,
            "value": condition.value,
        }
        for condition in filters
    ]
    return json.dumps({"filters": {"conjunction": "and", "items": items}, "ordering": ["tasks:id"]})


def _is_community(project: RemoteProject) -> bool:
    """Elsewhere a listing "for review" may leave tasks out."""
    return str(project.client.get("/api/version").get("edition")) == "Community"
