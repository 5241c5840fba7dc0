"""A Label Studio project as people made it, and a coreloop project that adopts it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from loop.demo.server import Server
from loop.project import Project, find
from loop.steps.init import init
from tests.conftest import write_images

CLASSES = ["digit-0", "digit-1"]
SINGLE = (
    '<View><Image name="image" value="$image"/>'
    '<Choices name="label" toName="image" choice="single">'
    '<Choice value="digit-0"/><Choice value="digit-1"/></Choices></View>'
)


@dataclass
class People:
    """Somebody with an account on the server, who makes projects and labels by hand."""

    http: httpx.Client

    @classmethod
    def of(cls, server: Server) -> People:
        headers = {"Authorization": f"Token {server.token}"}
        url = server.url
        return cls(httpx.Client(base_url=url, headers=headers, timeout=120, trust_env=False))

    def ask(self, method: str, path: str, **options: Any) -> Any:
        answer = self.http.request(method, path, **options)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def make(self, label_config: str = SINGLE) -> int:
        body = {"title": "ours already", "label_config": label_config}
        return int(self.ask("POST", "/api/projects/", json=body)["id"])

    def upload(self, project: int, files: dict[str, bytes]) -> None:
        """As the page does it: one task for each file."""
        named = [(name, (name, data)) for name, data in files.items()]
        for start in range(0, len(named), 50):
            part = dict(named[start : start + 50])
            self.ask("POST", f"/api/projects/{project}/import", files=part)

    def tasks(self, project: int, **params: Any) -> list[dict[str, Any]]:
        wanted = {"project": project, "page_size": 1000, "fields": "all", "resolve_uri": "false"}
        return list(self.ask("GET", "/api/tasks/", params=wanted | params)["tasks"])

    def choose(self, task: int, choices: list[Any], **more: Any) -> dict[str, Any]:
        region = {
            "from_name": "label",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": choices},
        }
        body = {"result": [region], "lead_time": 2.0, **more}
        return dict(self.ask("POST", f"/api/tasks/{task}/annotations/", json=body))


def adopted(folder: Path, server: Server, number: int, **labeler: Any) -> Project:
    """A project of 24 small images that are told apart by eye, adopting a project there."""
    write_images(folder / "images", count=24)
    project, _ = init(
        folder / "p",
        folder / "images",
        project={"classes": CLASSES},
        encoder="pixels:8",
        measure={"by": "holdout", "images": 4},
        selection={"budgets": [4, 4]},
        labeler={"kind": "label-studio", "url": server.url, "project": number, **labeler},
    )
    return find(project.root)
