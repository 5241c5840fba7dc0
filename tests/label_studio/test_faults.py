"""Push and pull against the real server while things break: never twice, never lost."""

from __future__ import annotations

import json
import os
import re
import threading
import uuid
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version

import pytest

from connectors.base import (
    BatchToLabel,
    ItemToLabel,
    Mismatch,
    Prediction,
    Rejected,
    Unauthorized,
    Unknown,
    Unreachable,
    WouldReopen,
)
from connectors.testing import check_labeler
from loop.demo.server import annotate, personal_token
from tests.label_studio.conftest import ROOT, kill, second_person, start_again
from tests.label_studio.world import tasks_of

pytestmark = pytest.mark.server
IMPORT = "/import?return_task_ids"


def test_the_sdk_is_the_one_meant():
    """``make test`` runs this file twice, with the newest SDK and with the oldest allowed."""
    pinned = re.search(r"label-studio-sdk==(\S+)", (ROOT / "constraints.txt").read_text())
    assert version("label-studio-sdk") == os.environ.get("CORELOOP_SDK", pinned.group(1))


def new_batch():
    return BatchToLabel(uuid.uuid4().hex, 1)


def tasks(new_labeler):
    return tasks_of(new_labeler())


def number(annotation):
    """The server's own id of an annotation."""
    return annotation.id.partition("@")[0]


def answer_all(server, new_labeler, items, label="dog"):
    answers = {item.key: (label, 2.5) for item in items}
    return annotate(server, new_labeler().project.id, answers)


def test_contract(server, new_labeler, items):
    def answer(labeler, key, label):
        annotate(server, labeler.project.id, {key: (label, 1.0)})

    check_labeler(new_labeler, items, ["cat", "dog", "bird"], answer)


@pytest.mark.parametrize("fault", ["drop", "504", "502"])
def test_lost_answer_to_a_push_adds_no_task(new_labeler, proxy, items, fault):
    new_labeler().prepare(["cat", "dog", "bird"])
    batch = new_batch()
    labeler = new_labeler(proxy.url)
    proxy.breaks(fault, IMPORT)
    with pytest.raises(Unknown):
        labeler.push(batch, items)
    assert sum(IMPORT in seen for seen in proxy.seen) == 1  # sent once, whatever came back
    assert set(new_labeler().find(batch)) == {i.key for i in items}
    new_labeler().push(batch, items)
    assert len(tasks(new_labeler)) == 5


def test_refused_push_can_be_repeated(new_labeler, proxy, items):
    new_labeler().prepare(["cat", "dog", "bird"])
    batch, labeler = new_batch(), new_labeler(proxy.url)
    proxy.breaks("refuse", IMPORT)
    with pytest.raises(Unknown):
        labeler.push(batch, items)
    assert dict(labeler.find(batch)) == {}
    labeler.push(batch, items)
    assert len(tasks(new_labeler)) == 5


@pytest.mark.parametrize("fault", ["drop", "504", "refuse"])
def test_reads_are_repeated(server, new_labeler, proxy, items, fault):
    new_labeler().prepare(["cat", "dog", "bird"])
    new_labeler().push(new_batch(), items)
    answer_all(server, new_labeler, items)
    proxy.breaks(fault, "GET /api/tasks/")
    assert len(list(new_labeler(proxy.url).pull(None))) == 5


@pytest.mark.parametrize("fault", ["drop", "504"])
def test_lost_answer_to_project_creation_makes_one_project(new_labeler, proxy, fault):
    proxy.breaks(fault, "POST /api/projects/")
    labeler = new_labeler(proxy.url)
    labeler.prepare(["cat", "dog", "bird"])
    assert new_labeler().project.id == labeler.project.id


