"""The promise is exact: every small population enumerated, adversarial ones by repetition."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from loop.errors import DataError
from loop.finish.promise import (
    allowed_wrong,
    check_possible,
    labels_needed,
    most_seen,
    most_wrong,
    promise,
    smallest_error,
    spent,
)


def at_most(seen, population, wrong, sample):
    ways = sum(
        math.comb(wrong, k) * math.comb(population - wrong, sample - k) for k in range(seen + 1)
    )
    return ways / math.comb(population, sample)


def wrong_left(promised, confidence, sample, right):
    """Labels of the model that are kept and wrong; ``right`` of the whole population."""
    kept = confidence >= promised.threshold
    kept[sample] = False
    assert kept.sum() == promised.accepted
    return int((kept & ~right).sum())


def test_the_bound_is_the_largest_number_that_the_sample_does_not_contradict():
    for population, sample in itertools.product((1, 5, 12, 30), (0, 1, 4, 11)):
        if sample > population:
            continue
        for seen, alpha in itertools.product(range(sample + 1), (0.05, 0.1, 0.37)):
            possible = [
                wrong
                for wrong in range(seen, population - sample + seen + 1)
                if at_most(seen, population, wrong, sample) > alpha
            ]
            assert most_wrong(population, sample, seen, alpha) == max(possible)


def test_most_seen_is_the_bound_turned_round():
    for population, sample, alpha in [(12, 5, 0.1), (40, 15, 0.05), (9, 9, 0.2)]:
        for allowed in range(population + 1):
            suffices = [
                most_wrong(population, sample, seen, alpha) - seen <= allowed
                for seen in range(sample + 1)
            ]
            assert suffices == sorted(suffices, reverse=True)
            assert most_seen(population, sample, allowed, alpha) == sum(suffices) - 1


@pytest.mark.parametrize(
    "confidence",
    [
        [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3],
        [0.9, 0.9, 0.9, 0.6, 0.6, 0.6, 0.2],
        [0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
        [0.5] * 7,
    ],
)
def test_no_population_of_seven_breaks_it_more_often_than_alpha(confidence):
    """All 128 ways to be wrong, all samples of 3 and 4, every number allowed."""
    confidence = np.array(confidence)
    worst = 0.0
    for size, alpha in ((3, 0.3), (4, 0.12)):
        samples = [np.array(rows) for rows in itertools.combinations(range(7), size)]
        for allowed in range(4):
            kept = [
                [
                    promise(confidence, rows, np.array(answers), allowed, alpha)
                    for answers in itertools.product((False, True), repeat=size)
                ]
                for rows in samples
            ]
            for right in itertools.product((False, True), repeat=7):
                right = np.array(right)
                broken = too_many = 0
                for rows, by_answers in zip(samples, kept, strict=True):
                    number = int("".join(str(int(answer)) for answer in right[rows]), 2)
                    left = wrong_left(by_answers[number], confidence, rows, right)
                    broken += left > allowed
                    too_many += left > by_answers[number].upper
                assert max(broken, too_many) <= alpha * len(samples)
                worst = max(worst, broken / len(samples) / alpha)
    assert worst > 0.5  # alpha is spent


def population(kind, rng, size=400):
    confidence = rng.uniform(size=size)
    if kind == "all wrong":
        return confidence, np.zeros(size, bool)
    if kind == "all right":
        return confidence, np.ones(size, bool)
    if kind == "anti-correlated":  # the surer, the more often wrong
        return confidence, rng.uniform(size=size) > 0.3 * confidence
    if kind == "ties":
        return np.round(confidence, 1), rng.uniform(size=size) < 0.7 + 0.3 * confidence
    if kind == "first bad tie":  # all wrong ones share one confidence, in the middle
        return np.where(confidence > 0.5, 0.9, 0.1), ~((confidence > 0.5) & (confidence < 0.6))
    # just more wrong ones at the top than are allowed, then none
    return confidence, np.argsort(np.argsort(-confidence)) >= 22


@pytest.mark.parametrize(
    "kind",
    ["all wrong", "all right", "anti-correlated", "ties", "first bad tie", "just too many"],
)
def test_hostile_populations_do_not_break_it_more_often_than_alpha(kind):
    rng = np.random.default_rng(3)
    allowed, alpha, repetitions = allowed_wrong(0.05, 400), 0.1, 1500
    broken = kept = 0
    confidence, right = population(kind, rng)
    for _ in range(repetitions):
        rows = rng.choice(400, 80, replace=False)
        promised = promise(confidence, rows, right[rows], allowed, alpha)
        broken += wrong_left(promised, confidence, rows, right) > allowed
        kept += promised.accepted
    assert broken <= repetitions * alpha + 3 * math.sqrt(repetitions * alpha * (1 - alpha))
    if kind == "all right":
        assert (broken, kept) == (0, repetitions * 320)
    if kind == "just too many":
        assert broken > 0.02 * repetitions  # a rule that keeps nothing would pass the test


def test_looks_together_break_it_no_more_often_than_alpha():
    """Three looks at a model that gets better, each at fresh images; the first that keeps half."""
    rng = np.random.default_rng(4)
    broken, repetitions, alpha = 0, 1000, 0.2
    for _ in range(repetitions):
        unlabelled = np.ones(600, bool)
        for look in (1, 2, 3):
            rows = np.flatnonzero(unlabelled)
            confidence = rng.uniform(size=len(rows))
            right = rng.uniform(size=len(rows)) < 0.80 + 0.05 * look + 0.1 * confidence
            sample = rng.choice(len(rows), 60, replace=False)
            promised = promise(confidence, sample, right[sample], 30, spent(alpha, look))
            if promised.accepted > 300:
                broken += wrong_left(promised, confidence, sample, right) > 30
                break
            unlabelled[rows[sample]] = False
    assert 0 < broken <= repetitions * alpha
    assert sum(spent(alpha, look) for look in range(1, 10_000)) <= alpha
    with pytest.raises(ValueError, match="looks count from 1"):
        spent(alpha, 0)


def test_more_allowed_more_alpha_or_fewer_wrong_keep_no_fewer():
    rng = np.random.default_rng(5)
    confidence = rng.uniform(size=1000)
    right = rng.uniform(size=1000) < confidence
    rows = rng.choice(1000, 150, replace=False)
    kept = [promise(confidence, rows, right[rows], a, 0.05).accepted for a in range(0, 300, 20)]
    assert kept == sorted(kept)
    assert kept[0] == 0 < kept[-1]
    kept = [promise(confidence, rows, right[rows], 60, a).accepted for a in (0.001, 0.05, 0.3)]
    assert kept == sorted(kept)
    mended = right[rows].copy()
    for row in np.flatnonzero(~mended):
        before = promise(confidence, rows, mended, 60, 0.05).accepted
        mended[row] = True
        assert promise(confidence, rows, mended, 60, 0.05).accepted >= before


def test_what_is_kept_and_what_the_fields_hold():
    confidence = np.array([0.9, 0.8, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])
    rows = np.array([6, 0, 2, 5])
    right = np.array([False, True, True, False])
    promised = promise(confidence, rows, right, 2, 0.4)
    # none seen: 1 may be left, one seen: 2, two seen: 3; so the second wrong one has to stay below
    assert [most_wrong(8, 4, seen, 0.4) - seen for seen in range(3)] == [1, 2, 3]
    assert (promised.threshold, promised.accepted, promised.sample) == (0.5, 3, 4)
    assert (promised.wrong, promised.upper, promised.allowed) == (1, 2, 2)
    stricter = promise(confidence, rows, right, 1, 0.4)
    assert (stricter.threshold, stricter.accepted, stricter.wrong) == (0.6, 3, 0)
    looser = promise(confidence, rows, right, 3, 0.4)
    assert (looser.threshold, looser.accepted, looser.wrong, looser.upper) == (0.3, 4, 2, 3)


def test_no_promise_says_what_could_be_promised():
    nothing = promise(np.linspace(0.1, 0.9, 1000), np.arange(30), np.ones(30, bool), 10, 0.05)
    assert (nothing.threshold, nothing.accepted, nothing.upper) == (math.inf, 0, 0)
    needed = labels_needed(1000, 10, 0.05)
    assert most_wrong(1000, needed, 0, 0.05) <= 10 < most_wrong(1000, needed - 1, 0, 0.05)
    smallest = smallest_error(1000, 30, 1050, 0.05)
    check_possible(1000, 30, 1050, smallest, 0.05)
    with pytest.raises(DataError) as error:
        check_possible(1000, 30, 1050, 0.01, 0.05)
    assert f"they can promise {100 * smallest:g} %" in str(error.value)
    assert f"takes {needed} calibration labels" in str(error.value)
    with pytest.raises(DataError):
        check_possible(1000, needed - 1, 1050, 0.01, 0.05)
    check_possible(1000, needed, 1050, 0.01, 0.05)


def test_no_error_allowed_takes_every_label():
    assert labels_needed(50, 0, 0.05) == 48  # with P(miss the one wrong) = 2 / 50
    assert labels_needed(50, 50, 0.05) == 0
    with pytest.raises(DataError, match=r"allows no wrong label at all.*at least 0\.02"):
        check_possible(40, 20, 50, 0.01, 0.05)
    for share, words in ((0.0, "people label every image"), (1.0, "between 0 and 1")):
        with pytest.raises(DataError, match=words):
            allowed_wrong(share, 100)


def test_the_number_allowed_is_that_of_the_written_share():
    assert allowed_wrong(0.29, 100) == 29  # 0.29 * 100 is 28.999999999999996
    assert allowed_wrong(0.02, 1797) == 35
    assert allowed_wrong(1e-05, 300_000) == 3


GOOD = (np.linspace(0.1, 0.9, 9), np.array([1, 2]), np.array([True, False]), 2, 0.05)


@pytest.mark.parametrize(
    ("position", "value", "words"),
    [
        (0, np.empty(0), "every image is labelled"),
        (0, np.r_[0.5, np.nan, np.ones(7)], "row 1 is nan"),
        (0, np.r_[np.inf, np.ones(8)], "row 0 is inf"),
        (1, np.array([1, 1]), "row 1 is in the calibration sample more than once"),
        (1, np.array([1, 9]), "row 9 .* is outside 0 to 8"),
        (1, np.array([-1, 2]), "row -1 .* is outside"),
        (1, np.array([0.0, 2.0]), "not integers"),
        (2, np.array([True]), "2 calibration images have 1 answers"),
        (2, np.array([1, 0]), "true or false"),
        (3, -1, "must be 0 or more"),
        (4, 0.0, "between 0 and 1"),
        (4, 1.0, "between 0 and 1"),
        (4, math.nan, "between 0 and 1"),
    ],
)
def test_bad_input_is_refused(position, value, words):
    promise(*GOOD)
    arguments = list(GOOD)
    arguments[position] = value
    with pytest.raises(DataError, match=words):
        promise(*arguments)


@pytest.mark.parametrize("share", [-0.1, 1.5, math.nan, math.inf])
def test_an_error_that_is_no_share_is_refused(share):
    with pytest.raises(DataError, match="between 0 and 1"):
        allowed_wrong(share, 100)


def test_a_million_images_take_no_time():
    rng = np.random.default_rng(6)
    confidence = rng.uniform(size=1_000_000).astype(np.float32)
    rows = rng.choice(1_000_000, 5000, replace=False)
    promised = promise(confidence, rows, rng.uniform(size=5000) < confidence[rows], 20_000, 0.05)
    assert 100_000 < promised.accepted < 300_000
    assert promised.upper <= 20_000
    assert (confidence >= promised.threshold).sum() > promised.accepted  # float32 as it is
