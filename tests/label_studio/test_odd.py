"""Annotations that no person makes and the server accepts: named with their link, passed over, and
the good ones beside them kept."""

from __future__ import annotations

import pytest

from connectors.base import Unknown
from db.answers import current_answers
from loop.cli import main
from loop.steps.doctor import doctor
from loop.steps.pull import pull
from loop.steps.push import push
from loop.steps.status import status
from tests.label_studio.world import PICKS

pytestmark = pytest.mark.server


def region(value, **changes):
    return {"from_name": "label", "to_name": "image", "type": "choices", "value": value, **changes}


GOOD = region({"choices": ["digit-1"]})
ODD = {
    "object-for-list": {"result": [region({"choices": {"a": 1}})]},
    "number-for-list": {"result": [region({"choices": 3})]},
    "word-for-list": {"result": [region({"choices": "digit-1"})]},
    "null-in-list": {"result": [region({"choices": [None]})]},
    "number-in-list": {"result": [region({"choices": [1]})]},
    "empty-word": {"result": [region({"choices": [""]})]},
    "escape-sequence": {"result": [region({"choices": ["\x1b[2Jdigit-1"]})]},
    "two-choices": {"result": [region({"choices": ["digit-0", "digit-1"]})]},
    "two-results": {"result": [GOOD, region({"choices": ["digit-0"]})]},
    "no-choices": {"result": [region({"text": ["digit-1"]})]},
    "other-type": {"result": [region({"choices": ["digit-1"]}, type="labels")]},
    "lead-time-without-end": {"result": [GOOD], "lead_time": 1e308},
    "lead-time-below-zero": {"result": [GOOD], "lead_time": -3.0},
}


def annotate(world, key, body):
    """Stores an annotation."""
    return world.write("POST", f"/api/tasks/{world.tasks()[key]}/annotations/", body)


def labels(world):
    with world.project.records.read() as session:
        return {answer.key: answer.label for answer in current_answers(session, 1)}


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("kind", ODD)
def test_an_odd_annotation_is_named_and_passed_over(world, kind, full):
    push(world.project)
    first, *others = world.picks
    odd = annotate(world, first, ODD[kind])["id"]
    world.answer(others[:3])
    pulled = pull(world.project, full=full)
    assert labels(world) == dict.fromkeys(others[:3], "digit-1")
    assert (pulled.answered, pulled.complete) == (3, False)
    (named,) = pulled.odd
    task = world.tasks()[first]
    link = f"/projects/{world.direct().project.id}/data?task={task}"
    assert link in named
    assert any(link in trouble for trouble in status(world.project).troubles)
    check = next(c for c in doctor(world.project.root) if c.name == "annotations")
    assert not check.ok
    assert link in check.detail
    assert pull(world.project).new == 0  # it is no news the second time
    world.write("PATCH", f"/api/annotations/{odd}/", {"result": [GOOD], "lead_time": 2.0})
    pulled = pull(world.project)
    assert (pulled.answered, pulled.odd) == (4, [])
    assert next(c for c in doctor(world.project.root) if c.name == "annotations").ok


def test_a_value_that_the_server_itself_fails_over_and_stores(world):
    push(world.project)
    with pytest.raises(Unknown, match="answered 500"):
        annotate(world, world.picks[0], {"result": [region("digit-1")]})
    world.answer(world.picks[1:3])
    pulled = pull(world.project)
    assert (pulled.answered, len(pulled.odd)) == (2, 1)


def test_a_label_that_becomes_odd_counts_no_more(world):
    push(world.project)
    world.answer(world.picks[:1])
    pull(world.project)
    (entry,) = world.direct().client.get(f"/api/tasks/{world.tasks()[world.picks[0]]}/")[
        "annotations"
    ]
    world.write("PATCH", f"/api/annotations/{entry['id']}/", ODD["two-choices"])
    assert pull(world.project).answered == 0
    assert labels(world) == {}
    world.write("DELETE", f"/api/annotations/{entry['id']}/")
    assert pull(world.project).odd == []


def test_a_round_with_an_odd_annotation_can_be_closed(world):
    push(world.project)
    annotate(world, world.picks[0], ODD["number-for-list"])
    world.answer(world.picks[1:])
    assert not pull(world.project).complete
    pulled = pull(world.project, close=True)
    assert (pulled.complete, pulled.answered) == (True, PICKS - 1)


def test_results_of_other_controls_are_no_matter(world):
    push(world.project)
    note = {"from_name": "note", "to_name": "image", "type": "textarea", "value": {"text": ["x"]}}
    annotate(world, world.picks[0], {"result": [note, GOOD]})
    annotate(world, world.picks[1], {"result": [note]})
    annotate(world, world.picks[2], {"result": []})
    pulled = pull(world.project)
    assert labels(world)[world.picks[0]] == "digit-1"
    assert pulled.odd == []


def test_run_names_them_as_it_ends(world, monkeypatch, capsys):
    push(world.project)
    for key, count in ((world.picks[0], "an annotation is"), (world.picks[1], "2 annotations are")):
        annotate(world, key, ODD["object-for-list"])
        monkeypatch.setattr("sys.argv", ["coreloop", "run", "-p", str(world.project.root)])
        main()
        shown = capsys.readouterr().out
        assert f"{count} not read as an answer" in shown
        assert f"data?task={world.tasks()[world.picks[0]]}" in shown
        assert "label here: " in shown


def test_the_command_names_them(world, monkeypatch, capsys):
    push(world.project)
    annotate(world, world.picks[0], ODD["object-for-list"])
    monkeypatch.setattr("sys.argv", ["coreloop", "pull", "-p", str(world.project.root)])
    main()
    shown = capsys.readouterr().out
    assert "not read as an answer" in shown
    assert "value.choices: Input should be a valid list" in shown
