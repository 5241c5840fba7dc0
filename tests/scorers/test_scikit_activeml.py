"""Methods that scikit-activeml has too, pick by pick on the same pools.

TypiClust is left out (its typicality is over distances, the paper's code squares them), and BADGE,
whose picks are drawn.
"""

from __future__ import annotations

import numpy as np
import pytest
from skactiveml import pool as theirs
from sklearn.preprocessing import normalize

from loop.scorers import Inputs, get
from loop.scorers.coverage import Coverage, greedy
from loop.scorers.kcenter import farthest_first
from loop.scorers.maxherding import similarity
from loop.scorers.probcover import Balls

SEEDS = range(5)
LABELLED, BUDGET = 7, 25


def pool(seed, n=180, d=6):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) + 2 * np.eye(d)[rng.integers(d, size=n)]
    y = np.full(n, np.nan)
    y[:LABELLED] = 0
    return x, y, np.isnan(y)


@pytest.mark.parametrize("seed", SEEDS)
def test_kcenter(seed):
    x, y, is_open = pool(seed)
    expected = theirs.CoreSet(random_state=0).query(x, y, batch_size=BUDGET)
    picks, _ = farthest_first(x.astype(np.float32), np.flatnonzero(~is_open), BUDGET, is_open)
    assert picks.tolist() == expected.tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_maxherding_where_coverage_counts_on_unlabelled_images(seed):
    x, y, is_open = pool(seed)
    rows, h = normalize(x), 0.8
    expected = theirs.MaxHerding(metric_dict={"gamma": h**-2}, random_state=0).query(
        x, y, batch_size=BUDGET
    )
    state = Coverage(rows, similarity("rbf", h), weights=is_open.astype(float))
    state.add(np.flatnonzero(~is_open))
    assert greedy(state, BUDGET, is_open) == expected.tolist()


@pytest.mark.filterwarnings("ignore:The maximum purity")
@pytest.mark.parametrize("seed", SEEDS)
def test_probcover(seed):
    """Equal counts are drawn there and fall to the lowest row here, so what is covered is
    compared, pick by pick from the same state."""
    x, y, is_open = pool(seed)
    rows, delta = normalize(x), 0.7
    method = theirs.ProbCover(n_classes=6, deltas=[delta], random_state=0)
    balls, labels = Balls(rows, delta, np.arange(len(x))), y.copy()
    balls.cover(np.flatnonzero(~is_open))
    for pick in balls.pick(8, is_open):
        _, counts = method.query(rows, labels, batch_size=1, return_utilities=True)
        assert counts[0][pick] == np.nanmax(counts[0])
        labels[pick] = 0


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("entropy", "entropy"),
        ("least_confidence", "least_confident"),
        ("margin", "margin_sampling"),
    ],
)
def test_uncertainty(name, method):
    p = np.random.default_rng(0).dirichlet(np.ones(5), size=200)
    expected = theirs.uncertainty_scores(p, method=method)
    inputs = Inputs(np.zeros((200, 2), np.float32), 10, np.random.default_rng(0), probabilities=p)
    scores = get(name).score(inputs)
    np.testing.assert_array_equal(np.argsort(scores), np.argsort(expected))