def test_server_that_stays_away(new_labeler, proxy, items):
    new_labeler().prepare(["cat", "dog", "bird"])
    labeler = new_labeler(proxy.url)
    proxy.breaks("refuse", "/api/", times=100)
    with pytest.raises(Unreachable):
        list(labeler.pull(None))
    gone = new_labeler("http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="is it running"):
        gone.prepare(["cat", "dog", "bird"])


def test_expired_access_token_is_renewed_once(new_labeler, proxy, items):
    new_labeler().prepare(["cat", "dog", "bird"])
    labeler = new_labeler(proxy.url)
    proxy.breaks("401", "/api/projects/")
    assert labeler.project.id
    proxy.breaks("401", "/api/", times=100)
    with pytest.raises(Unauthorized, match="LABEL_STUDIO_API_KEY"):
        list(labeler.pull(None))


def test_wrong_token_says_what_to_do_and_nothing_secret(server, new_labeler):
    with pytest.raises(Unauthorized) as caught:
        new_labeler(token="0123456789abcdef" * 2).prepare(["cat"])
    assert "personal access token" in str(caught.value)
    for secret in ("0123456789abcdef", server.token, "sessionid", "csrftoken"):
        assert secret not in str(caught.value)


def test_personal_access_token_works(server, new_labeler):
    labeler = new_labeler(token=personal_token(server))
    labeler.prepare(["cat", "dog", "bird"])
    assert labeler.progress().tasks == 0


def test_copies_are_removed_unless_labelled(server, new_labeler, items):
    labeler = new_labeler()
    labeler.prepare(["cat", "dog", "bird"])
    batch = new_batch()
    first = dict(labeler.push(batch, items))
    copies = [
        {
            "data": {
                "image": t.data["image"],
                "coreloop_key": t.data["coreloop_key"],
                "coreloop_batch": batch.uuid,
            }
        }
        for t in tasks(new_labeler)
    ]
    labeler.client.write("POST", f"/api/projects/{labeler.project.id}/import", copies)
    assert len(tasks(new_labeler)) == 10
    copied, untouched = items[0].key, {item.key for item in items[1:]}
    annotate(server, labeler.project.id, {copied: ("dog", 2.0)})  # both tasks of this image
    remote_ids = new_labeler().find(batch)
    assert {key: remote_ids[key] for key in untouched} == {key: first[key] for key in untouched}
    assert len(tasks(new_labeler)) == 6
    assert len(new_labeler().inventory({})[copied]) == 2


def test_deleted_task_is_sent_again_and_a_reused_id_does_not_confuse(new_labeler, items):
    labeler = new_labeler()
    labeler.prepare(["cat", "dog", "bird"])
    batch = new_batch()
    task_ids = dict(labeler.push(batch, items))
    last = items[-1].key
    labeler.client.write("DELETE", f"/api/tasks/{task_ids[last]}/")
    assert last not in new_labeler().find(batch)
    again = dict(new_labeler().push(batch, items))
    assert set(again) == set(task_ids)
    assert {k: v for k, v in again.items() if k != last} == {
        k: v for k, v in task_ids.items() if k != last
    }
    assert len(tasks(new_labeler)) == 5


def test_edits_skips_deletions_and_foreign_tasks(server, new_labeler, items):
    labeler = new_labeler()
    labeler.prepare(["cat", "dog", "bird"])
    task_ids = labeler.push(new_batch(), items)
    project = labeler.project.id
    labeler.client.write(
        "POST", f"/api/projects/{project}/import", [{"data": {"image": "/static/x.png"}}]
    )
    answer_all(server, new_labeler, items)
    first = {n.key: n for n in labeler.pull(None)}
    assert {n.label for n in first.values()} == {"dog"}
    assert {n.seconds for n in first.values()} == {2.5}
    assert labeler.progress().extra["foreign"] == 1
    cursor = labeler.cursor
    edited, deleted, skipped = items[0].key, items[1].key, items[2].key
    new = [
        {
            "from_name": "label",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": ["bird"]},
        }
    ]
    labeler.client.write("PATCH", f"/api/annotations/{number(first[edited])}/", {"result": new})
    labeler.client.write("DELETE", f"/api/annotations/{number(first[deleted])}/")
    labeler.client.write(
        "POST",
        f"/api/tasks/{task_ids[skipped]}/annotations/",
        {"result": [], "was_cancelled": True},
    )
    later = new_labeler()
    answers = list(later.pull(cursor))
    assert ("bird", first[edited].id) in {(n.label, n.id) for n in answers if n.key == edited}
    assert any(n.cancelled and n.label is None for n in answers if n.key == skipped)
    assert later.seen[deleted].annotations == set()


def test_answers_that_arrive_while_pages_are_read(server, new_labeler, items, monkeypatch):
    import connectors.label_studio.tasks as module

    monkeypatch.setattr(module, "PAGE", 2)
    labeler = new_labeler()
    labeler.prepare(["cat", "dog", "bird"])
    labeler.push(new_batch(), items)
    answer_all(server, new_labeler, items[:4])
    stream = labeler.pull(None)
    seen = [next(stream)]
    answer_all(server, new_labeler, items[4:])  # shifts nothing: pages follow ids
    seen += list(stream)
    assert {n.key for n in seen} == {i.key for i in items}


def test_class_removed_from_the_config_is_noticed(new_labeler, items):
    labeler = new_labeler()
    labeler.prepare(["cat", "dog", "bird"])
    from connectors.label_studio import config

    path = f"/api/projects/{labeler.project.id}/"
    labeler.client.write("PATCH", path, {"label_config": config.build(["cat", "dog"])})
    with pytest.raises(Mismatch, match="bird"):
        new_labeler().push(new_batch(), items)
    new_labeler().prepare(["cat", "dog", "bird"])  # no annotation yet, so it may be put back
    assert len(new_labeler().push(new_batch(), items)) == 5


def test_deleted_project_is_noticed(new_labeler, items):
    labeler = new_labeler()
    labeler.prepare(["cat", "dog", "bird"])
    labeler.client.write("DELETE", f"/api/projects/{labeler.project.id}/")
    with pytest.raises(Mismatch, match="deleted"):
        list(labeler.pull(None))
    with pytest.raises(Mismatch, match="coreloop push"):
        new_labeler().progress()


def test_adopted_project_must_fit(new_labeler):
    labeler = new_labeler()
    labeler.prepare(["cat", "dog", "bird"])
    number = labeler.project.id
    new_labeler(project_id=number).prepare(["cat", "dog"])
    with pytest.raises(Mismatch, match="horse"):
        new_labeler(project_id=number).prepare(["cat", "horse"])


def test_predictions_are_shown_and_current(new_labeler, items):
    labeler = new_labeler()
    labeler.prepare(["cat", "dog", "bird"])
    labeler.push(
        new_batch(), [replace(i, prediction=Prediction("cat", 0.7, "round-1")) for i in items]
    )
    now = labeler.client.get(f"/api/projects/{labeler.project.id}/")
    assert now["model_version"] == "round-1"
    assert now["total_predictions_number"] == 5


def many(count):
    return [ItemToLabel(f"{i:032x}", "0.png") for i in range(count)]


def test_predictions_are_replaced_not_added(new_labeler, items):
    labeler = new_labeler()
    labeler.prepare(["cat", "dog", "bird"])
    task_ids = labeler.push(new_batch(), items)

    def versions():
        path = f"/api/projects/{labeler.project.id}/model-versions/"
        return labeler.client.get(path, {"extended": "true"})["static"]

    for label, of in (("cat", "zero-shot"), ("dog", "round-1"), ("bird", "round-1")):
        labeler.predict(task_ids, {i.key: Prediction(label, 0.5, of) for i in items})
    assert {v["model_version"]: v["count"] for v in versions()} == {"zero-shot": 5, "round-1": 5}
    project = labeler.client.get(f"/api/projects/{labeler.project.id}/")
    assert project["model_version"] == "round-1"
    for wrong in (Prediction("horse", 0.5, "r"), Prediction("cat", 1.5, "r")):
        with pytest.raises(Mismatch, match="fits no choice"):
            labeler.predict(task_ids, {items[0].key: wrong})


def test_lost_answer_to_predictions_is_put_right(new_labeler, proxy, items):
    labeler = new_labeler(proxy.url)
    labeler.prepare(["cat", "dog", "bird"])
    task_ids = labeler.push(new_batch(), items)
    guesses = {i.key: Prediction("cat", 0.5, "round-1") for i in items}
    proxy.breaks("drop", "/import/predictions")
    with pytest.raises(Unknown):
        labeler.predict(task_ids, guesses)
    labeler.predict(task_ids, guesses)
    now = labeler.client.get(f"/api/projects/{labeler.project.id}/")
    assert now["total_predictions_number"] == 5


def test_uncertain_first(server, new_labeler, items):
    labeler = new_labeler(order="uncertain")
    labeler.prepare(["cat", "dog", "bird"])
    scores = [0.9, 0.1, 0.5, 0.3, 0.7]
    labeler.push(
        new_batch(),
        [
            replace(item, prediction=Prediction("cat", score, "round-1"))
            for item, score in zip(items, scores)
        ],
    )
    project, other, seen = labeler.project.id, second_person(server), []
    for _ in items:
        task = other.get(f"/api/projects/{project}/next").json()
        seen.append(scores[[i.key for i in items].index(task["data"]["coreloop_key"])])
        result = [
            {
                "from_name": "label",
                "to_name": "image",
                "type": "choices",
                "value": {"choices": ["cat"]},
            }
        ]
        headers = {"X-CSRFToken": other.cookies["csrftoken"], "Referer": server.url}
        path = f"/api/tasks/{task['id']}/annotations/"
        assert other.post(path, json={"result": result}, headers=headers).status_code == 201
    assert seen == sorted(scores)


@pytest.mark.slow
def test_ten_thousand_tasks(server, new_labeler, monkeypatch):
    labeler = new_labeler()
    labeler.prepare(["cat", "dog", "bird"])
    items = many(10_000)
    for start in range(0, len(items), 1000):
        labeler.push(new_batch(), items[start : start + 1000])
    keys = [t.data["coreloop_key"] for t in tasks_of(labeler)]
    assert keys == [item.key for item in items]  # in labelling order, each once
    assert list(labeler.pull(None)) == []
    chosen = [items[i] for i in (0, 1234, 9999)]
    answer_all(server, new_labeler, chosen)
    # so that the import counts as long ago
    monkeypatch.setattr("connectors.label_studio.pull.OVERLAP", timedelta(0))
    later = new_labeler()
    assert {n.key for n in later.pull(labeler.cursor)} == {item.key for item in chosen}
    assert len(later.seen) < 10_000


@pytest.mark.parametrize("after", [0.1, 0.4, 0.8, 1.6])
def test_server_killed_during_an_import_of_thousands(server, new_labeler, proxy, after):
    """Whenever it dies: all of the batch is there after the restart, or nothing."""
    new_labeler().prepare(["cat", "dog", "bird"])
    batch, items, labeler = new_batch(), many(3000), new_labeler(proxy.url)
    timer = threading.Timer(after, kill, [server])
    proxy.breaks(timer.start, IMPORT)
    with suppress(Unknown, Unreachable):
        labeler.push(batch, items)
    timer.join()
    start_again(server)
    task_ids = new_labeler().find(batch)
    print(f"killed after {after} s: {len(task_ids)} of {len(items)} tasks")
    assert len(task_ids) in (0, len(items))
    new_labeler().push(batch, items)
    assert {key: len(ids) for key, ids in new_labeler().inventory({}).items()} == {
        item.key: 1 for item in items
    }


def test_one_more_person_is_asked(server, new_labeler, items):
    labeler = new_labeler()
    labeler.prepare(["cat", "dog", "bird"])
    task_ids = dict(labeler.push(new_batch(), items))
    answer_all(server, new_labeler, items)
    other, project = second_person(server), labeler.project.id
    assert other.get(f"/api/projects/{project}/next").status_code == 404
    chosen = items[3].key
    asked = labeler.ask_again({chosen: task_ids[chosen], items[0].key: task_ids[items[1].key]})
    assert asked.count == 1
    task = other.get(f"/api/projects/{project}/next").json()
    assert task["data"]["coreloop_key"] == chosen
    result = [
        {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": ["cat"]}}
    ]
    headers = {"X-CSRFToken": other.cookies["csrftoken"], "Referer": server.url}
    answer = other.post(
        f"/api/tasks/{task['id']}/annotations/", json={"result": result}, headers=headers
    )
    assert answer.status_code == 201
    answers = [n for n in new_labeler().pull(None) if n.key == chosen]
    assert {n.label for n in answers} == {"dog", "cat"}
    assert len({n.annotator for n in answers}) == 2


def test_nothing_telling_is_sent(new_labeler, items):
    labeler = new_labeler()
    labeler.prepare(["cat", "dog", "bird"])
    labeler.push(new_batch(), items)
    for task in tasks_of(labeler):
        assert set(task.data) == {"image", "coreloop_key", "coreloop_batch", "coreloop_caption"}
        assert "cat" not in json.dumps(task.data)


def test_a_server_that_cuts_pages_short_hides_nothing(server, new_labeler, items, monkeypatch):
    """TASK_API_PAGE_SIZE_MAX does that; only the total tells."""
    labeler = new_labeler()
    labeler.prepare(["cat", "dog", "bird"])
    labeler.push(new_batch(), items)
    answer_all(server, new_labeler, items)
    ask = labeler.client.get

    def short(path, params=None, **options):
        params = {**params, "page_size": 2} if path == "/api/tasks/" else params
        return ask(path, params, **options)

    monkeypatch.setattr(labeler.client, "get", short)
    assert len(list(labeler.pull(None))) == len(labeler.inventory({})) == len(items)


def test_overlap_raised_later_opens_the_tasks_again(server, new_labeler, items):
    labeler = new_labeler()
    labeler.prepare(["cat", "dog", "bird"])
    labeler.push(new_batch(), items)
    answer_all(server, new_labeler, items)
    assert labeler.progress().annotated == 5
    unasked = new_labeler(overlap=2)
    with pytest.raises(WouldReopen, match=r"1 until now: 5 finished tasks") as told:
        unasked.prepare(["cat", "dog", "bird"])
    assert told.value.count == 5
    assert labeler.client.get(f"/api/projects/{labeler.project.id}/")["maximum_annotations"] == 1
    foretold = {change.what: change for change in unasked.foretell(["cat", "dog", "bird"], 0, [])}
    assert foretold["finished tasks opened again"].after == 5
    more = new_labeler(overlap=2, reopen=True)
    more.prepare(["cat", "dog", "bird"])
    tasks = [more.client.get(f"/api/tasks/{ids[0]}/") for ids in more.inventory({}).values()]
    assert [(t["overlap"], t["is_labeled"]) for t in tasks] == [(2, False)] * 5


def test_classes_added_at_the_end_are_offered_and_all_else_stays(server, new_labeler, items):
    labeler = new_labeler()
    labeler.prepare(["cat", "dog", "bird"])
    path = f"/api/projects/{labeler.project.id}/"
    own = labeler.project.description.label_config.replace('maxWidth="600px"', 'maxWidth="900px"')
    labeler.client.write("PATCH", path, {"label_config": own})
    labeler.push(new_batch(), items)
    answer_all(server, new_labeler, items)
    again = new_labeler(classes=["cat", "dog", "bird", "fish"])
    with pytest.raises(Mismatch, match="'coreloop push' adds it"):
        list(again.pull(None))
    again.prepare(["cat", "dog", "bird", "fish"])
    assert again.project.controls().classes == ("cat", "dog", "bird", "fish")
    assert 'maxWidth="900px"' in again.project.description.label_config
    assert len(list(again.pull(None))) == 5


def test_large_uploads_go_in_several_requests(new_labeler, items, proxy, monkeypatch):
    monkeypatch.setattr("connectors.label_studio.images.UPLOAD_BYTES", 400)
    labeler = new_labeler(proxy.url, images="upload")
    labeler.prepare(["cat", "dog", "bird"])
    assert len(labeler.push(new_batch(), items)) == 5
    assert sum("commit_to_project=false" in seen for seen in proxy.seen) > 1


def test_tiff_is_refused_where_the_browser_would_have_to_read_it(new_labeler, items):
    labeler = new_labeler()
    labeler.prepare(["cat", "dog", "bird"])
    with pytest.raises(Rejected, match="images = 'upload'"):
        labeler.push(new_batch(), [ItemToLabel(items[0].key, "0.tif")])


def test_redirect_says_where_to(new_labeler, proxy):
    labeler = new_labeler(proxy.url)
    proxy.breaks("moved", "/api/projects", times=9)
    with pytest.raises(Rejected, match=r"https://elsewhere\.example; set url under"):
        labeler.prepare(["cat", "dog", "bird"])
