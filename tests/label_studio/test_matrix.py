"""Faults x (push, pull), whole commands against the real server.

Whatever breaks, in the end: no image twice, none missing, every human answer kept once, and
``status`` has said what happened.
"""

from __future__ import annotations

import threading
import time

import pytest

from connectors.base import Mismatch, Unauthorized, Unknown, Unreachable
from connectors.label_studio import config as label_config
from loop.steps.pull import pull
from loop.steps.push import push
from loop.steps.status import status
from tests.label_studio.conftest import kill, start_again
from tests.label_studio.world import PICKS, settled, tasks_of

pytestmark = pytest.mark.server
IMPORT, UPLOAD, LIST = "import?return_task_ids", "import?commit_to", "GET /api/tasks/"

# what breaks: (does it, error of the first try or None, what status says then)


def breaking(fault, path, times=1):
    return lambda world: world.proxy.breaks(fault, path, times)


def slow(path):
    def does(world):
        world.monkeypatch.setattr("connectors.label_studio.client.WRITE_TIMEOUT", 1.0)
        world.monkeypatch.setattr("connectors.label_studio.client.READ_TIMEOUT", 1.0)
        world.proxy.breaks("slow", path)

    return does


def dying_server(path):
    """Killed a moment after the request has reached it; its answer is lost even if it was quick."""

    def does(world):
        def dies():
            timer = threading.Timer(0.05, kill, [world.server])
            timer.start()
            return timer.join

        world.proxy.breaks(dies, path)

    return does


def removing_a_class(world):
    world.direct().prepare(["digit-0", "digit-1", "digit-2"])
    fewer = label_config.build(["digit-0", "digit-1"])
    world.write("PATCH", "/api/projects/{project}/", {"label_config": fewer})


LOST = {
    "answer-lost": "drop",
    "502-after-it-was-done": "502",
    "504-after-it-was-done": "504",
    "page-of-a-portal": "page",
    "503-before": "refuse",
    "connection-reset-before": "reset",
}
PUSH = {
    **{
        name: (breaking(fault, IMPORT), (Unknown, Unreachable), "UNKNOWN")
        for name, fault in LOST.items()
    },
    "timeout-while-the-server-goes-on": (slow(IMPORT), Unknown, "ReadTimeout"),
    "answer-to-an-upload-lost": (breaking("drop", UPLOAD), Unknown, "UNKNOWN"),
    "gateway-repeats-the-request": (breaking("twice", IMPORT), None, "5 sent"),
    "access-token-expired": (breaking("401", IMPORT), None, "5 sent"),
    "token-revoked": (breaking("401", "/api/", 100), Unauthorized, "does not accept|answered 401"),
    "server-killed": (dying_server(IMPORT), (Unknown, Unreachable), "UNKNOWN"),
}
PULL = {
    **{name: (breaking(fault, LIST), None, "5 new") for name, fault in LOST.items()},
    "timeout-while-the-server-goes-on": (slow(LIST), None, "5 new"),
    "server-away-for-long": (breaking("refuse", LIST, 100), Unreachable, "answered 503"),
    "access-token-expired": (breaking("401", LIST), None, "5 new"),
    "token-revoked": (breaking("401", "/api/", 100), Unauthorized, "does not accept|answered 401"),
    "server-killed": (dying_server(LIST), Unreachable, "no answer|without an answer"),
}


@pytest.mark.parametrize("fault", PUSH)
def test_push(world, fault):
    breaks, error, says = PUSH[fault]
    survive(world, breaks, error, says, lambda: push(world.project))
    settled(world)


@pytest.mark.parametrize("fault", PULL)
def test_pull(world, fault):
    push(world.project)
    world.answer(world.picks)
    breaks, error, says = PULL[fault]
    survive(world, breaks, error, says, lambda: pull(world.project))
    settled(world)


