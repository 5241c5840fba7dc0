"""The story of a project whose people change their minds and their files, against the real server:
600 photos with odd names, 100 added, 20 deleted, junk taken out, skips, a round taken back, answers
corrected after the end, overlap raised, a class added, the project deleted and pushed again. Every
figure of the last report is of today's labels, and no command is stuck."""

from __future__ import annotations

import copy
import json
import tomllib
from pathlib import Path
from uuid import uuid4

import httpx
import numpy as np
import pytest
import tomli_w
from PIL import Image
from sklearn.datasets import load_digits

from connectors.base import BatchToLabel, Mismatch, WouldReopen
from connectors.folder import content_key
from db.errors import StaleRound
from loop import config
from loop.project import Project, create, find
from loop.project.labeler import connect_labeler
from loop.steps.exclude import exclude
from loop.steps.export import export
from loop.steps.pull import pull
from loop.steps.push import plan_push, push
from loop.steps.repick import repick
from loop.steps.run import run
from loop.steps.scan import scan
from loop.steps.status import status
from loop.steps.undo import undo
from tests.conftest import rows, small_values
from tests.label_studio.conftest import second_person
from tests.label_studio.world import tasks_of

pytestmark = pytest.mark.server

NAMES = ["{} a b.png", "{}#1.png", "{}%20.png", "É{}.PNG", "'{}'.png", "{},x;y.png", "日本{}.png"]


