"""run: beside another command, and in which order."""

from __future__ import annotations

import pytest

from db.errors import StaleRound
from loop import config
from loop.errors import ConfigError, NotReady
from loop.project import create
from loop.project.comparison import compared
from loop.steps import run as run_step
from loop.steps.compare import compare
from loop.steps.run import run
from loop.steps.score import score
from loop.steps.status import status
from tests.conftest import rows, small_values


@pytest.mark.parametrize(("step", "state"), [("begin_round", "labeled"), ("select", "scored")])
def test_a_round_that_another_command_moves_on_is_a_conflict(project, monkeypatch, step, state):
    """Between the look at the round and the step: the other one takes the very same step."""
    own = getattr(run_step, step)

    def late(*args):
        monkeypatch.setattr(run_step, step, own)
        own(*args)
        return own(*args)

    monkeypatch.setattr(run_step, step, late)
    with pytest.raises(StaleRound, match=f"was '{state}' a moment ago") as caught:
        run(project)
    assert caught.value.exit_code == 5
    run(project)
    assert rows(project, "SELECT number, state FROM round ORDER BY number")[-1] == (2, "compared")


def test_a_step_that_is_not_ready_says_so(project, monkeypatch):
    def not_now(*args):
        raise NotReady("not now")

    monkeypatch.setattr(run_step, "score", not_now)
    with pytest.raises(NotReady, match="not now"):
        run(project)
    monkeypatch.setattr(run_step, "score", score)
    assert run(project).why == "done"


def test_the_end_says_what_one_more_round_can_ask_for(project):
    """No more than what is left: 48 images, of which two rounds took 6 each."""
    assert run(project).next == "coreloop status; for one more round: coreloop run --budget 6"
    assert run(project, budget=32).why == "done"
    assert status(project).next.endswith("coreloop run --budget 4")
    assert run(project, budget=4).next == "coreloop export --all", "every image has a label"
    assert status(project).next == "coreloop export --all"


def test_what_is_compared_can_be_looked_at_again(project):
    run(project)
    before = rows(project, "SELECT * FROM cell"), rows(project, "SELECT * FROM comparison")
    assert compare(project) == compared(project)
    after = rows(project, "SELECT * FROM cell"), rows(project, "SELECT * FROM comparison")
    assert after == before


@pytest.mark.parametrize("url", ["http://host:port", "127.0.0.1:8080", "http://", "http://[::1"])
def test_what_is_no_address_of_a_server_is_named(tmp_path, images, monkeypatch, url):
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    labeler = {"kind": "label-studio", "url": url, "error_rate": 0.0}
    made = create(tmp_path / "p", config.check(small_values(images, labeler=labeler), "test"))
    with pytest.raises(ConfigError, match="is no Label Studio address") as caught:
        run(made)
    assert repr(url) in str(caught.value)


def test_one_more_round_is_refused_while_planned_ones_remain(project):
    with pytest.raises(ConfigError, match=r"remain: round 1 \(6 images\), round 2 \(6 images\); "):
        run(project, budget=3)
    assert rows(project, "SELECT * FROM round") == []
    run(project)
    assert run(project, budget=3).why == "done"
    assert rows(project, "SELECT number, budget FROM round ORDER BY number")[-1] == (3, 3)
