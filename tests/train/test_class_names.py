"""Class names as an opinion beside the labels' model: worth much when good, harmless when not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from loop.encoders.class_names import is_code, phrases
from loop.measuring.active import RandomSample
from loop.measuring.by_sample import measure_by_sample
from loop.name_head import NameHead, Prior
from loop.train import Task
from loop.train.kept import About, KeptModel, read_model
from loop.train.named import NamedProbe
from loop.train.opinions import NAMES_ALONE, Trust, advantages, geometric, trust
from loop.train.propagate import Propagate

CLASSES = 10


def told(y: NDArray[np.int64], right: float, seed: int) -> NDArray[np.float64]:
    """Probabilities whose likeliest class is the true one for this share of the rows."""
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(len(y)) < right, y, rng.integers(0, CLASSES, len(y)))
    return 0.5 * np.eye(CLASSES)[said] + 0.5 / CLASSES


def digits(right: float, sample: int = 0) -> tuple[Task, NDArray[np.int64]]:
    """Digits with what names of this accuracy say, and a random sample of the pool."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))[:900]
    x, y = x[order].astype(np.float32), y[order].astype(np.int64)
    p = told(y, right, 1)
    head = NameHead(np.eye(CLASSES), x.shape[1], 1.0, unit=False)
    prior = Prior(head, p[:600], p[600:])
    rows = np.random.default_rng(2).permutation(600)[:sample]
    return Task(CLASSES, x[:600], x[600:], y[600:], prior=prior, sample=np.sort(rows)), y[:600]


def labelled(y: NDArray[np.int64], *parts: NDArray[np.int64]) -> NDArray[np.int64]:
    known = np.full(len(y), -1, np.int64)
    for rows in parts:
        known[rows] = y[rows]
    return known


def accuracy(task: Task, known: NDArray[np.int64]) -> float:
    trained = Propagate().train(task, known, np.random.default_rng(0))
    return trained.metrics.accuracy


def without_names(task: Task) -> Task:
    return replace(task, prior=None)


@pytest.mark.parametrize(("picks", "sample"), [(10, 0), (0, 30), (10, 40)])
def test_good_names_help_and_useless_ones_do_no_harm(picks, sample):
    good, y = digits(0.8, sample)
    useless, _ = digits(0.0, sample)
    chosen = np.random.default_rng(3).permutation(600)[:picks]
    known = labelled(y, chosen, good.sample)
    alone = accuracy(without_names(good), known)
    assert accuracy(good, known) > alone + 0.03
    assert accuracy(useless, known) > alone - 0.01


def test_without_a_label_the_names_and_their_spread_answer():
    task, y = digits(0.6)
    trained = Propagate().train(task, labelled(y), np.random.default_rng(0))
    by_names = (task.prior.test.argmax(axis=1) == task.test_labels).mean()
    assert trained.metrics.accuracy > by_names + 0.1  # the graph cleans them
    assert isinstance(trained.model, NamedProbe)
    assert trained.model.probe is None


def test_no_label_is_seen_before_there_is_one():
    task, y = digits(0.6)
    first = Propagate().train(task, labelled(y), np.random.default_rng(0))
    shuffled = replace(task, test_labels=np.roll(task.test_labels, 7))
    second = Propagate().train(shuffled, labelled(y), np.random.default_rng(5))
    assert np.array_equal(first.test_probabilities, second.test_probabilities)


def test_who_judges_is_the_sample_where_it_is_large_enough():
    task, y = digits(0.8, 40)
    picks = np.setdiff1d(np.arange(60), task.sample)
    noted = Propagate().train(task, labelled(y, picks, task.sample), np.random.default_rng(0)).notes
    assert (noted["names"]["rule"], noted["names"]["n"]) == ("sample", 40)
    share, lower, upper = noted["names"]["alone"]
    assert lower < share < upper
    few = labelled(y, picks, task.sample[:19])
    noted = Propagate().train(task, few, np.random.default_rng(0)).notes
    assert noted["names"]["rule"] == "picks"
    assert "alone" not in noted["names"]


