"""Every scorer that is registered, built in or installed, keeps the contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from loop import scorers
from loop.errors import ConfigError, DataError
from loop.scorers import Inputs, Scorer
from loop.testing import ContractBroken, check_scorer


@pytest.mark.parametrize("name", scorers.names())
def test_every_scorer_keeps_the_contract(name):
    check_scorer(scorers.get(name))


@pytest.mark.parametrize("name", scorers.names())
def test_every_scorer_says_what_it_costs_and_where_it_comes_from(name):
    cls = scorers.load(name)
    assert cls.cost
    assert cls.source


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_named(bad):
    embeddings = np.zeros((9, 3), np.float32)
    embeddings[6, 1] = bad
    with pytest.raises(DataError, match="row 6"):
        Inputs(embeddings, 2, np.random.default_rng(0))


def test_a_mistyped_parameter_gets_a_hint():
    with pytest.raises(ConfigError, match="did you mean 'geometry'"):
        scorers.get("kmeans", geometri="raw")


@dataclass(frozen=True)
class Forgetful(Scorer):
    """Draws from a generator of its own."""

    def score(self, inputs):
        return np.random.default_rng().random(inputs.n)


@dataclass(frozen=True)
class Peeking(Scorer):
    """Says it needs nothing and reads labels."""

    def score(self, inputs):
        return inputs.labels.astype(np.float64)


@dataclass(frozen=True)
class Unfinished(Scorer):
    """Divides by zero rows."""

    def score(self, inputs):
        with np.errstate(divide="ignore"):
            return 1.0 / np.linalg.norm(inputs.embeddings, axis=1).astype(np.float64)


@dataclass(frozen=True)
class Single(Scorer):
    """Answers single precision."""

    def score(self, inputs):
        return np.zeros(inputs.n, np.float32)


@dataclass(frozen=True)
class Overwriting(Scorer):
    """Centres the embeddings in place."""

    def score(self, inputs):
        inputs.embeddings[:] -= 1.0
        return np.zeros(inputs.n)


@dataclass(frozen=True)
class Unnested(Scorer):
    """Takes other rows for other budgets."""

    nested: ClassVar[bool] = True

    def score(self, inputs):
        return np.roll(np.arange(inputs.n, dtype=np.float64), inputs.budget)


@dataclass(frozen=True)
class Greedy(Scorer):
    """Asks for what nobody can give."""

    needs: ClassVar[frozenset[str]] = frozenset({"future"})

    def score(self, inputs):
        return np.zeros(inputs.n)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Forgetful, "inputs.rng"),
        (Peeking, "read labels"),
        (Unfinished, "not finite"),
        (Single, "float64"),
        (Overwriting, "changed the embeddings"),
        (Unnested, "nested = False"),
        (Greedy, "future"),
    ],
)
def test_the_check_finds_each_kind_of_fault(cls, message):
    with pytest.raises(ContractBroken, match=message):
        check_scorer(cls)
