"""Pools that are made imbalanced, and what a simulation does with them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from loop import config
from loop.cli import cli
from loop.errors import ConfigError
from loop.imbalance import thinned
from loop.project import create
from loop.steps.embed import embed
from loop.steps.scan import scan
from loop.steps.simulate import Grid, all_methods, simulate
from tests.conftest import small_values, write_images


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A project of 300 digits of three classes, embedded."""
    folder = tmp_path_factory.mktemp("imbalance")
    write_images(folder / "images", count=300)
    values = small_values(folder / "images", pool={"test": 60})
    project = create(folder / "p", config.check(values, "test"))
    scan(project)
    embed(project)
    return project


def sizes(shape, seed, counts=(320, 320, 320, 320, 320, 320)):
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = thinned(labels, len(counts), shape, np.random.default_rng(seed))
    assert np.array_equal(rows, np.unique(rows))
    return np.bincount(labels[rows], minlength=len(counts))


def test_geometric_sizes_halve_and_which_class_is_rare_is_drawn():
    made = [sizes("geometric", seed) for seed in range(8)]
    for each in made:
        assert sorted(each) == [10, 20, 40, 80, 160, 320]
    assert len({tuple(each) for each in made}) > 5


def test_one_class_of_a_hundredth():
    made = sizes("single", 0)
    assert sorted(made) == [16, 320, 320, 320, 320, 320]


def test_no_class_grows():
    assert sorted(sizes("geometric", 3, (320, 5, 320)))[0] <= 5
    assert sizes("single", 1, (100, 3)).min() >= 1


def test_the_trainer_learns_for_the_metric_and_pools_are_thinned(simulated):
    grid = {"budgets": [30], "seeds": 2, "trainer": "auto", "share": 1.0}
    grid["imbalance"] = "geometric"
    methods = all_methods(["random"])
    plain = simulate(simulated, Grid(methods, metric="accuracy", **grid))
    rare = simulate(simulated, Grid(methods, metric="macro-F1", **grid))
    assert (plain.metric, rare.metric) == ("accuracy", "macro-F1")
    assert plain.beside["macro_f1"] != rare.beside["macro_f1"]  # other trainers
    assert plain.beside["classes_found"] == rare.beside["classes_found"]  # the same picks
    assert rare[0].mean == rare.beside["macro_f1"]["random", 30]
    linear = [
        simulate(simulated, Grid(methods, metric=metric, **{**grid, "trainer": "linear"}))
        for metric in ("accuracy", "macro-F1")
    ]
    assert linear[0].beside == linear[1].beside
    with pytest.raises(ConfigError, match="more than the"):
        simulate(simulated, Grid(methods, **{**grid, "budgets": [200]}))
    with pytest.raises(ConfigError, match="no metric 'f1'"):
        simulate(simulated, Grid(methods, **grid, metric="f1"))
    with pytest.raises(ConfigError, match=r"no imbalance .geometrc.*geometric"):
        simulate(simulated, Grid(methods, **{**grid, "imbalance": "geometrc"}))


def test_an_imbalanced_table_has_every_metric(simulated):
    arguments = ["simulate", "-p", str(simulated.root), "--methods", "random", "--budgets", "30"]
    arguments += ["--seeds", "2", "--jobs", "1", "--share", "1", "--imbalance", "single"]
    done = CliRunner().invoke(cli, [*arguments, "--json"], catch_exceptions=False)
    (row,) = json.loads(done.stdout)
    assert set(row["means"]) == {"accuracy", "balanced_accuracy", "macro_f1", "classes_found"}
    assert row["means"]["accuracy"] == row["mean"]
    printed = CliRunner().invoke(cli, arguments, catch_exceptions=False).stdout
    for words in ("test macro-F1", "test balanced accuracy", "classes with a label"):
        assert words in printed