def survive(world, breaks, error, says, command) -> None:
    """The command meets the fault; if it fails, ``status`` says so and the same command goes on."""
    breaks(world)
    if error is None:
        command()
    else:
        with pytest.raises(error):
            command()
    assert any(word in world.says() for word in says.split("|")), world.says()
    if world.server.process.poll() is not None:
        start_again(world.server)
    world.proxy.times = 0
    world.monkeypatch.setattr("connectors.label_studio.client.WRITE_TIMEOUT", 60.0)
    world.monkeypatch.setattr("connectors.label_studio.client.READ_TIMEOUT", 60.0)
    if error is not None:
        command()


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("verb", "commit"),
    [*[("push", commit) for commit in range(1, 6)], *[("pull", commit) for commit in range(1, 5)]],
)
def test_we_are_killed(world, verb, commit, when):
    if verb == "pull":
        push(world.project)
        world.answer(world.picks)
    killed = world.command(verb, code=(when, str(commit)))
    assert killed.wait(120) == -9, killed.stdout.read()
    if verb == "push" and status(world.project).rounds[0].state == "selected":
        if (commit, when) in {(3, "after"), (4, "before")}:
            assert "SENT" in world.says()
        push(world.project)
    settled(world)


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_two_at_once(world, verb):
    if verb == "pull":
        push(world.project)
        world.answer(world.picks)
    world.proxy.breaks("slow", IMPORT if verb == "push" else LIST)
    both = [world.command(verb) for _ in range(2)]
    ended = [(process.communicate(timeout=120)[0], process.returncode) for process in both]
    assert min(code for _, code in ended) == 0, ended
    settled(world)


def test_push_after_tasks_were_deleted(world):
    push(world.project)
    world.answer(world.picks[:2])
    pull(world.project)
    task_ids = world.tasks()
    for key in world.picks[1:4]:  # one answered, two not
        world.write("DELETE", f"/api/tasks/{task_ids[key]}/")
    pulled = pull(world.project)
    assert (pulled.gone, pulled.answered, pulled.complete) == (3, 2, False)
    assert "3 images sent are missing there" in world.says()
    assert push(world.project).again == 2
    assert set(world.tasks()) == set(world.picks) - {world.picks[1]}
    world.answer(world.picks[2:], "digit-0")
    pulled = pull(world.project)
    assert (pulled.answered, pulled.complete, pulled.gone) == (PICKS, True, 1)


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_project_deleted(world, verb):
    """The answers pulled before are kept; the rest is sent to a new project."""
    push(world.project)
    world.answer(world.picks[:2])
    pull(world.project)
    world.write("DELETE", "/api/projects/{project}/")
    if verb == "pull":
        with pytest.raises(Mismatch, match="coreloop push"):
            pull(world.project)
        assert "was it deleted" in world.says()
    assert push(world.project).again == PICKS - 2
    assert set(world.tasks()) == set(world.picks[2:])
    world.answer(world.picks[2:], "digit-0")
    done = pull(world.project)
    assert (done.answered, done.complete) == (PICKS, True)


def test_class_removed(world):
    removing_a_class(world)
    push(world.project)  # nobody has answered: the class is put back
    settled(world)


@pytest.mark.parametrize("gone", ["digit-1", "digit-2"])
def test_class_removed_after_answers(world, gone):
    classes = ["digit-0", "digit-1", "digit-2"]
    push(world.project)
    world.answer(world.picks)
    offer(world, [name for name in classes if name != gone])
    with pytest.raises(Mismatch, match=gone):
        pull(world.project)
    assert gone in world.says()
    if gone == classes[-1]:  # as if it were new
        push(world.project)
    else:
        with pytest.raises(Mismatch, match=gone):
            push(world.project)
        offer(world, classes)
    settled(world)


