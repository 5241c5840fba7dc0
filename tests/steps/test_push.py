"""push: a batch whose answer was lost is asked after, and only what is missing is sent."""

from __future__ import annotations

import json

import pytest

from connectors.base import Rejected, Unknown
from connectors.oracle import Oracle
from loop.errors import DataError
from loop.steps.embed import embed
from loop.steps.push import push
from loop.steps.run import run
from loop.steps.scan import scan
from tests.conftest import rows

BATCHES = "SELECT state, size FROM batch"
REMOTE = "SELECT count(*) FROM sent WHERE remote_id IS NOT NULL"


@pytest.fixture
def breaking(monkeypatch):
    """``breaking(error, kept)``: the next push stores so many items and ends with the error."""
    whole = Oracle.push

    def install(error, kept):
        def broken(self, batch, items):
            monkeypatch.setattr(Oracle, "push", whole)
            whole(self, batch, items[:kept])
            raise error("the answer was lost")

        monkeypatch.setattr(Oracle, "push", broken)

    return install


def tasks(project):
    """Item keys at the oracle, in the order they came."""
    return [json.loads(line)["key"] for line in (project.root / "oracle.jsonl").open()]


@pytest.mark.parametrize("kept", [0, 5, 12])
def test_an_answer_that_was_lost_is_settled(project, breaking, kept):
    breaking(Unknown, kept)
    with pytest.raises(Unknown):
        run(project)
    assert rows(project, BATCHES) == [("UNKNOWN", 12)]
    assert rows(project, REMOTE) == [(0,)]
    pushed = push(project)
    assert (pushed.recovered, pushed.sent) == (kept, 12 - kept)
    assert rows(project, BATCHES) == [("CONFIRMED", 12)]
    assert rows(project, REMOTE) == [(12,)]
    assert len(tasks(project)) == len(set(tasks(project))) == 12


def test_a_refused_batch_is_as_if_never_sent(project, breaking):
    breaking(Rejected, 0)
    with pytest.raises(Rejected):
        run(project)
    assert rows(project, BATCHES) == [("PLANNED", 12)]
    assert run(project).why == "done"
    assert len(tasks(project)) == len(set(tasks(project))) == 24


def test_a_refusal_of_what_may_be_there_leaves_it_doubtful(project, breaking):
    """The second request is refused, the first may have been carried out."""
    breaking(Unknown, 5)
    with pytest.raises(Unknown):
        run(project)
    breaking(Rejected, 0)
    with pytest.raises(Rejected):
        push(project)
    assert rows(project, BATCHES) == [("UNKNOWN", 12)]
    assert push(project).recovered == 5
    assert len(tasks(project)) == len(set(tasks(project))) == 12


def test_an_image_that_was_replaced_since_it_was_embedded_is_not_shown(project, images):
    scan(project)
    embed(project)
    pictures = sorted(images.rglob("*.png"))
    for picture, neighbour in zip(pictures[::2], pictures[1::2], strict=True):
        first, second = picture.read_bytes(), neighbour.read_bytes()
        picture.write_bytes(second)
        neighbour.write_bytes(first)
    with pytest.raises(DataError, match="another image than when it was scanned"):
        push(project)
    assert rows(project, "SELECT count(*) FROM batch") == [(0,)]
