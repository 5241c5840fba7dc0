"""train: each seed of a round is a training of its own."""

from __future__ import annotations

import copy

from loop import config
from loop.project import create
from loop.steps.run import run
from loop.train.linear import Linear
from tests.conftest import rows, small_values


def test_seeds_of_all_rounds_draw_from_generators_of_their_own(tmp_path, images, monkeypatch):
    draws, training = [], Linear.train

    def watched(self, task, labels, rng, *, pool_probabilities=False):
        if pool_probabilities:  # the step's own trainings, not those of the comparison
            draws.append(float(copy.deepcopy(rng).random()))
        return training(self, task, labels, rng, pool_probabilities=pool_probabilities)

    monkeypatch.setattr(Linear, "train", watched)
    values = small_values(
        images,
        selection={"scorer": "random"},
        training={"trainer": "linear", "seeds": 3},
        compare={"seeds": 1},
    )
    project = create(tmp_path / "p", config.check(values, "test"))
    run(project)
    query = "SELECT count(*) FROM run WHERE arm = 'all'"
    assert rows(project, query) == [(6,)]
    assert len(draws) == len(set(draws)) == 6
