"""Annotators are called by name, of a real server, and known by number."""

from __future__ import annotations

import pytest

from loop.steps.labels import labels
from loop.steps.pull import pull
from loop.steps.push import push
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
