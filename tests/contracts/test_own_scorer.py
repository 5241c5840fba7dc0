"""A scorer of one's own: the example is found by its entry point, keeps the contract, and a name
that is taken already is refused."""

from __future__ import annotations

import shutil
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from loop import scorers
from loop.errors import ConfigError
from loop.scorers import Inputs
from loop.testing import check_scorer

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_scorer"


def install(folder, package, points):
    """What an installer leaves behind: the package and its entry points."""
    shutil.copytree(EXAMPLE / "own_scorer", folder / package)
    info = folder / f"{package}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1.0\n")
    lines = "\n".join(f"{name} = {value}" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[coreloop.scorers]\n{lines}\n")


@pytest.fixture
def points():
    settings = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    return settings["project"]["entry-points"]["coreloop.scorers"]


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("own_scorer", None)


def test_the_example_is_found_and_keeps_the_contract(site, points):
    install(site, "own_scorer", points)
    assert "central" in scorers.names()
    check_scorer(scorers.load("central"))
    x = np.array([[0.0, 0], [10, 0], [4, 1]], np.float32)
    scores = scorers.get("central", power=2).score(Inputs(x, 1, np.random.default_rng(0)))
    assert np.argmax(scores) == 2


def test_two_scorers_of_one_name_are_an_error(site):
    install(site, "own_scorer", {"zcore": "own_scorer:Central"})
    with pytest.raises(ConfigError, match="two scorers are called 'zcore'"):
        scorers.names()
