"""Draws where the model is in doubt, and what they count for: checked by repetition."""

from __future__ import annotations

import numpy as np
import pytest

from loop.measuring.accuracy import estimate
from loop.measuring.active import RandomSample, drawn, gain, inclusion, sample_weights


def pool(rng, size=4000, sure=0.85):
    """(N,) right or wrong and confidences; the model is a little surer than it is right."""
    confidence = np.where(rng.random(size) < sure, rng.beta(60, 1, size), rng.beta(3, 2, size))
    confidence = np.clip(confidence, 0.2, 1.0)
    return rng.random(size) < confidence**1.15, confidence


@pytest.mark.parametrize("count", [1, 50, 700, 1000])
def test_probabilities_add_up_and_none_exceeds_one(count):
    confidence = np.concatenate([np.full(900, 0.999), np.full(100, 0.5)])
    probability = inclusion(confidence, count)
    assert probability.sum() == pytest.approx(count)
    assert 0 < probability.min() <= probability.max() <= 1
    assert (probability[900:] >= probability[:900].max()).all()


def test_a_model_without_any_doubt_is_looked_at_anywhere():
    np.testing.assert_allclose(inclusion(np.ones(200), 20), 0.1)


def test_images_are_drawn_as_often_as_their_probability_says():
    rng = np.random.default_rng(0)
    probability = inclusion(rng.beta(8, 1, 300), 40)
    draws = [drawn(probability, rng) for _ in range(4000)]
    assert {len(rows) for rows in draws} == {40}
    assert all(len(np.unique(rows)) == 40 for rows in draws[:200])
    share = np.bincount(np.concatenate(draws), minlength=300) / len(draws)
    error = np.sqrt(probability * (1 - probability) / len(draws))
    assert np.abs(share - probability).max() < 5 * error.max()


def test_weights_add_up_and_a_draw_at_random_alone_counts_evenly():
    rng = np.random.default_rng(1)
    confidence, probability = rng.uniform(0.4, 1, 60), rng.uniform(0.05, 1, 60)
    batch = np.repeat([0, 3, 4], 20)
    sample = RandomSample(np.arange(60), probability, batch)
    weights = sample_weights(sample, confidence)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights[:20], weights[0])
    assert weights[20:40] @ probability[20:40] == pytest.approx(20 * weights[20] * probability[20])
    alone = RandomSample(np.arange(20), np.full(20, 0.1), np.zeros(20, np.int64))
    np.testing.assert_allclose(sample_weights(alone, confidence[:20]), 1 / 20)


def test_even_weights_say_what_no_weights_say():
    rng = np.random.default_rng(2)
    right, confidence = pool(rng)
    weighted = estimate(right[:90], confidence[:90], confidence[90:], weights=np.full(90, 1 / 90))
    plain = estimate(right[:90], confidence[:90], confidence[90:])
    assert weighted.accuracy == pytest.approx(plain.accuracy)
    assert weighted.worth == pytest.approx(plain.worth)


def test_labels_drawn_by_doubt_are_worth_more_the_better_the_model():
    rng = np.random.default_rng(3)
    worth = [gain(pool(rng, sure=sure)[1]) for sure in (0.9, 0.5, 0.0)]
    assert worth == sorted(worth, reverse=True)
    assert worth[0] > 1.5
    assert worth[-1] < 1.1
    assert gain(np.full(100, 0.7)) == pytest.approx(1)


def estimates(rng, right, confidence, by_doubt):
    """The estimate of 100 images at random and 100 more."""
    order = rng.permutation(len(right))
    first, rest = order[:100], order[100:]
    probability = inclusion(confidence[rest], 100)
    if not by_doubt:
        probability = np.full(len(rest), 100 / len(rest))
    more = drawn(probability, rng)
    rows = np.concatenate([first, rest[more]])
    sample = RandomSample(
        rows,
        np.concatenate([np.full(100, 100 / len(right)), probability[more]]),
        np.repeat([0, 2 if by_doubt else 0], 100),
    )
    weights = sample_weights(sample, confidence[rows]) if by_doubt else None
    whole = confidence if by_doubt else np.delete(confidence, rows)
    return estimate(right[rows], confidence[rows], whole, inflation=1.0, weights=weights)


def test_the_estimate_is_unbiased_narrower_and_its_interval_holds():
    """1,000 samples of one pool: bias within three standard errors, coverage of 93 to 98 %, and a
    root mean square error below that of as many labels at random."""
    rng = np.random.default_rng(4)
    right, confidence = pool(rng)
    truth, errors, widths = right.mean(), {}, {}
    for by_doubt in (False, True):
        said = [estimates(rng, right, confidence, by_doubt) for _ in range(1000)]
        off = np.array([each.accuracy for each in said]) - truth
        covered = np.mean([each.lower <= truth <= each.upper for each in said])
        assert abs(off.mean()) < 3 * off.std() / np.sqrt(len(off)) + 1e-3
        assert 0.93 <= covered <= 0.985, (by_doubt, covered)
        errors[by_doubt] = np.sqrt((off**2).mean())
        widths[by_doubt] = np.mean([each.upper - each.lower for each in said])
    assert errors[True] < 0.92 * errors[False]
    assert widths[True] < 0.9 * widths[False]
