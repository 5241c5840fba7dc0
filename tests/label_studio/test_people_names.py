"""Annotators are called by name, of a real server; what was sent back to them is outstanding."""

from __future__ import annotations

import pytest

from loop.steps.labels import labels, send_back
from loop.steps.pull import pull
from loop.steps.push import push
from loop.steps.status import status
from tests.conftest import rows

pytestmark = pytest.mark.server


def test_annotators_are_called_by_name(world):
    push(world.project)
    world.answer(world.picks[:2])
    pull(world.project)
    (person,) = labels(world.project).people
    assert not person.name.startswith("user ")
    assert person.name == world.direct().client.whoami()
    ((stored,),) = rows(world.project, "SELECT DISTINCT annotator FROM annotation")
    assert stored.startswith("user "), "names change, so that records know the number"


def test_what_was_sent_back_is_outstanding_and_has_its_link(world):
    push(world.project)
    assert status(world.project).url == pull(world.project).url
    world.answer(world.picks[:2])
    pull(world.project)
    assert status(world.project).second_opinions == 0
    assert send_back(world.project, [world.picks[0]]).count == 1
    assert status(world.project).second_opinions == 1
