"""Guesses shown beforehand: whose they are, and that test images get none."""

from __future__ import annotations

import numpy as np
import pytest

from db import queries
from loop import config, encoders
from loop.encoders import zero_shot
from loop.project import create
from loop.project.embeddings import embeddings
from loop.project.predictions import predictions
from loop.steps.run import run
from tests.conftest import small_values
from tests.encoders.test_pretrained import clip  # noqa: F401


@pytest.fixture
def prompted(tmp_path, images, clip):  # noqa: F811
    """A project with a tiny CLIP as encoder, all rounds run."""
    values = small_values(images, encoder=clip[2])
    project = create(tmp_path / "p", config.check(values, "test"))
    run(project)
    return project


def test_first_zero_shot_then_the_model(prompted):
    assert predictions(prompted, 0) == {}
    first, second = predictions(prompted, 1), predictions(prompted, 2)
    assert {g.version for g in first.values()} == {"zero-shot"}
    assert {g.version for g in second.values()} == {"round-1"}
    names = prompted.config.project.classes
    with prompted.records.read() as session:
        picks = queries.picks(session, 1, 1)
        rows = np.array(embeddings(session, prompted)[[p.row for p in picks]])
    expected = zero_shot.probabilities(encoders.get(prompted.config.encoder), rows, names)
    assert set(first) == {p.key for p in picks}
    for pick, p in zip(picks, expected):
        assert (first[pick.key].label, first[pick.key].score) == (names[p.argmax()], p.max())
    assert all(0 <= g.score <= 1 and g.label in names for g in second.values())


def test_no_words_no_guess_and_off_means_off(project, prompted):
    run(project)
    assert predictions(project, 1) == {}
    assert len(predictions(project, 2)) == 6
    values = prompted.config.model_dump()
    values["labeler"]["predictions"] = False
    off = type(prompted)(prompted.root, config.check(values, "test"))
    assert predictions(off, 1) == predictions(off, 2) == {}
