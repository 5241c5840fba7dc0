"""Round sizes: against every other choice of stops, and cases one can see through."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from loop.planning.rounds import cheapest


def expected(needed, ends):
    """Labels bought on average when rounds end there, played out draw by draw."""
    return np.mean([next((e for e in ends if e >= n), ends[-1]) for n in needed])


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_no_other_stops_are_cheaper(rounds):
    needed = np.random.default_rng(0).integers(1, 30, size=200).astype(float)
    best = cheapest(needed, rounds, confidence=1.0)
    assert best.expected == pytest.approx(expected(needed, np.cumsum(best.sizes)))
    last = int(needed.max())
    others = [[*ends, last] for ends in combinations(range(1, last), rounds - 1)]
    assert best.expected == pytest.approx(min(expected(needed, ends) for ends in others))


def test_more_rounds_never_cost_more():
    needed = np.random.default_rng(1).lognormal(5, 1, size=1000)
    costs = [cheapest(needed, k).expected for k in range(1, 6)]
    assert costs == sorted(costs, reverse=True)
    single = cheapest(needed, 1)
    assert single.sizes == [single.at_once]


def test_draws_that_never_arrive_lower_the_chance():
    needed = np.concatenate([np.full(60, 10.0), np.full(40, np.inf)])
    best = cheapest(needed, 3)
    assert best.sizes == [10]
    assert best.confidence == pytest.approx(0.6)
    assert cheapest(np.full(10, np.inf), 3) is None
    assert cheapest(np.zeros(10), 3) is None
