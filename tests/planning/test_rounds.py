"""Round sizes: against every other choice of stops, and cases one can see through."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from loop.planning.rounds import advice, cheapest


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


def test_waiting_for_people_makes_fewer_and_larger_rounds():
    needed = np.random.default_rng(1).lognormal(5, 1, size=1000)
    free, dear = cheapest(needed, 5), cheapest(needed, 5, round_cost=200)
    assert len(free.sizes) == 5
    assert len(dear.sizes) < 5
    assert sum(dear.sizes) == sum(free.sizes)
    bought = np.mean([_bought(dear.sizes, draw) for draw in needed])
    assert dear.expected == pytest.approx(bought)  # labels alone, without the waiting
    assert dear.expected >= free.expected
    assert cheapest(needed, 5, round_cost=1e9).sizes == [free.at_once]


def _bought(sizes, needed):
    """Labels bought in rounds of these sizes by one who needs so many."""
    bought = 0
    for size in sizes:
        if bought >= needed:
            break
        bought += size
    return bought


@pytest.mark.parametrize(
    ("budgets", "classes", "words"),
    [
        ([50, 50, 100], 10, ""),
        ([50, 50, 100], 20, ""),
        ([10, 10, 30], 10, "2 rounds of them end below 5 per class; one round of 50 "),
        ([50, 50, 100], 100, "3 rounds of them end below 5 per class; one round of 200 "),
        ([3], 10, "3 labels for 10 classes: some classes will have none; 50 would be 5 per class"),
    ],
)
def test_advice_before_the_first_label(budgets, classes, words):
    assert advice(budgets, classes).startswith(words)
    assert bool(advice(budgets, classes)) == bool(words)
