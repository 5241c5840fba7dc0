"""What a push would do on a real server is said before, and only what was said is done."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from connectors.base import WouldReopen
from loop.cli import cli
from loop.project import find
from loop.steps.embed import embed
from loop.steps.pull import pull
from loop.steps.push import plan_push, push
from loop.steps.run import run
from loop.steps.status import status
from loop.steps.train import train
from tests.conftest import rows
from tests.label_studio.world import PICKS, tasks_of

RECORDS = ("SELECT * FROM round", "SELECT * FROM pick", "SELECT * FROM event", "SELECT * FROM sent")


def records(project):
    return [rows(project, query) for query in RECORDS]


def changes(plan):
    return {change.what: (change.before, change.after) for change in plan.changes}


def set_overlap(world, overlap):
    file = world.project.root / "coreloop.toml"
    before = f"overlap = {world.project.config.labeler.overlap}"
    file.write_text(file.read_text().replace(before, f"overlap = {overlap}"))
    world.project = find(world.project.root)


def test_a_first_push_says_that_it_makes_a_project_and_makes_none(world):
    before = records(world.project)
    world.proxy.seen.clear()
    plan = plan_push(world.project)
    assert records(world.project) == before
    assert {line.split()[0] for line in world.proxy.seen} == {"GET"}
    assert plan.counts == {"send": PICKS}
    told = world.command("push", "--dry-run").communicate()[0]
    assert f"{PICKS} to be sent; nothing was sent" in told
    assert "title: small (new)" in told
    assert "label_config: new (--json shows it)" in told
    assert f"tasks: 0 -> {PICKS}" in told
    assert records(world.project) == before
    foretold = changes(plan)
    assert foretold["title"] == (None, "small")
    assert "digit-2" in foretold["label_config"][1]
    assert foretold["tasks"] == (0, PICKS)
    push(world.project)
    assert len(tasks_of(world.direct())) == PICKS
    described = world.direct().project.description
    assert described.title == "small"
    assert described.label_config == foretold["label_config"][1]


def test_a_later_push_says_class_and_guesses_and_each_image(world):
    push(world.project)
    world.answer(world.picks)
    pull(world.project)
    embed(world.project)
    run(world.project)
    tasks = len(tasks_of(world.direct()))
    world.answer([key for key in world.tasks() if key not in world.given])
    pull(world.project)
    train(world.project)
    ended = run(world.project, review=True)
    assert ended.why == "review"
    before = records(world.project)
    world.proxy.seen.clear()
    done = world.command("push", "--dry-run", "--json")
    facts = json.loads(done.communicate()[0])
    assert {line.split()[0] for line in world.proxy.seen} == {"GET"}
    assert records(world.project) == before
    assert len(tasks_of(world.direct())) == tasks
    assert [image["action"] for image in facts["images"]] == ["send"] * len(facts["images"])
    assert all(image["prediction"]["version"] == "round-1" for image in facts["images"])
    foretold = {change["what"]: (change["before"], change["after"]) for change in facts["changes"]}
    assert foretold["title"] == ("small", "small")
    assert foretold["tasks"] == (tasks, tasks + len(facts["images"]))
    assert foretold["model_version"] == (None, "round-1")
    push(world.project)
    assert len(tasks_of(world.direct())) == tasks + len(facts["images"])


def test_a_task_that_was_deleted_would_be_sent_again(world):
    push(world.project)
    gone, *_ = world.picks
    world.write("DELETE", f"/api/tasks/{world.tasks()[gone]}/")
    plan = plan_push(world.project)
    assert plan.counts == {"send again": 1, "stays": PICKS - 1}
    assert [image.key for image in plan.images if image.action == "send again"] == [gone]
    assert gone not in world.tasks()
    push(world.project)
    assert gone in world.tasks()


def test_a_picture_that_has_gone_is_named(world, monkeypatch):
    plan = plan_push(world.project)
    uri = plan.images[2].uri
    monkeypatch.setattr(
        type(world.project.source), "read", _without(type(world.project.source).read, uri)
    )
    problems = plan_push(world.project).problems
    assert len(problems) == 1
    assert uri in problems[0]


def _without(read, uri):
    from connectors.base import SourceError

    def reading(self, wanted):
        if wanted == uri:
            raise SourceError(f"cannot read {wanted}")
        return read(self, wanted)

    return reading


@pytest.fixture
def answered(world):
    """All five test images labelled by one person each, and the first picks sent."""
    push(world.project)
    world.answer(world.picks)
    pull(world.project)
    return world


def test_overlap_reopens_nothing_unasked_and_status_stays_right(answered):
    embed(answered.project)
    set_overlap(answered, 2)
    assert [line.labelled for line in status(answered.project).rounds] == [PICKS]
    with pytest.raises(WouldReopen, match=rf"{PICKS} finished tasks .*push --reopen"):
        run(answered.project)
    assert {task.id for task in tasks_of(answered.direct())} == set(answered.tasks().values())
    assert changes(plan_push(answered.project))["finished tasks opened again"] == (0, PICKS)
    assert finished(answered) == PICKS
    run(answered.project, reopen=True)
    assert finished(answered) == 0
    lines = status(answered.project).rounds
    assert [(line.number, line.labelled) for line in lines] == [(0, PICKS), (1, 0)]


def finished(world):
    client, tasks = world.direct().client, world.tasks()
    return sum(client.get(f"/api/tasks/{tasks[key]}/")["is_labeled"] for key in world.picks)


def test_overlap_raised_in_an_open_round_counts_once_it_is_pushed(world):
    push(world.project)
    world.answer(world.picks[:3])
    set_overlap(world, 2)
    pull(world.project)
    assert status(world.project).rounds[0].labelled == 3
    assert any("overlap = 2" in trouble for trouble in status(world.project).troubles)
    push(world.project, reopen=True)
    assert status(world.project).rounds[0].labelled == 0
    assert not any("overlap = 2" in trouble for trouble in status(world.project).troubles)


def test_labels_go_back_up_to_a_limit_and_the_number_is_said(answered, monkeypatch):
    listed = [
        SimpleNamespace(
            key=key, uri=key, label="digit-1", by="x", predicted="digit-0", self_confidence=0.1
        )
        for key in answered.picks
    ]
    monkeypatch.setattr("loop.steps.labels.label_issues", lambda project: listed)
    monkeypatch.setattr("loop.cli.labels.asdict", vars)
    root = str(answered.project.root)

    def typed(*options):
        done = CliRunner().invoke(cli, ["labels", "-p", root, "--suspects", *options])
        assert done.exit_code == 0, done.output
        return done.output

    told = typed("--send-back", "--limit", "2")
    assert told.index(f"2 of {PICKS} images go back") < told.index("2 images are open again")
    assert f"--limit {PICKS} sends all" in told
    assert finished(answered) == PICKS - 2
    monkeypatch.setattr("loop.cli.labels.at_terminal", lambda: True)
    monkeypatch.setattr("loop.cli.labels.confirmed", lambda question: False)
    assert "open again" not in typed("--send-back")
    assert finished(answered) == PICKS - 2
    assert "open again" in typed("--send-back", "--yes")
    assert finished(answered) == 0


@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_person_at_a_terminal_is_asked(answered, answer):
    set_overlap(answered, 2)
    embed(answered.project)
    ours, theirs = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-c", "from loop.cli import main; main()", "run"],
        cwd=answered.project.root,
        env={**os.environ, "LABEL_STUDIO_URL": answered.proxy.url, "PYTHONPATH": os.getcwd()},
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())
    done.communicate(timeout=120)
    assert (done.returncode == 0) is (answer == "y")
    assert finished(answered) == (0 if answer == "y" else PICKS)