def offer(world, classes) -> None:
    xml = label_config.build(classes)
    world.write("PATCH", "/api/projects/{project}/", {"label_config": xml})


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_names_in_the_config_changed(world, verb):
    """Answers under another name of the control would be read as empty ones."""
    push(world.project)
    whole = world.direct().project.description.label_config
    renamed = whole.replace('name="label"', 'name="kind"')
    assert renamed != whole
    world.write("PATCH", "/api/projects/{project}/", {"label_config": renamed})
    with pytest.raises(Mismatch, match="old names back"):
        push(world.project) if verb == "push" else pull(world.project)
    assert "names in the label config have changed" in world.says()
    more = whole.replace("</Choices>", '<Choice value="other"/></Choices>')
    world.write("PATCH", "/api/projects/{project}/", {"label_config": more})
    settled(world)  # a further class is no matter


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_ids_reused(world, verb):
    """The server gives the ids of deleted tasks to tasks that are not ours."""
    push(world.project)
    task_ids = world.tasks()
    lost = world.picks[-2:]
    for key in lost:
        world.write("DELETE", f"/api/tasks/{task_ids[key]}/")
    foreign = world.write(
        "POST",
        "/api/projects/{project}/import",
        [{"data": {"image": "/static/x.png"}} for _ in lost],
        return_task_ids="true",
    )["task_ids"]
    assert set(foreign) == {task_ids[key] for key in lost}
    answer = [
        {
            "from_name": "label",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": ["digit-0"]},
        }
    ]
    for task in foreign:
        world.write("POST", f"/api/tasks/{task}/annotations/", {"result": answer})
    if verb == "pull":
        world.answer(world.picks[:-2])
        pulled = pull(world.project, full=True)
        assert (pulled.answered, pulled.gone, pulled.complete) == (PICKS - 2, 2, False)
        assert "2 images sent are missing there" in world.says()
    assert push(world.project).again == 2
    settled(world)


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_copies(world, verb):
    """Somebody imports our tasks a second time: blank copies go, answers given on both stay."""
    push(world.project)
    copies = [{"data": task.data} for task in tasks_of(world.direct())]
    world.write("POST", "/api/projects/{project}/import", copies)
    if verb == "push":
        push(world.project)
    else:
        world.answer(world.picks)  # on both tasks of each image, as one person
        done = pull(world.project)
        assert (done.twice, done.answered, done.complete) == (PICKS, PICKS, True)
        assert "two labelled tasks" in world.says()
        return
    settled(world)


def test_pages_that_shift_while_people_work(world, monkeypatch):
    push(world.project)
    monkeypatch.setattr("connectors.label_studio.tasks.PAGE", 2)
    world.answer(world.picks[:2])
    pull(world.project)
    edits = iter([world.picks[2:3], world.picks[3:]])

    def between_pages():
        world.answer(next(edits, []))

    world.proxy.breaks(between_pages, LIST, times=2)
    pull(world.project)
    settled(world)


def test_import_carried_out_late_is_waited_for(world):
    """The server was busy when its answer was lost, for less than the wait."""
    world.proxy.LATE = 0.5
    world.proxy.breaks("late", IMPORT)
    with pytest.raises(Unknown):
        push(world.project)
    pushed = push(world.project)
    assert (pushed.sent, pushed.recovered) == (0, PICKS)
    settled(world)


def test_import_carried_out_after_it_was_sent_anew(world, monkeypatch):
    """Untouched doubles go at the next pull; an image labelled twice counts once."""
    monkeypatch.setattr("connectors.label_studio.labeler.LAG", 0.0)
    world.proxy.breaks("late", IMPORT)
    with pytest.raises(Unknown):
        push(world.project)
    assert push(world.project).sent == PICKS
    wait_for(lambda: len(tasks_of(world.direct())) == 2 * PICKS)
    world.answer(world.picks[:1])  # on both of its tasks
    pulled = pull(world.project)
    assert (pulled.answered, pulled.twice) == (1, 1)
    assert len(tasks_of(world.direct())) == PICKS + 1
    world.answer(world.picks[1:])
    assert pull(world.project).complete


def wait_for(holds) -> None:
    ends = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.1)
