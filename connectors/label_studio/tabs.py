"""Tabs of the Data Manager: by the link of one people get the tasks that it lets through, in its
order.

A stored tab with an operator that the page does not know breaks the Data Manager of the whole
project for everybody, so that only ``contains`` is used here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connectors.label_studio.answers import StoredTab
from connectors.label_studio.client import Client
from connectors.label_studio.marks import COLUMN

PATH = "/api/dm/views/"
TITLE = 50
"""Most characters of a title; fewer than three are refused."""


class Tabs:
    """Tabs of one project."""

    def __init__(self, client: Client, project: int) -> None:
        self.client, self.project = client, project

    def list(self) -> list[StoredTab]:
        """All there are."""
        return self.client.get(PATH, {"project": self.project}, answer=list[StoredTab])

    def ensure(self, title: str, texts: Sequence[str]) -> int:
        """The tab that shows these tasks in the order of their marks, made if it is missing. Where
        nobody has opened the project yet, its own first tab is made before."""
        listed = self.list()
        for tab in listed:
            if tab.texts == tuple(texts):
                return tab.id
        if not listed:
            self._make({"title": "Default"})
        return self._make(
            {
                "title": title[:TITLE],
                "ordering": [f"tasks:{COLUMN}"],
                "filters": {"conjunction": "and", "items": [_condition(text) for text in texts]},
            }
        )

    def remove(self, tab: StoredTab) -> None:
        """Takes a tab away; the tasks stay."""
        self.client.write("DELETE", f"{PATH}{tab.id}/", params={"project": self.project})

    def url(self, tab: int) -> str:
        """Where people label what it shows."""
        return f"{self.client.url}/projects/{self.project}/data?tab={tab}&labeling=1"

    def _make(self, data: dict[str, Any]) -> int:
        body = {"project": self.project, "data": data}
        params = {"project": self.project}
        return self.client.write("POST", PATH, body, params=params, answer=StoredTab).id


def _condition(text: str) -> dict[str, Any]:
    return {
        "filter": f"filter:tasks:{COLUMN}",
        "operator": "contains",
        "type": "List",
        "value": [text],
    }
