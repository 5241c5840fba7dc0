"""score: a live round gives a scorer what it names in ``needs`` and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from loop import config, scorers
from loop.project import create
from loop.steps.run import run
from tests.conftest import rows, small_values


@pytest.mark.parametrize("name", ["random", "kmeans", "elfs"])
def test_a_label_free_scorer_never_sees_a_label(tmp_path, images, monkeypatch, name):
    """In the second round there are labels, and a model could be trained on them."""
    given = []

    def watched(self, inputs):
        given.append(inputs)
        return inputs.rng.random(inputs.n)

    monkeypatch.setattr(scorers.load(name), "score", watched)
    values = small_values(images, selection={"scorer": name}, compare={"seeds": 1})
    project = create(tmp_path / "p", config.check(values, "test"))
    run(project)
    assert rows(project, "SELECT count(*) FROM annotation") == [(24,)]
    assert sum(int(inputs.covered.sum()) > 0 for inputs in given) >= 1
    for inputs in given:
        assert (inputs.labels == -1).all()
        assert inputs.probabilities is None


def test_a_scorer_that_goes_by_collected_labels_sees_those_and_no_others(
    tmp_path, images, monkeypatch
):
    given = []
    auto = scorers.load("auto")
    monkeypatch.setattr(
        auto, "score", lambda self, inputs: given.append(inputs) or inputs.rng.random(inputs.n)
    )
    values = small_values(images, selection={"scorer": "auto"}, compare={"seeds": 1})
    project = create(tmp_path / "p", config.check(values, "test"))
    run(project)
    assert given
    for inputs in given:
        np.testing.assert_array_equal(inputs.labels >= 0, inputs.covered)
        assert (inputs.probabilities is None) == (not inputs.covered.any())
