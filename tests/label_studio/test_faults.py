"""Push and pull against the real server while things break: never twice, never lost."""

from __future__ import annotations

import json
import time
import uuid

import pytest

from connectors.base import Batch, Mismatch, Unauthorized, Unknown, Unreachable
from connectors.label_studio.server import annotate, personal_token
from connectors.testing import check_labeler

pytestmark = pytest.mark.server
IMPORT = "/import?return_task_ids"


def batch():
    return Batch(uuid.uuid4().hex, 1)


def tasks(labeler):
    return list(labeler().tasks())


def answer_all(server, labeler, items, label="dog"):
    answers = {item.key: (label, 2.5) for item in items}
    return annotate(server, int(labeler().project["id"]), answers)


def test_contract(server, labeler, items):
    def answer(people, key, label):
        annotate(server, int(people.project["id"]), {key: (label, 1.0)})

    check_labeler(labeler, items, ["cat", "dog", "bird"], answer)


@pytest.mark.parametrize("fault", ["drop", "504", "502"])
def test_lost_answer_to_a_push_adds_no_task(labeler, proxy, items, fault):
    labeler().prepare(["cat", "dog", "bird"])
    one = batch()
    people = labeler(proxy.url)
    proxy.breaks(fault, IMPORT)
    with pytest.raises(Unknown):
        people.push(one, items)
    assert sum(IMPORT in seen for seen in proxy.seen) == 1  # sent once, whatever came back
    assert set(labeler().find(one)) == {i.key for i in items}
    labeler().push(one, items)
    assert len(tasks(labeler)) == 5


def test_refused_push_can_be_repeated(labeler, proxy, items):
    labeler().prepare(["cat", "dog", "bird"])
    one, people = batch(), labeler(proxy.url)
    proxy.breaks("refuse", IMPORT)
    with pytest.raises(Unknown):
        people.push(one, items)
    assert dict(people.find(one)) == {}
    people.push(one, items)
    assert len(tasks(labeler)) == 5


@pytest.mark.parametrize("fault", ["drop", "504", "refuse"])
def test_reads_are_repeated(server, labeler, proxy, items, fault):
    labeler().prepare(["cat", "dog", "bird"])
    labeler().push(batch(), items)
    answer_all(server, labeler, items)
    proxy.breaks(fault, "GET /api/tasks/")
    assert len(list(labeler(proxy.url).pull(None))) == 5


@pytest.mark.parametrize("fault", ["drop", "504"])
def test_lost_answer_to_project_creation_makes_one_project(labeler, proxy, fault):
    proxy.breaks(fault, "POST /api/projects/")
    people = labeler(proxy.url)
    people.prepare(["cat", "dog", "bird"])
    assert labeler().project["id"] == people.project["id"]


