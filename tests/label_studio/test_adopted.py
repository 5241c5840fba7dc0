"""Projects as people made them, on the real server: what is read, said and refused."""

from __future__ import annotations

import pytest

from connectors.base import Mismatch, Rejected
from loop.steps.doctor import doctor
from loop.steps.pull import pull
from loop.steps.push import push
from loop.steps.run import Watcher, run
from loop.steps.status import status
from tests.conftest import rows, write_images
from tests.label_studio.adopting import SINGLE, People, adopted
from tests.label_studio.conftest import second_person

pytestmark = pytest.mark.server


@pytest.fixture
def people(server, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", server.token)
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    return People.of(server)


def labeler_check(project):
    (check,) = [check for check in doctor(project.root) if check.name == "labeler"]
    return check


def test_answers_with_an_alias_count(people, server, tmp_path):
    config = SINGLE.replace('"digit-0"/>', '"digit-0" alias="D0"/>')
    number = people.make(config)
    project = adopted(tmp_path, server, number)
    run(project)
    for task in people.tasks(number):
        people.choose(task["id"], ["D0"])
    assert pull(project).answered == 4
    assert rows(project, "SELECT DISTINCT label FROM annotation") == [("digit-0",)]
    assert labeler_check(project).ok


def test_nested_choices_count(people, server, tmp_path):
    inner = '<Choice value="digit-0"/><Choice value="digit-1"/>'
    number = people.make(SINGLE.replace(inner, f'<Choice value="digits">{inner}</Choice>'))
    project = adopted(tmp_path, server, number)
    push(project)
    for task, choice in zip(people.tasks(number), (["digits", "digit-1"], "digit-1") * 2):
        people.choose(task["id"], [choice])
    assert pull(project).answered == 4
    assert rows(project, "SELECT DISTINCT label FROM annotation") == [("digit-1",)]


def test_several_choices_are_refused_before_anything_is_sent(people, server, tmp_path):
    number = people.make(SINGLE.replace('"single"', '"multiple"'))
    project = adopted(tmp_path, server, number)
    with pytest.raises(Mismatch, match="several classes of an image"):
        push(project)
    assert people.tasks(number) == []
    assert people.ask("GET", f"/api/projects/{number}/file-uploads?all=true") == []
    check = labeler_check(project)
    assert (check.ok, "several classes" in check.detail) == (False, True)


def test_two_ticks_are_no_label_and_are_said(people, server, tmp_path):
    number = people.make()
    project = adopted(tmp_path, server, number)
    push(project)
    first, *others = people.tasks(number)
    people.choose(first["id"], ["digit-0", "digit-1"])
    for task in others:
        people.choose(task["id"], ["digit-0"])
    pulled = pull(project)
    assert pulled.answered == 3
    assert len(pulled.odd) == 1
    assert any("not read as an answer" in trouble for trouble in status(project).troubles)


@pytest.mark.parametrize("image", ['value="http://h/$image"', 'valueList="$images"'])
def test_another_image_is_refused_before_anything_is_sent(people, server, tmp_path, image):
    number = people.make(SINGLE.replace('value="$image"', image))
    project = adopted(tmp_path, server, number)
    with pytest.raises(Mismatch, match="only one field of a task"):
        push(project)
    assert people.ask("GET", f"/api/projects/{number}/file-uploads?all=true") == []
    assert not labeler_check(project).ok


def test_uploads_beside_a_text_are_refused_with_what_to_do(people, server, tmp_path):
    text = '<View><Text name="text" value="$caption"/>'
    number = people.make(SINGLE.replace("<View>", text))
    project = adopted(tmp_path, server, number)
    with pytest.raises(Rejected, match=r"several fields of a task.*set images = 'local' or 'url'"):
        push(project)
    assert people.tasks(number) == []


def test_of_two_controls_the_one_that_is_named_counts(people, server, tmp_path):
    second = SINGLE[SINGLE.index("<Choices") :].replace('"label"', '"other"')
    number = people.make(SINGLE.replace("</View>", second))
    project = adopted(tmp_path / "a", server, number)
    with pytest.raises(Mismatch, match=r"several <Choices>.*control = \"label\""):
        push(project)
    assert "control =" in labeler_check(project).detail
    project = adopted(tmp_path / "b", server, number, control="label")
    push(project)
    for task in people.tasks(number):
        people.choose(task["id"], ["digit-1"])
    assert pull(project).answered == 4


def test_a_class_that_nobody_knows_is_said_with_what_to_do(people, server, tmp_path):
    more = '<Choice value="digit-7"/></Choices>'
    number = people.make(SINGLE.replace("</Choices>", more))
    project = adopted(tmp_path, server, number)
    run(project)
    first, *others = people.tasks(number)
    people.choose(first["id"], ["digit-7"])
    for task in others:
        people.choose(task["id"], ["digit-0"])
    pulled = pull(project)
    assert pulled.answered == 3
    words = "1 answer with a class that this project does not have, counted as no label: 'digit-7'"
    assert pulled.unknown.startswith(words)
    assert f"task={first['id']}" in pulled.unknown
    assert pulled.unknown in status(project).troubles
    assert pulled.unknown in run(project).message


def test_people_who_left_keep_their_votes_and_drafts_are_none(people, server, tmp_path):
    project = adopted(tmp_path, server, people.make(), overlap=3)
    run(project)
    number = project.config.labeler.project
    leaving = [second_person(server), second_person(server)]
    task, *_, drafted = people.tasks(number)
    region = people.choose(task["id"], ["digit-1"])["result"]
    for http in leaving:
        csrf = {"X-CSRFToken": http.cookies["csrftoken"], "Referer": server.url}
        result = [{**region[0], "value": {"choices": ["digit-0"]}}]
        path = f"/api/tasks/{task['id']}/annotations/"
        assert http.post(path, headers=csrf, json={"result": result}).status_code == 201
    for http in leaving:
        who = http.get("/api/current-user/whoami").json()["id"]
        people.ask("DELETE", f"/api/users/{who}/")
    people.ask("POST", f"/api/tasks/{drafted['id']}/drafts", json={"result": region})
    assert pull(project).answered == 1
    votes = rows(project, "SELECT annotator, label FROM annotation ORDER BY label")
    assert [label for _, label in votes] == ["digit-0", "digit-0", "digit-1"]
    assert len({who for who, _ in votes}) == 3


def test_labels_of_the_same_images_are_said_and_used(people, server, tmp_path):
    number = people.make()
    write_images(tmp_path / "images", count=24)
    files = sorted((tmp_path / "images").rglob("*.png"))
    people.upload(number, {path.name: path.read_bytes() for path in files[:10]})
    names = {path.name: path.parent.name for path in files}
    for task in people.tasks(number):
        people.choose(task["id"], [names[task["data"]["image"].rpartition("-")[2]]])
    project = adopted(tmp_path, server, number)
    known = sum(names[path.name] in project.config.project.classes for path in files[:10])
    assert known
    begun = []
    run(project, Watcher(begin=begun.append))
    assert any(f"{known} images are labelled there already" in text for text in begun)
    held = dict(rows(project, "SELECT uri, label FROM item JOIN annotation ON item.id = item_id"))
    assert len(held) == 10
    assert all(label == names[uri.rpartition("/")[2]] for uri, label in held.items())
    sent = rows(
        project,
        "SELECT uri FROM item JOIN pick ON item.id = item_id JOIN sent ON pick_id = pick.id",
    )
    test = rows(project, "SELECT count(*) FROM pick WHERE arm = 'test'")
    assert test == [(4,)]
    assert not {uri for (uri,) in sent} & {uri for uri in held if known_class(project, held[uri])}


def known_class(project, label):
    return label in project.config.project.classes
