"""What the pages of ``coreloop view`` show, and that a click is a label."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from starlette.testclient import TestClient

from loop import config
from loop.near_duplicates import near_duplicates
from loop.project import create, find
from loop.steps.backup import backup
from loop.steps.exclude import exclude
from loop.steps.pull import pull
from loop.steps.run import run
from loop.steps.scan import scan
from loop.steps.view import View
from loop.view.app import make_app
from loop.view.guard import POST_TOKEN, Credentials
from tests.conftest import rows, small_values, write_images
from tests.view.conftest import CLASSES, COUNT, answer

BASE = "http://127.0.0.1:8123"
PATHS = ("/", "/map", "/issues", "/disagreements", "/duplicates", "/rounds", "/label")
LOGS = ("-wal", "-shm", ".lock")
"""Files of SQLite, and of commands that write, that come and go."""


class Browser(TestClient):
    """One that was given the address; ``view`` is what it looks at."""

    def __init__(self, project):
        self.view, credentials = View(project), Credentials(8123)
        super().__init__(make_app(self.view, credentials), BASE)
        self.get(f"/?token={credentials.token}")
        self.own = {"Origin": BASE, POST_TOKEN: credentials.post_token}

    def click(self, key, label, before=""):
        body = {"key": key, "label": label, "before": before}
        return self.post("/label", json=body, headers=self.own)


@pytest.fixture(scope="module")
def second_round(first_round, tmp_path_factory):
    """Round 1 answered, three labels wrong; of ten that alice answered too, two. Round 2 waits."""
    root, names = first_round
    copy = tmp_path_factory.mktemp("second") / "project"
    shutil.copytree(root, copy)
    project = find(copy)
    answer(project, names, wrong=(3, 14, 31))
    (sheet,) = copy.glob("sheets/*.csv")
    with sheet.open(newline="") as file:
        lines = list(csv.DictReader(file))[20:30]
    for line in lines[:2]:
        line["label"] = CLASSES[CLASSES.index(line["label"]) - 1]
    with sheet.with_suffix(".alice.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0].keys())
        writer.writeheader()
        writer.writerows(lines)
    assert run(project).why == "waiting"
    return project


def keys_on(html):
    return re.findall(r'href="/image/([0-9a-f]{32})"', html)


def tasks_on(html):
    return re.findall(r'data-key="([0-9a-f]{32})" data-label="([^"]*)"', html)


def test_a_click_is_a_label_that_pull_reads(waiting):
    project, _ = waiting
    browser = Browser(project)
    tasks = tasks_on(browser.get("/label").text)
    assert len(tasks) == 70
    assert {label for _, label in tasks} == {""}
    (first, _), (second, _), *_ = tasks
    assert browser.click(first, "green").json() == {"label": "green"}
    assert browser.click(second, "skip").status_code == 200
    assert dict(tasks_on(browser.get("/label").text))[first] == "green"
    assert browser.click(first, "red", before="green").status_code == 200
    pulled = pull(project)
    assert (pulled.answered, pulled.skipped) == (1, 1)
    assert rows(project, "SELECT label FROM annotation WHERE label IS NOT NULL") == [("red",)]


def test_an_answer_that_came_meanwhile_is_said(waiting):
    project, _ = waiting
    browser = Browser(project)
    (key, _), *_ = tasks_on(browser.get("/label").text)
    assert browser.click(key, "green").status_code == 200
    refused = browser.click(key, "red")
    assert refused.status_code == 409
    assert "says 'green' of this image by now" in refused.json()["error"]
    assert browser.click(key, "purple", before="green").status_code == 409
    assert browser.click("f" * 32, "green").status_code == 409
    (sheet,) = project.root.glob("sheets/*.csv")
    sheet.with_name(f".~lock.{sheet.name}#").touch()
    assert "LibreOffice" in browser.click(key, "red", before="green").json()["error"]
    assert dict(tasks_on(browser.get("/label").text))[key] == "green"


def test_a_sheet_that_was_taken_away(waiting):
    project, _ = waiting
    browser = Browser(project)
    (key, _), *_ = tasks_on(browser.get("/label").text)
    (sheet,) = project.root.glob("sheets/*.csv")
    sheet.rename(project.root / sheet.name)
    assert tasks_on(browser.get("/label").text) == []
    assert "not on a sheet" in browser.click(key, "green").json()["error"]
    sheet.write_bytes(b"\xff\xfe nothing of a sheet")
    assert "is not UTF-8" in browser.get("/label").text
    assert "is not UTF-8" in browser.click(key, "green").json()["error"]


@pytest.mark.parametrize(
    "body", ["", "{", "[]", '{"key": 1}', '{"key": "a", "label": "b", "before": "", "sheet": "x"}']
)
def test_what_is_no_answer_changes_nothing(waiting, body):
    project, _ = waiting
    browser = Browser(project)
    before = sheets_of(project)
    assert browser.post("/label", content=body, headers=browser.own).status_code == 400
    huge = json.dumps({"key": "a" * 20_000, "label": "", "before": ""})
    assert browser.post("/label", content=huge, headers=browser.own).status_code == 413
    assert sheets_of(project) == before


def test_a_foreign_page_cannot_click(waiting):
    project, _ = waiting
    browser = Browser(project)
    (key, _), *_ = tasks_on(browser.get("/label").text)
    before, own = sheets_of(project), browser.own
    for headers in ({**own, "Origin": "http://evil.example"}, {"Origin": BASE}, {}):
        browser.own = headers
        assert browser.click(key, "green").status_code == 403
    assert sheets_of(project) == before


def sheets_of(project):
    return {path.name: path.read_bytes() for path in project.root.glob("sheets/*.csv")}


def test_while_people_label_nothing_tells_the_sample_from_the_picks(waiting):
    project, _ = waiting
    arms = dict(rows(project, "SELECT key, arm FROM pick JOIN item ON item.id = item_id"))
    assert set(arms.values()) == {"coreset", "sample"}
    browser = Browser(project)
    order = [key for key, _ in tasks_on(browser.get("/label").text)]
    assert sorted(order) == sorted(arms)
    assert order == sorted(order)
    for path in ("/label", "/?round=1", "/?round=1&order=picked", "/map", "/rounds"):
        page = browser.get(path).text
        assert "sample" not in page.lower().replace("coreloop", "")
        assert "drawn" not in page
    pages = {}
    for arm in ("sample", "coreset"):
        key = next(key for key in order if arms[key] == arm)
        page = browser.get(f"/image/{key}").text
        name = re.search(r"photo \d+", page)[0]
        pages[arm] = re.sub(r'data-version="\w+"', "", page.replace(key, "K").replace(name, "N"))
    assert pages["sample"] == pages["coreset"]


def test_afterwards_it_is_told(second_round):
    browser = Browser(second_round)
    page = browser.get("/?round=1&order=picked").text
    assert page.count("round 1, random sample") == 40
    waiting = browser.get("/?round=2").text
    assert len(keys_on(waiting)) == 24
    assert "? " not in waiting.partition("tiles")[2]  # no guess of the model for who labels


def test_filters_agree_with_the_records(second_round):
    browser = Browser(second_round)
    gallery = browser.view.gallery()
    assert f"of {COUNT} images" in browser.get("/").text
    by_alice = keys_on(browser.get("/?person=alice").text)
    stored = "SELECT key FROM annotation JOIN item ON item.id = item_id WHERE annotator = 'alice'"
    assert sorted(by_alice) == sorted(key for (key,) in rows(second_round, stored))
    picked = rows(second_round, "SELECT key FROM pick JOIN item ON item.id = item_id")
    assert len(keys_on(browser.get("/?state=unasked").text)) == COUNT - len(picked)
    unsure = browser.get("/?state=unasked&most=80&order=unsure").text
    confidence = [gallery.confidence[gallery.row_of[key]] for key in keys_on(unsure)]
    expected = np.sort(gallery.confidence[gallery.states == "unasked"])
    assert confidence == expected[expected <= 0.8].tolist()
    assert len(confidence) > 0
    assert len(keys_on(browser.get("/?text=PHOTO+0012").text)) == 10
    green = keys_on(browser.get("/?label=green&state=answered").text)
    assert {gallery.labels[gallery.row_of[key]] for key in green} == {CLASSES.index("green")}
    pages = [keys_on(browser.get(f"/?page={number}").text) for number in (1, 2)]
    assert [key for page in pages for key in page] == gallery.keys


def test_label_issues_with_both_labels(second_round):
    browser = Browser(second_round)
    page = browser.get("/issues").text
    issues = browser.view.label_issues()
    assert len(issues) >= 2
    assert keys_on(page) == [issue.key for issue in issues]
    for issue in issues:
        card = page.partition(issue.key)[2].partition("</li>")[0]
        assert f'<b class="bad">{issue.label}</b>' in card
        assert f"<b>{issue.predicted}</b>" in card
    label = issues[0].label
    some = keys_on(browser.get(f"/issues?label={label}").text)
    assert some == [issue.key for issue in issues if issue.label == label]


def test_disagreements_with_what_each_said(second_round):
    page = Browser(second_round).get("/disagreements").text
    assert len(keys_on(page)) == 2
    assert page.count("<dt>alice</dt>") == 2
    assert page.count("<dt>sheet</dt>") == 2


def test_near_duplicates_are_groups(second_round):
    browser = Browser(second_round)
    page = browser.get("/duplicates").text
    gallery = browser.view.gallery()
    numbers = [gallery.uris[gallery.row_of[key]][-9:-4] for key in keys_on(page)]
    assert numbers == ["00000", "00001", "00050", "00051", "00100", "00101"]
    assert "cosine of at least 0.98" in page
    assert "cosine of at least 0.5" in browser.get("/duplicates?cosine=50").text
    assert "No group" in browser.get("/duplicates?text=nothing").text


def test_near_duplicates_by_hand():
    rng = np.random.default_rng(0)
    far = rng.standard_normal((20, 16)).astype(np.float32)
    close = far[3] + 0.01 * rng.standard_normal((3, 16)).astype(np.float32)
    groups = near_duplicates(np.vstack([far, close, far[7:8]]) + 100, 0.98)
    assert [group.rows.tolist() for group in groups] == [[7, 23], [3, 20, 21, 22]]
    assert groups[0].cosine == pytest.approx(1)
    assert near_duplicates(far, 0.98) == []
    assert near_duplicates(far[:1], 0.98) == []


def test_rounds_with_accuracy_and_interval(second_round):
    page = Browser(second_round).get("/rounds").text
    metrics = json.loads(rows(second_round, "SELECT metrics FROM run WHERE arm = 'all'")[0][0])
    lower, upper = metrics["intervals"]["accuracy"]
    assert f"{100 * metrics['accuracy']:.1f}</td>" in page
    assert f"{100 * lower:.1f} to {100 * upper:.1f}" in page
    assert page.count('class="whisker"') == 1
    assert "coreloop pull" in page


def test_the_map_is_the_report_s(second_round):
    page = Browser(second_round).get("/map").text
    assert page.count('<circle class="') == 94
    assert "<script>" not in page


def test_it_only_reads_and_holds_nothing(waiting, tmp_path):
    project, names = waiting
    browser = Browser(project)

    def stored():
        digest = hashlib.sha256()
        for table in ("event", "annotation", "round", "pick", "array"):
            digest.update(repr(rows(project, f"SELECT * FROM {table}")).encode())
        files = sorted(
            path.as_posix() for path in project.root.rglob("*") if "-" not in path.suffix
        )
        return digest.hexdigest(), files

    before = stored()
    with project.writing():  # as a command that takes long
        for path in PATHS:
            assert browser.get(path).status_code == 200, path
    assert stored() == before
    backup(project, tmp_path / "backup")
    answer(project, names)
    assert pull(project).complete


def test_what_others_do_is_seen_after_a_reload(waiting):
    project, names = waiting
    browser = Browser(project)
    assert keys_on(browser.get("/?state=answered").text) == []
    version = browser.get("/version").json()["version"]
    assert browser.get("/version").json()["version"] == version
    answer(project, names)
    pull(project)
    assert browser.get("/version").json()["version"] != version
    assert len(keys_on(browser.get("/?state=answered").text)) == 70
    file = project.root / "coreloop.toml"
    text = file.read_text()
    file.write_text("[broken")
    assert "is not valid TOML" in browser.get("/").text
    file.write_text(text.replace('"red"', '"red", "purple"').replace("'red'", "'red', 'purple'"))
    assert '<option value="purple">' in browser.get("/").text
    refused = browser.click("f" * 32, "green")
    assert "nothing is to be labelled now" in refused.json()["error"]


def test_images_that_are_passed_over_are_shown_to_who_asks(waiting):
    project, _ = waiting
    browser = Browser(project)
    gallery = browser.view.gallery()
    first, *_ = keys_on(browser.get("/duplicates").text)
    task = next(key for key, _ in tasks_on(browser.get("/label").text) if key != first)
    exclude(project, [gallery.uris[gallery.row_of[key]] for key in (first, task)])
    assert f"of {COUNT - 2} images" in browser.get("/").text
    assert sorted(keys_on(browser.get("/?state=excluded").text)) == sorted([first, task])
    assert first not in keys_on(browser.get("/duplicates").text)
    assert task not in dict(tasks_on(browser.get("/label").text))
    for path in PATHS:
        assert browser.get(path).status_code == 200


def test_while_another_process_runs_every_page_is_there(waiting):
    """From the answers of round 1 to the sheets of round 2, in a process of its own."""
    project, names = waiting
    browser = Browser(project)
    answer(project, names)
    main = [sys.executable, "-c", "from loop.cli import main; main()", "run"]
    process = subprocess.Popen([*main, "--project", str(project.root)], stdout=subprocess.DEVNULL)
    statuses = set()
    while process.poll() is None:
        statuses |= {browser.get(path).status_code for path in (*PATHS, "/version")}
    assert process.returncode == 0
    assert statuses == {200}
    assert len(keys_on(browser.get("/?round=2").text)) == 24


def test_records_that_are_replaced_or_damaged_meanwhile(waiting, tmp_path):
    project, _ = waiting
    browser = Browser(project)
    key = browser.view.gallery().keys[0]
    file = project.root / "coreloop.db"
    with contextlib.closing(sqlite3.connect(file)) as records:
        records.execute(f"VACUUM INTO '{tmp_path / 'other.db'}'")
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as records:
        records.execute("UPDATE item SET uri = 'elsewhere.png' WHERE key = ?", (key,))
        records.commit()
    whole = file.read_bytes()
    (tmp_path / "other.db").replace(file)
    for log in project.root.glob("coreloop.db-*"):
        log.unlink()
    assert "elsewhere.png" in browser.get(f"/image/{key}").text
    draft = tmp_path / "draft"
    draft.write_bytes(whole[:1000])
    draft.replace(file)
    for path in ("/", "/rounds", f"/image/{key}", "/label"):
        assert browser.get(path).status_code == 409
    assert browser.get("/version").json()["version"] == ""
    assert browser.get(f"/thumbnail/{'0' * 32}").headers["content-type"] == "image/svg+xml"


def test_before_anything_was_done_pages_say_what_to_type(tmp_path):
    write_images(tmp_path / "images")
    project = create(tmp_path / "p", config.check(small_values(tmp_path / "images"), "test"))
    browser = Browser(project)
    for path in PATHS[:-1]:
        assert "run 'coreloop scan'" in browser.get(path).text.replace("&#39;", "'")
    scan(project)
    assert len(keys_on(browser.get("/").text)) == 60
    assert "not embedded" in browser.get("/map").text
    assert "oracle" in browser.get("/label").text


def test_a_lost_array_takes_only_what_hangs_on_it(second_round, tmp_path):
    shutil.copytree(second_round.root, tmp_path / "project")
    project = find(tmp_path / "project")
    for path in project.arrays.glob("*.npy"):
        path.unlink()
    browser = Browser(project)
    assert browser.get("/").status_code in (200, 409)
    assert "doctor --repair" in browser.get("/map").text


def test_a_project_with_label_studio_is_labelled_there(tmp_path):
    write_images(tmp_path / "images")
    labeler = {"kind": "label-studio", "url": "http://127.0.0.1:9"}
    values = small_values(tmp_path / "images", labeler=labeler)
    del values["labeler"]["error_rate"]
    project = create(tmp_path / "p", config.check(values, "test"))
    scan(project)
    browser = Browser(project)
    assert "labelled in Label Studio" in browser.get("/label").text
    refused = browser.click(browser.view.gallery().keys[0], "digit-0")
    assert refused.status_code == 409
    assert "labelled by 'label-studio'" in refused.json()["error"]