def test_weights_are_those_of_the_formula():
    b = np.array([[0.6, 0.4], [0.2, 0.8], [0.5, 0.5]])
    t = np.array([[0.9, 0.1], [0.3, 0.7], [0.8, 0.2]])
    h = np.array([[0.7, 0.3], [0.4, 0.6], [0.6, 0.4]])
    y = np.array([0, 1, 0])
    gained = advantages(b, t, h, y, "sample")
    flat = 0.95 * b + 0.05 / 2
    pooled = flat * t**2
    pooled /= pooled.sum(axis=1, keepdims=True)
    expected = np.log(pooled[[0, 1, 2], y]) - np.log(flat[[0, 1, 2], y])
    np.testing.assert_allclose(gained[:, 4], expected)  # t to the power of 2
    alone = 0.95 * geometric(t, h) + 0.05 / 2
    np.testing.assert_allclose(gained[:, 12], np.log(alone[range(3), y] / flat[range(3), y]))
    score = gained.sum(axis=0) - np.sqrt((gained**2).sum(axis=0))
    first = np.array([0.5, *[0.025] * 10, *[0.25 / 3] * 3])
    weights = first * np.exp(score)
    found = trust(gained, "sample", 2.0)
    np.testing.assert_allclose(found.weights, weights / weights.sum())
    only_names = Trust("sample", np.eye(14)[11])
    np.testing.assert_allclose(only_names.probabilities(b, t, h), 0.95 * t + 0.025)
    nothing = Trust("sample", np.eye(14)[0])
    np.testing.assert_allclose(nothing.probabilities(b, t, h), b)


def test_no_fold_has_a_say_in_its_own_prediction():
    """An image of the sample with another label: its own held-out prediction stays."""
    task, y = digits(0.7, 40)
    known = labelled(y, task.sample)
    fold = np.full(600, -1)
    fold[task.sample] = np.arange(40) % 5
    rng = np.random.default_rng
    model = Propagate()

    def held_out(known, row):
        every = list(model.cross_fit(task, known, fold, rng(0)))
        return every[fold[row]][row]

    row = int(task.sample[3])
    changed = known.copy()
    changed[row] = (changed[row] + 1) % CLASSES
    before, after = held_out(known, row), held_out(changed, row)
    # penalty and share are chosen by all labels, so the two may differ a little, not in kind
    assert before.argmax() == after.argmax()
    assert np.abs(before - after).max() < 0.1


def test_the_measured_accuracy_is_that_of_the_model_with_names():
    """Over 6 random samples the estimate is right on average, and its intervals hold."""
    task, y = digits(0.8)
    errors, inside = [], 0
    for seed in range(6):
        rows = np.random.default_rng(seed).permutation(600)[:60]
        sample = RandomSample(rows, np.full(60, 0.1), np.zeros(60, np.int64))
        each = replace(task, sample=np.sort(rows), _made=task._made)
        known = labelled(y, rows)
        nothing = np.empty(0, np.int64)
        measured = measure_by_sample(Propagate(), each, known, nothing, sample, seed, 1, 5)
        predicted = measured.kept.pool_probabilities.argmax(axis=1)
        truth = (predicted == y)[known < 0].mean()
        lower, upper = measured.metrics.intervals["accuracy"]
        errors.append(measured.metrics.accuracy - truth)
        inside += lower <= truth <= upper
    assert abs(np.mean(errors)) < 0.03
    assert inside >= 5


def test_a_kept_model_says_the_same_again(tmp_path):
    task, y = digits(0.8, 40)
    trained = Propagate().train(
        task, labelled(y, task.sample), np.random.default_rng(0), pool_probabilities=True
    )
    about = About(tuple("0123456789"), 1.0, "x", "y", "auto", 1, 40)
    (tmp_path / "m").write_bytes(KeptModel(trained.model, about).to_bytes())
    again = read_model(tmp_path / "m").classifier
    log_t = np.log(task.prior.pool).astype(np.float32)
    rows = np.concatenate([task.pool, log_t], axis=1)
    np.testing.assert_allclose(again.probabilities(rows), trained.pool_probabilities, atol=1e-5)
    assert again.trust.rule == "sample"
    assert NAMES_ALONE.in_names == 1


def test_codes_are_no_words():
    codes = ["n02084071", "class_3", "7", "a", "label-12", "C1", "0_1", "Class 2"]
    words = ["cat", "red_rose", "T-shirt", "ox", "n-gram", "classroom", "7-segment display", "été"]
    assert [is_code(name) for name in codes] == [True] * len(codes)
    assert [is_code(name) for name in words] == [False] * len(words)
    spoken, silent = phrases(["n02084071", "red_rose"], {"n02084071": ["dog", "a_dog"]})
    assert (spoken, silent) == ([["dog", "a dog"], ["red rose"]], [])