def write_odd(folder: Path, numbers: range, of_class: int | None = None) -> dict[str, str]:
    """Digits 0 to 2, or of one class, with odd file names in folders that say nothing; content key
    -> class. Beyond the last digit they begin again, a little darker."""
    digits = load_digits(n_class=3 if of_class is None else of_class + 1)
    kept = np.flatnonzero((of_class is None) | (digits.target == of_class))
    classes = {}
    for i in numbers:
        source = kept[i % len(kept)]
        path = folder / f"día {i % 4}" / NAMES[i % len(NAMES)].format(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        brightness = 15.9 - i // len(kept)
        Image.fromarray((digits.images[source] * brightness).astype(np.uint8)).save(path)
        classes[content_key(path.read_bytes())] = f"digit-{digits.target[source]}"
    return classes


def with_settings(project: Project, section: str, **values: object) -> Project:
    """The project after a person has edited its coreloop.toml."""
    path = project.root / config.FILE
    stored = tomllib.loads(path.read_text())
    stored[section] = {**stored.get(section, {}), **values}
    path.write_text(tomli_w.dumps(stored))
    project.close()
    return find(project.root)


class People:
    """Everybody who labels: answers, skips and corrects over the server's interface."""

    def __init__(self, project: Project, server, classes: dict[str, str]) -> None:
        self.project, self.classes = project, classes
        self.http = httpx.Client(
            base_url=server.url,
            headers={"Authorization": f"Token {server.token}"},
            trust_env=False,
            timeout=60,
        )

    def tasks(self) -> dict[str, int]:
        """Item key -> task."""
        with self.project.records.read() as session:
            labeler = connect_labeler(session, self.project)
        return {task.data["coreloop_key"]: task.id for task in tasks_of(labeler)}

    def annotations(self, task: int) -> list[dict]:
        return self.http.get(f"/api/tasks/{task}/").raise_for_status().json()["annotations"]

    def beside(self, http: httpx.Client) -> People:
        """Another person in the same project, who is logged in."""
        other = copy.copy(self)
        other.http = http
        return other

    def delete_project(self) -> None:
        with self.project.records.read() as session:
            labeler = connect_labeler(session, self.project)
        self.http.delete(f"/api/projects/{labeler.project.id}/").raise_for_status()

    def answer(self, wrong: int = 0, again: bool = False) -> int:
        """Answers every task that nobody has, or with ``again`` that one person has; the first
        ``wrong`` of them wrongly."""
        answered = 0
        for key, task in self.tasks().items():
            given = self.annotations(task)
            if len(given) > again or any(each["was_cancelled"] for each in given):
                continue
            label = self.classes[key]
            if answered < wrong:
                label = f"digit-{(int(label[-1]) + 1) % 3}"
            self.send("POST", f"/api/tasks/{task}/annotations/", label)
            answered += 1
        return answered

    def skip(self, key: str) -> None:
        body = {"result": [], "was_cancelled": True, "lead_time": 1.0}
        path = f"/api/tasks/{self.tasks()[key]}/annotations/"
        self.http.post(path, json=body).raise_for_status()

    def correct(self) -> int:
        """Puts the right label on every answer; how many were wrong."""
        corrected = 0
        for key, task in self.tasks().items():
            for note in self.annotations(task):
                if note["was_cancelled"]:
                    continue
                (given,) = note["result"][0]["value"]["choices"]
                if given != self.classes[key]:
                    self.send("PATCH", f"/api/annotations/{note['id']}/", self.classes[key])
                    corrected += 1
        return corrected

    def send(self, method: str, path: str, label: str) -> None:
        region = {
            "from_name": "label",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": [label]},
        }
        body = {"result": [region], "lead_time": 2.0}
        token = self.http.cookies.get("csrftoken") or ""  # of a person who is logged in
        head = {"X-CSRFToken": token, "Referer": str(self.http.base_url)}
        self.http.request(method, path, json=body, headers=head).raise_for_status()


def picks(project: Project, number: int, arm: str = "coreset") -> list[tuple[str, str]]:
    """(key, uri) of the picks of an arm that are not passed over, in labelling order."""
    query = (
        "SELECT key, uri FROM pick JOIN item ON item.id = item_id "
        "JOIN round ON round.id = round_id WHERE arm = '%s' AND number = %d "
        "AND item_id NOT IN (SELECT item_id FROM absence) ORDER BY rank"
    )
    return rows(project, query % (arm, number))


@pytest.fixture
def story(tmp_path, server, monkeypatch):
    """A project whose first round is with people."""
    monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", server.token)
    images = tmp_path / "photos"
    classes = write_odd(images, range(600))
    values = small_values(
        images,
        measure={"images": 20, "folds": 5},
        selection={"scorer": "kmeans", "budgets": [8, 8]},
        labeler={"kind": "label-studio", "error_rate": 0.0},
    )
    values["pool"] = {"path": str(images)}
    project = create(tmp_path / "p", config.check(values, "test"))
    assert run(project).why == "waiting"
    return project, People(project, server, classes), images


def unpicked(project: Project) -> list[str]:
    """Uris of images that nobody was asked about."""
    query = "SELECT uri FROM item WHERE id NOT IN (SELECT item_id FROM pick) ORDER BY uri"
    return [uri for (uri,) in rows(project, query)]


@pytest.mark.timeout(600)
def test_people_change_their_minds_and_their_files(story, server, tmp_path):
    project, people, images = story
    assert len(people.tasks()) == 28

    # round 1 taken back, as nobody has labelled anything of it, and begun again
    undone = undo(project)
    assert (undone.picks, undone.withdrawn) == (28, 28)
    assert people.tasks() == {}
    assert run(project).why == "waiting"
    assert len(people.tasks()) == 28

    # of its picks one is deleted, one private, one skipped
    (_, deleted), (private_key, private), (skipped_key, _) = picks(project, 1)[:3]
    (images / deleted).unlink()
    people.skip(skipped_key)
    with pytest.raises(StaleRound, match="people have worked on 1 image"):
        undo(project)
    assert scan(project).gone == (deleted,)
    told = exclude(project, [str(images / private)])
    assert (told.picked, told.sent) == (1, 1)
    pull(project)
    again = repick(project)
    assert (len(again.added), again.withdrawn, again.next) == (3, 2, "coreloop push")
    assert private_key not in people.tasks(), "a private image is with people still"
    assert run(project).why == "waiting"
    assert people.answer(wrong=9) == 28  # 20 of the sample and 8 picks; the skip asks nobody
    assert len(picks(project, 1)) == 9

    # round 2: photos added, photos deleted, of them two that are picked and not sent yet
    people.classes |= write_odd(images, range(600, 700))
    assert scan(project).added == 100
    assert run(project, review=True).next.startswith("coreloop run")
    chosen = [uri for _, uri in picks(project, 2)]
    for uri in [*chosen[:2], *unpicked(project)[:16]]:
        (images / uri).unlink()
    assert plan_push(project).counts == {"replace": 2, "send": 6}
    assert run(project).why == "waiting"
    assert len(picks(project, 2)) == 8
    assert not set(chosen[:2]) & {uri for _, uri in picks(project, 2)}
    people.answer()
    assert run(project).why == "done"
    scan(project)
    assert status(project).counts["gone"] == 19
    assert status(project).counts["excluded"] == 1

    # after the end: a labelled photo of the sample is deleted, and answers are corrected
    _, sampled = picks(project, 1, "sample")[0]
    (images / sampled).unlink()
    scan(project)
    before = status(project).measured
    assert people.correct() > 5
    pulled = pull(project)
    assert pulled.outdated == (1, 2)
    assert status(project).next == "coreloop run"
    assert run(project).why == "done"
    after = status(project).measured
    assert (before.images, after.images) == (20, 19)
    assert after.accuracy > before.accuracy
    check_last_report(project, people, [27, 35])

    notes: list[str] = []
    path, count = export(project, "folders", tmp_path / "dataset", on_note=notes.append)
    assert count == 35
    assert len([file for file in path.rglob("*") if file.suffix.lower() == ".png"]) == 35
    assert any("gone or excluded" in note for note in notes)
    settings_change(project, people, images, second_person(server))


def settings_change(project: Project, people: People, images: Path, second: httpx.Client) -> None:
    """A class is added, and every image is to be seen by two people, who are asked before tasks
    open; then the project is deleted on the server."""
    people.classes |= write_odd(images, range(700, 710), of_class=3)
    project = with_settings(project, "project", classes=[f"digit-{i}" for i in range(4)])
    project = people.project = with_settings(project, "labeler", overlap=2)
    assert scan(project).added == 10
    with pytest.raises(WouldReopen, match="36 finished tasks"):
        run(project, budget=8)
    assert run(project, reopen=True).why == "waiting"
    other = people.beside(second)
    assert other.answer(again=True) == 36 + 8  # one image has gone since, its task is there

    # the project is deleted on the server while one answer of each new image is in the records
    pull(project)
    people.delete_project()
    with pytest.raises(Mismatch, match="'coreloop push' makes a new one"):
        run(project)
    assert push(project).again == 8, "only what one person has still to see"
    assert run(project).why == "waiting"
    assert people.answer() == 8
    assert run(project).why == "done"
    check_last_report(project, people, [27, 35, 43])


def check_last_report(project: Project, people: People, labels: list[int]) -> None:
    """Every figure is of today's labels."""
    shown = json.loads((project.root / "reports" / "report.json").read_text())
    live, *others = (curve for curve in shown["curves"] if curve["mode"] == "live")
    assert [point["labels"] for point in live["points"]] == labels
    assert not any(point["outdated"] for curve in (live, *others) for point in curve["points"])
    runs = {
        run_id: json.loads(metrics)
        for run_id, metrics in rows(project, "SELECT id, metrics FROM run")
    }
    assert {metrics["n"] for metrics in runs.values()} == {19}
    for curve in (live, *others):
        for point in curve["points"]:
            accuracies = [runs[run_id]["accuracy"] for run_id in point["runs"]]
            assert point["accuracy"] == pytest.approx(np.mean(accuracies))
    right = [
        people.classes[pick["key"]] == pick["label"] for pick in shown["picks"] if pick["label"]
    ]
    assert all(right)
    assert len(right) == labels[-1]


def test_a_skip_asks_nobody_again(new_labeler, items, server):
    """Who skips an image speaks for as many people as who labels it."""
    labeler = new_labeler()
    labeler.prepare(["cat", "dog", "bird"])
    tasks = labeler.push(BatchToLabel(uuid4().hex, 1, fresh=True), items[:2])
    first, second = (int(tasks[item.key]) for item in items[:2])
    body = {"result": [], "was_cancelled": True, "lead_time": 1.0}
    labeler.client.write("POST", f"/api/tasks/{first}/annotations/", body)
    offered = second_person(server).get(f"/api/projects/{labeler.project.id}/next/")
    assert offered.json()["id"] == second
