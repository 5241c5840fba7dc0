"""The whole way on digits, and what a threshold without a bound would do."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from loop import train
from loop.finish.rehearsal import PROMISED, UNBOUNDED, finish, rehearse
from loop.train import Task


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    pool = (images / 16).astype(np.float32)
    nothing = np.empty((0, pool.shape[1]), np.float32)
    return Task(10, pool, nothing, np.empty(0, np.int64)), labels.astype(np.int64)


def test_counts_add_up(digits):
    task, labels = digits
    rng = np.random.default_rng(0)
    learned = rng.permutation(len(labels))[:100]
    finishes = rehearse(
        train.get("linear", l2=1e-3),
        task,
        labels,
        learned,
        (0.02, 0.1),
        (100, 200, 5000),
        0.05,
        rng,
    )
    assert [(f.sample, f.max_error, f.rule) for f in finishes] == [
        (sample, max_error, rule)
        for sample in (100, 200)
        for max_error in (0.02, 0.1)
        for rule in (PROMISED, UNBOUNDED)
    ]
    for finished in finishes:
        assert finished.by_people + finished.by_model == len(labels)
        assert finished.by_people >= 100 + finished.sample
        assert finished.error == finished.wrong / len(labels)
        assert finished.broken == (finished.wrong > int(finished.max_error * len(labels)))
    loose = [f.by_model for f in finishes if f.max_error == 0.1 and f.rule == PROMISED]
    assert min(loose) > 0.4 * len(labels)
    assert rehearse_twice(task, labels, learned) == rehearse_twice(task, labels, learned)


def rehearse_twice(task, labels, learned):
    trainer, rng = train.get("linear", l2=1e-3), np.random.default_rng(7)
    return rehearse(trainer, task, labels, learned, (0.05,), (100,), 0.05, rng)


def test_without_a_bound_the_goal_is_missed_every_other_time():
    rng = np.random.default_rng(1)
    broken = {PROMISED: 0, UNBOUNDED: 0}
    for _ in range(400):
        confidence = rng.uniform(size=1000)
        right = rng.uniform(size=1000) < 0.5 + confidence / 2
        for finished in finish(
            confidence, right, rng.choice(1000, 100, replace=False), 1050, 0.05, 0.05
        ):
            broken[finished.rule] += finished.broken
    assert broken[PROMISED] <= 400 * 0.05 + 3 * np.sqrt(400 * 0.05 * 0.95)
    assert 0.3 * 400 < broken[UNBOUNDED] < 0.75 * 400
