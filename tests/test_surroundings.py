"""What surrounds a pick, against the plain reading of the words."""

from __future__ import annotations

import numpy as np
import pytest

from loop.geometry import transform
from loop.surroundings import NEIGHBOUR, surroundings


@pytest.fixture
def embedded():
    rng = np.random.default_rng(5)
    crowd, others = rng.normal(0, 0.1, (40, 6)), rng.normal(0, 3, (80, 6))
    return np.vstack([crowd, others]).astype(np.float32)


def test_each_number_is_what_its_words_say(embedded):
    pool, picks, marked = np.arange(5, 120), np.array([7, 60, 119]), np.array([6, 61])
    around = surroundings(embedded, pool, picks, marked)
    space = transform(embedded[5:], "standard").astype(np.float64)
    distances = np.linalg.norm(space[:, None] - space[None], axis=2)
    tenth = np.sort(distances, axis=1)[:, NEIGHBOUR]
    density = [(tenth > tenth[pick - 5] + 1e-9).mean() for pick in picks]
    assert around.density == pytest.approx(density, abs=0.01)
    owners = distances[:, picks - 5].argmin(axis=1)
    assert around.stands_for * len(pool) == pytest.approx(np.bincount(owners, minlength=3))
    nearest = distances[np.ix_(picks - 5, marked - 5)].argmin(axis=1)
    assert around.nearest.tolist() == nearest.tolist()
    assert around.density[0] > around.density[1]


def test_without_marked_rows_nothing_is_nearest(embedded):
    none = np.empty(0, dtype=np.int64)
    assert surroundings(embedded, np.arange(120), np.array([3]), none).nearest.tolist() == [-1]


def test_a_large_pool_is_looked_at_in_parts(embedded, monkeypatch):
    arguments = embedded, np.arange(120), np.array([3, 90]), np.array([1])
    whole = surroundings(*arguments)
    monkeypatch.setattr("loop.surroundings.CELLS", 500)
    parts = surroundings(*arguments)
    assert parts.density == pytest.approx(whole.density)
    assert parts.stands_for == pytest.approx(whole.stands_for)
    monkeypatch.setattr("loop.surroundings.MOST", 60)
    assert surroundings(*arguments).stands_for.sum() == pytest.approx(1)
