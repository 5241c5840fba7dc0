"""Shares of wrong labels for each name, all names at once."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from loop.errors import DataError
from loop.finish.by_class import boundary, draw, failing, promise_by_class
from loop.finish.promise import most_seen


def broken_names(promises, confidence, predicted, rows, right, given, max_error):
    """Names whose share of wrong labels is above max_error, counted over all images given them."""
    kept = np.zeros(len(confidence), bool)
    for name, promised in enumerate(promises):
        kept |= (predicted == name) & (confidence >= promised.threshold)
    kept[rows] = False
    broken = []
    for name, promised in enumerate(promises):
        of_name = kept & (predicted == name)
        assert of_name.sum() == promised.accepted
        by_people = given[name] + (right[rows] & (predicted[rows] == name)).sum()
        wrong = (of_name & ~right).sum()
        if wrong > max_error * (by_people + of_name.sum()) + 1e-9:
            broken.append(name)
    return broken


def test_the_walk_under_a_boundary_is_enumerated():
    """Every sample of 4 of 10 images in a row."""
    for allowed, most in [([1, 2, 4], [0, 0, 1]), ([0, 3], [0, 2]), ([1, 1], [0, 0]), ([2], [1])]:
        samples = list(itertools.combinations(range(10), 4))
        failed = sum(
            any(
                sum(row < left + bar + 1 for row in rows) <= bar
                for left, bar in zip(allowed, most, strict=True)
            )
            for rows in samples
        )
        assert failing(10, 4, tuple(allowed), tuple(most)) == pytest.approx(failed / len(samples))


def test_a_boundary_costs_less_than_its_floors_one_by_one():
    allowed = (5, 10, 15, 20)
    together = boundary(400, 80, allowed, 0.05)
    assert failing(400, 80, allowed, together) <= 0.05
    apart = [most_seen(400, 80, each, 0.05 / 4) for each in allowed]
    alone = [most_seen(400, 80, each, 0.05) for each in allowed]
    assert all(a <= b <= c for a, b, c in zip(apart, together, alone, strict=True))
    assert sum(together) > sum(apart)
    assert boundary(400, 10, (2,), 0.05) == (-1,)
    assert boundary(40, 10, (30,), 0.05) == (10,)  # no more than 30 are left


def names(kind, rng):
    """600 images of 3 names: confidence, predicted, right."""
    confidence, predicted = rng.uniform(size=600), np.repeat(np.arange(3), [300, 200, 100])
    if kind == "all wrong":
        return confidence, predicted, np.zeros(600, bool)
    if kind == "ties":
        return np.round(confidence, 1), predicted, rng.uniform(size=600) < 0.8 + 0.2 * confidence
    if kind == "anti-correlated":
        return confidence, predicted, rng.uniform(size=600) > 0.2 * confidence
    # at the top of each name just more wrong ones than its smallest floors allow
    order = np.lexsort((-confidence, predicted))
    rank = np.empty(600, np.int64)
    rank[order] = np.concatenate([np.arange(300), np.arange(200), np.arange(100)])
    return confidence, predicted, rank >= np.array([18, 12, 7])[predicted]


@pytest.mark.parametrize("kind", ["all wrong", "ties", "anti-correlated", "just too many"])
def test_hostile_populations_do_not_break_it_more_often_than_alpha(kind):
    rng = np.random.default_rng(1)
    confidence, predicted, right = names(kind, rng)
    given, alpha, repetitions = np.array([20, 40, 10]), 0.2, 400
    broken = 0
    for _ in range(repetitions):
        rows = draw(predicted, 150, rng)
        promises = promise_by_class(confidence, predicted, rows, right[rows], given, 0.1, alpha)
        broken += bool(
            broken_names(promises, confidence, predicted, rows, right, given, max_error=0.1)
        )
    assert broken <= repetitions * alpha + 3 * math.sqrt(repetitions * alpha * (1 - alpha))


def test_a_good_model_names_all_and_a_bad_name_is_left():
    rng = np.random.default_rng(2)
    predicted = np.repeat(np.arange(3), 1000)
    confidence = rng.uniform(size=3000)
    right = (predicted != 2) | (rng.uniform(size=3000) < 0.5)
    rows = draw(predicted, 300, rng)
    given = np.array([10, 10, 10])
    promises = promise_by_class(confidence, predicted, rows, right[rows], given, 0.1, 0.05)
    assert [promised.accepted for promised in promises] == [900, 900, 0]
    assert [promised.allowed for promised in promises] == [101, 101, 1]
    assert all(promised.upper <= promised.allowed for promised in promises)
    assert promises[2].threshold == math.inf


def test_more_people_of_a_name_allow_more():
    rng = np.random.default_rng(3)
    predicted, confidence = np.zeros(1000, np.int64), rng.uniform(size=1000)
    right = rng.uniform(size=1000) < 0.7 + 0.3 * confidence
    rows = draw(predicted, 150, rng)
    kept = [
        promise_by_class(confidence, predicted, rows, right[rows], np.array([given]), 0.1, 0.05)[
            0
        ].accepted
        for given in (0, 300, 1000, 20_000)
    ]
    assert kept == sorted(kept)
    assert kept[0] < kept[-1] == 850


def test_names_with_nothing_left_or_nothing_drawn():
    predicted = np.array([0] * 5 + [1] * 300 + [3] * 50)
    confidence = np.linspace(0.99, 0.5, 355)
    rows = np.concatenate([np.arange(5), np.arange(5, 105)])
    promises = promise_by_class(
        confidence, predicted, rows, np.ones(105, bool), np.zeros(4, np.int64), 0.1, 0.1
    )
    assert [promised.accepted for promised in promises] == [0, 200, 0, 0]
    assert [promised.sample for promised in promises] == [5, 100, 0, 0]


def test_a_draw_is_equal_among_the_names_and_uniform_within():
    predicted = np.array([0] * 100 + [1] * 10 + [4] * 40)
    rng = np.random.default_rng(4)
    counts = np.zeros(150)
    for _ in range(600):
        rows = draw(predicted, 60, rng)
        assert np.bincount(predicted[rows]).tolist() == [25, 10, 0, 0, 25]
        counts[rows] += 1
    assert len(set(rows.tolist())) == 60
    assert np.abs(counts[:100] / 600 - 0.25).max() < 0.08
    assert np.abs(counts[110:] / 600 - 0.625).max() < 0.08
    assert sorted(draw(predicted, 1000, rng)) == list(range(150))
    assert len(draw(predicted, 2, rng)) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"predicted": np.array([0, 1, 2, 5])}, "trained for other classes"),
        ({"predicted": np.array([0, 1, -1, 2])}, "from -1 to 2"),
        ({"predicted": np.array([0, 1])}, "4 images have 2 predicted names"),
        ({"given": np.array([1, -2, 3])}, "to -2 images"),
        ({"max_error": 1.0}, "between 0 and 1"),
        ({"max_error": 0.0}, "people label every image"),
        ({"alpha": 0.0}, "between 0 and 1"),
        ({"sample": np.array([0, 0])}, "more than once"),
    ],
)
def test_bad_input_is_refused(change, words):
    arguments = {
        "confidence": np.full(4, 0.5),
        "predicted": np.array([0, 1, 2, 2]),
        "sample": np.array([0, 1]),
        "right": np.array([True, False]),
        "given": np.array([1, 2, 3]),
        "max_error": 0.1,
        "alpha": 0.1,
    }
    promise_by_class(**arguments)
    with pytest.raises(DataError, match=words):
        promise_by_class(**(arguments | change))


def test_names_with_images_left_share_alpha():
    """Three names like one at a third of alpha; a fourth without images takes none of it."""
    rng = np.random.default_rng(5)
    confidence, given = rng.uniform(size=900), np.array([10, 10, 10, 10])
    right = rng.uniform(size=900) < 0.7 + 0.3 * confidence
    predicted = np.repeat(np.arange(3), 300)
    rows = draw(predicted, 240, rng)
    together = promise_by_class(confidence, predicted, rows, right[rows], given, 0.1, 0.3)
    of_first = rows[predicted[rows] == 0]

    def alone(alpha):
        return promise_by_class(
            confidence[:300], predicted[:300], of_first, right[of_first], given[:1], 0.1, alpha
        )[0]

    assert together[0] == alone(0.1)
    assert alone(0.1).accepted < alone(0.3).accepted
    assert together[3].accepted == 0
