"""The cheapest way to a finished collection, by arithmetic on made-up curves."""

from __future__ import annotations

import numpy as np
import pytest

from loop.finish.rehearsal import PROMISED, UNBOUNDED, Finished
from loop.finish.simulated import FinishedCell, quantiles
from loop.planning.backtest import SimulatedRun
from loop.planning.curves import LearningCurve, forecast
from loop.planning.finish import Unfinished, best, ladder, lead, thinned, way, ways
from loop.planning.finish_backtest import FinishedRun, backtest_finish, finish_summary


def unfinished(accuracy, count=1000):
    """A collection whose model is calibrated and that accurate."""
    confidence = np.random.default_rng(0).beta(8 * accuracy, 8 * (1 - accuracy), count)
    return Unfinished(np.clip(confidence, 0.1, 1), count + 100, 0.05, 0.025)


def rng():
    return np.random.default_rng(1)


def planned(accuracies, picks=(0, 100, 200, 400, 800)):
    labels = np.array([25.0, 50.0, 100.0])
    curve = LearningCurve(labels, np.array([accuracies]), 5000)
    return ways(forecast(curve, rng()), unfinished(accuracies[-1]), picks, rng)


def test_a_steep_curve_is_followed_and_a_flat_one_is_not():
    steep, flat = planned([0.2, 0.4, 0.6]), planned([0.975, 0.976, 0.976])
    assert best(steep).picks > 0
    assert best(flat).picks == 0
    accuracies = [each.accuracy.median for each in steep]
    assert accuracies == sorted(accuracies)
    for each in [*steep, *flat]:
        assert each.picks <= each.labels.lower <= each.labels.median <= each.labels.upper
        assert each.labels.median + each.by_model == pytest.approx(1000, abs=1)


def test_images_left_that_are_easier_take_fewer_labels():
    curve = LearningCurve(np.array([50.0, 100.0]), np.array([[0.8, 0.85]]), 5000)
    continued = forecast(curve, rng())
    alike, easier = unfinished(np.median(continued.values[:, 0])), unfinished(0.95)
    assert abs(lead(continued, alike)) < 0.1 < lead(continued, easier)
    labels = [way(continued, each, 100, rng()).labels.median for each in (alike, easier)]
    assert labels[1] < 0.7 * labels[0]
    harder = unfinished(0.7)
    assert lead(continued, harder) < 0


def test_ways_end_where_the_picks_alone_are_dearer():
    some = planned([0.9, 0.92, 0.94], picks=(0, 100, 200, 400, 800, 1600))
    assert some[-1].picks < best(some).labels.median
    assert len(some) < 6


def test_the_ladder_doubles_and_ends_before_the_pool_and_the_curve():
    assert ladder(50, left=900, have=100) == [0, 50, 100, 200, 400, 800]
    assert ladder(50, left=800, have=100) == [0, 50, 100, 200, 400]
    assert ladder(50, left=10**6, have=2) == [0, 50, 100]  # no farther than 99 times 2
    assert ladder(50, left=10, have=100) == [0]


def test_thinned_confidences_keep_their_quantiles():
    confidence = np.random.default_rng(2).uniform(size=1000)
    fewer = thinned(confidence, 300)
    assert len(fewer) == 300
    assert np.quantile(fewer, 0.3) == pytest.approx(np.quantile(confidence, 0.3), abs=0.005)
    kept = thinned(np.array(quantiles(confidence)), 1000)
    assert np.abs(kept - np.sort(confidence)).max() < 0.01


def finished_run(by_people):
    """Three points of a run whose collection of 1,000 took so many labels."""
    confidence = quantiles(unfinished(0.85, 1000).confidence)
    cells = [
        FinishedCell(
            1000,
            confidence,
            [
                Finished(rule, 0.05, 50, people, 1000 - people, 0, broken=False)
                for rule, people in ((PROMISED, people), (UNBOUNDED, 0))
            ],
        )
        for people in by_people
    ]
    labels, accuracy = np.array([50.0, 100.0, 200.0]), np.array([0.80, 0.84, 0.86])
    return FinishedRun(SimulatedRun("set", "random", 0, labels, accuracy, 500, 10), cells, 0.95)


def test_a_backtest_counts_what_held_and_what_the_choice_lost():
    (plain,) = backtest_finish([finished_run((999, 500, 300))])
    assert plain.ahead == [1.0, 2.0]
    assert (plain.set, plain.max_error) == ("set", 0.05)
    assert plain.lost_now == pytest.approx(0.2)
    assert plain.lost in (0.0, pytest.approx(0.2))
    (dearer,) = backtest_finish([finished_run((999, 520, 320))])
    assert np.allclose(np.array(plain.error) - dearer.error, 0.02)
    (absurd,) = backtest_finish([finished_run((999, 100, 1000))])
    assert absurd.inside == [0.0, 0.0]
    (line,) = finish_summary([plain, absurd])
    assert (line.set, line.n, line.plans) == ("set", 4, 2)
    assert line.inside == np.mean([*plain.inside, 0.0, 0.0])
    assert line.lost == pytest.approx((plain.lost + absurd.lost) / 2)


def test_a_backtest_of_sets_ends_with_all_of_them():
    outcomes = list(backtest_finish([finished_run((999, 500, 300))]))
    other = [type(each)(**{**vars(each), "set": "other"}) for each in outcomes]
    assert [line.set for line in finish_summary([*outcomes, *other])] == [
        "set",
        "other",
        "all sets",
    ]


def test_a_run_of_two_budgets_says_nothing():
    run = finished_run((999, 500, 300))
    short = SimulatedRun("set", "random", 0, run.run.labels[:2], run.run.accuracy[:2], 500, 10)
    assert list(backtest_finish([FinishedRun(short, run.cells[:2], 0.95)])) == []
