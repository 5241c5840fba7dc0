"""select: the rule of the config decides which scores become picks."""

from __future__ import annotations

import numpy as np
import pytest

from db import arrays, queries
from loop import config, scorers
from loop.project import create
from loop.steps.run import run
from tests.conftest import rows, small_values


def scores_of_round(project, number):
    """(scores of the pool, scores of the picks in their order)."""
    with project.records.read() as session:
        row = arrays.find(session, pool_id=1, kind="scores", name="coreset", of=f"round-{number}")
        pool = np.array(arrays.load(row, project.arrays))
        picks = [p.score for p in queries.picks(session, 1, number) if p.arm == "coreset"]
    return np.sort(pool)[::-1], picks


@pytest.mark.parametrize(("skip", "first"), [(0.0, 0), (0.25, 12), (0.5, 24)])
def test_a_window_skips_its_share_of_the_highest_scores(tmp_path, images, skip, first):
    """Of 48 images in the pool; live picks go by ``skip`` as compared ones do."""
    selection = {"scorer": "norm", "rule": "window", "skip": skip, "budgets": [6]}
    project = create(
        tmp_path / "p", config.check(small_values(images, selection=selection), "test")
    )
    run(project)
    pool, picks = scores_of_round(project, 1)
    assert len(pool) == 48
    assert picks == pool[first : first + 6].tolist()


def test_the_control_is_random_and_apart_from_the_rest(tmp_path, images):
    selection = {"scorer": "norm", "budgets": [24], "control": 0.5}
    project = create(
        tmp_path / "p", config.check(small_values(images, selection=selection), "test")
    )
    run(project)
    pool, picks = scores_of_round(project, 1)
    control = rows(project, "SELECT score FROM pick WHERE arm = 'control'")
    assert (len(picks), len(control)) == (12, 12)
    assert not {score for (score,) in control} & set(picks)
    left = [score for score in pool.tolist() if (score,) not in control]
    assert picks == left[:12]


def test_the_next_round_picks_among_what_is_left(tmp_path, images, monkeypatch):
    """Of a scorer that says the same each time, the second round gets the next best."""
    monkeypatch.setattr(
        scorers.load("norm"), "score", lambda self, inputs: -np.arange(inputs.n, dtype=np.float64)
    )
    values = small_values(images, selection={"scorer": "norm", "budgets": [6, 6]})
    project = create(tmp_path / "p", config.check(values, "test"))
    run(project)
    pool, first = scores_of_round(project, 1)
    _, second = scores_of_round(project, 2)
    assert first + second == pool[:12].tolist()