def test_server_that_stays_away(labeler, proxy, items):
    labeler().prepare(["cat", "dog", "bird"])
    people = labeler(proxy.url)
    proxy.breaks("refuse", "/api/", times=100)
    with pytest.raises(Unreachable):
        list(people.pull(None))
    gone = labeler("http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="is it running"):
        gone.prepare(["cat", "dog", "bird"])


def test_expired_access_token_is_renewed_once(labeler, proxy, items):
    labeler().prepare(["cat", "dog", "bird"])
    people = labeler(proxy.url)
    proxy.breaks("401", "/api/projects/")
    assert people.project
    proxy.breaks("401", "/api/", times=100)
    with pytest.raises(Unauthorized, match="LABEL_STUDIO_API_KEY"):
        list(people.pull(None))


def test_wrong_token_says_what_to_do_and_nothing_secret(server, labeler):
    with pytest.raises(Unauthorized) as caught:
        labeler(token="0123456789abcdef" * 2).prepare(["cat"])
    assert "personal access token" in str(caught.value)
    for secret in ("0123456789abcdef", server.token, "sessionid", "csrftoken"):
        assert secret not in str(caught.value)


def test_personal_access_token_works(server, labeler):
    people = labeler(token=personal_token(server))
    people.prepare(["cat", "dog", "bird"])
    assert people.progress().tasks == 0


def test_copies_are_removed_unless_labelled(server, labeler, items):
    people = labeler()
    people.prepare(["cat", "dog", "bird"])
    one = batch()
    first = dict(people.push(one, items))
    copies = [
        {"data": {"image": t["data"]["image"], "coreloop_key": t["data"]["coreloop_key"],
                  "coreloop_batch": one.uuid}}
        for t in tasks(labeler)
    ]  # fmt: skip
    people.client.write("POST", f"/api/projects/{people.project['id']}/import", copies)
    assert len(tasks(labeler)) == 10
    assert dict(labeler().find(one)) == first
    assert len(tasks(labeler)) == 5


def test_deleted_task_is_sent_again_and_a_reused_id_does_not_confuse(labeler, items):
    people = labeler()
    people.prepare(["cat", "dog", "bird"])
    one = batch()
    there = dict(people.push(one, items))
    last = items[-1].key
    people.client.write("DELETE", f"/api/tasks/{there[last]}/")
    assert last not in labeler().find(one)
    again = dict(labeler().push(one, items))
    assert set(again) == set(there)
    assert {k: v for k, v in again.items() if k != last} == {
        k: v for k, v in there.items() if k != last
    }
    assert len(tasks(labeler)) == 5


def test_edits_skips_deletions_and_foreign_tasks(server, labeler, items):
    people = labeler()
    people.prepare(["cat", "dog", "bird"])
    there = people.push(batch(), items)
    project = people.project["id"]
    people.client.write(
        "POST", f"/api/projects/{project}/import", [{"data": {"image": "/static/x.png"}}]
    )
    answer_all(server, labeler, items)
    first = {n.key: n for n in people.pull(None)}
    assert {n.label for n in first.values()} == {"dog"}
    assert {n.seconds for n in first.values()} == {2.5}
    assert people.counts["foreign"] == 1
    cursor = people.cursor
    edited, deleted, skipped = items[0].key, items[1].key, items[2].key
    new = [{"from_name": "label", "to_name": "image", "type": "choices",
            "value": {"choices": ["bird"]}}]  # fmt: skip
    people.client.write("PATCH", f"/api/annotations/{first[edited].id}/", {"result": new})
    people.client.write("DELETE", f"/api/annotations/{first[deleted].id}/")
    people.client.write(
        "POST", f"/api/tasks/{there[skipped]}/annotations/", {"result": [], "was_cancelled": True}
    )
    later = labeler()
    notes = list(later.pull(cursor))
    assert ("bird", first[edited].id) in {(n.label, n.id) for n in notes if n.key == edited}
    assert any(n.cancelled and n.label is None for n in notes if n.key == skipped)
    assert later.present[deleted] == set()


def test_answers_that_arrive_while_pages_are_read(server, labeler, items, monkeypatch):
    import connectors.label_studio.labeler as module

    monkeypatch.setattr(module, "PAGE", 2)
    people = labeler()
    people.prepare(["cat", "dog", "bird"])
    people.push(batch(), items)
    answer_all(server, labeler, items[:4])
    stream = people.pull(None)
    seen = [next(stream)]
    answer_all(server, labeler, items[4:])  # shifts nothing: pages follow ids
    seen += list(stream)
    assert {n.key for n in seen} == {i.key for i in items}


def test_class_removed_from_the_config_is_noticed(labeler, items):
    people = labeler()
    people.prepare(["cat", "dog", "bird"])
    from connectors.label_studio import config

    path = f"/api/projects/{people.project['id']}/"
    people.client.write("PATCH", path, {"label_config": config.build(["cat", "dog"])})
    with pytest.raises(Mismatch, match="bird"):
        labeler().push(batch(), items)
    labeler().prepare(["cat", "dog", "bird"])  # no annotation yet, so it may be put back
    assert len(labeler().push(batch(), items)) == 5


def test_deleted_project_is_noticed(labeler, items):
    people = labeler()
    people.prepare(["cat", "dog", "bird"])
    people.client.write("DELETE", f"/api/projects/{people.project['id']}/")
    with pytest.raises(Mismatch, match="deleted"):
        list(people.pull(None))
    with pytest.raises(Mismatch, match="coreloop push"):
        labeler().progress()


def test_adopted_project_must_fit(labeler):
    people = labeler()
    people.prepare(["cat", "dog", "bird"])
    number = int(people.project["id"])
    labeler(project_id=number).prepare(["cat", "dog"])
    with pytest.raises(Mismatch, match="horse"):
        labeler(project_id=number).prepare(["cat", "horse"])


def test_predictions_are_shown_and_current(labeler, items):
    from dataclasses import replace

    from connectors.base import Prediction

    people = labeler()
    people.prepare(["cat", "dog", "bird"])
    people.push(batch(), [replace(i, prediction=Prediction("cat", 0.7, "round-1")) for i in items])
    now = people.client.get(f"/api/projects/{people.project['id']}/")
    assert now["model_version"] == "round-1"
    assert now["total_predictions_number"] == 5


def test_two_thousand_tasks(labeler, items):
    from connectors.base import Item

    people = labeler()
    people.prepare(["cat", "dog", "bird"])
    many = [Item(f"{i:032x}", "0.png") for i in range(2000)]
    began = time.monotonic()
    for start in range(0, 2000, 1000):
        people.push(batch(), many[start : start + 1000])
    pushed = time.monotonic() - began
    began = time.monotonic()
    keys = [t["data"]["coreloop_key"] for t in people.tasks()]
    listed = time.monotonic() - began
    print(f"push {2000 / pushed:.0f}/s, listing {2000 / listed:.0f}/s")
    assert keys == [item.key for item in many]  # in labelling order, each once
    assert pushed < 60


def test_nothing_telling_is_sent(labeler, items):
    people = labeler()
    people.prepare(["cat", "dog", "bird"])
    people.push(batch(), items)
    for task in people.tasks():
        assert set(task["data"]) == {"image", "coreloop_key", "coreloop_batch"}
        assert "cat" not in json.dumps(task["data"])
