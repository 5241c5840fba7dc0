"""Sending people back to labels: tasks that are open to one more person, in a tab of their own."""

from __future__ import annotations

from collections.abc import Sequence

from connectors.base import AskedAgain
from connectors.label_studio.marks import Marking
from connectors.label_studio.tabs import Tabs
from connectors.label_studio.tasks import get_task

TURN = "look again"
"""Stands in the marks in place of a round."""


def look_again(marking: Marking, tasks: Sequence[int]) -> AskedAgain:
    """Opens these tasks to one more person than have labelled them, and puts them into the tab
    "Look again" behind those that still wait there. People are not asked twice about a task.

    A task that has gone is left out.
    """
    client, opened = marking.client, []
    for id_ in tasks:
        task = get_task(client, id_)
        if task is not None:
            wanted = {"overlap": (task.total_annotations or 0) + 1, "is_labeled": False}
            client.write("PATCH", f"/api/tasks/{id_}/", wanted)
            opened.append(id_)
    start = marking.start_of(TURN)
    waiting = [id_ for id_ in marking.tasks(start) if id_ not in opened and _is_open(marking, id_)]
    if not opened:
        return AskedAgain(0, None)
    marking.remove(marking.names([TURN]))
    in_order = enumerate([*waiting, *opened])
    marking.put((id_, marking.name(TURN, place, marking.marker)) for place, id_ in in_order)
    tabs = Tabs(client, marking.project)
    return AskedAgain(len(opened), tabs.url(tabs.ensure("Look again", [start])))


def _is_open(marking: Marking, id_: int) -> bool:
    """Whether a task waits for one more person."""
    task = get_task(marking.client, id_)
    return task is not None and task.is_labeled is False
