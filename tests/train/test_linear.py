"""Linear probe: the same optimum as scikit-learn, sane at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from loop.errors import ConfigError, DataError
from loop.train import Task, get
from loop.train.linear import L2_CANDIDATES, Linear, folds

X, Y = load_digits(return_X_y=True)
X, Y = X.astype(np.float32), Y.astype(np.int64)


def digits(labelled: int, seed: int = 0) -> tuple[Task, np.ndarray]:
    task = Task(10, X[:1400], X[1400:], Y[1400:])
    labels = np.full(1400, -1, np.int64)
    rows = np.random.default_rng(seed).permutation(1400)[:labelled]
    labels[rows] = Y[rows]
    return task, labels


@pytest.mark.parametrize("count", [60, 140, 500])
def test_same_optimum_as_sklearn(count):
    task, labels = digits(count)
    l2 = 1e-3
    trained = Linear(l2=l2, steps=2000).train(task, labels, np.random.default_rng(0))
    rows = np.flatnonzero(labels >= 0)
    x = task.standardised(task.pool[rows])
    penalty = 1 / (l2 * (x**2).sum() / len(x) * len(x))
    model = LogisticRegression(C=penalty, max_iter=5000, tol=1e-9).fit(x, labels[rows])
    expected = model.predict_proba(task.standardised(task.test))
    np.testing.assert_allclose(trained.test_probabilities, expected, atol=2e-3)


def test_l2_is_chosen_on_labelled_rows_only():
    task, labels = digits(100)
    first = Linear().train(task, labels, np.random.default_rng(0))
    other = Task(10, task.pool, task.test, np.roll(task.test_labels, 7))
    second = Linear().train(other, labels, np.random.default_rng(0))
    np.testing.assert_array_equal(first.test_probabilities, second.test_probabilities)
    assert first.notes["l2"] in L2_CANDIDATES


def test_good_on_digits():
    task, labels = digits(500)
    trained = Linear().train(task, labels, np.random.default_rng(0), pool_probabilities=True)
    assert trained.metrics.accuracy > 0.87
    assert trained.pool_probabilities.shape == (1400, 10)
    np.testing.assert_allclose(trained.pool_probabilities.sum(axis=1), 1)


def test_one_class_only():
    task, _ = digits(0)
    labels = np.where(np.arange(1400) < 5, 3, -1)
    trained = Linear().train(task, labels, np.random.default_rng(0))
    assert (trained.test_probabilities.argmax(axis=1) == 3).all()
    assert trained.notes["labels_of_one_class"]


def test_one_label_per_class():
    task, _ = digits(0)
    labels = np.full(1400, -1, np.int64)
    for c in range(10):
        labels[np.flatnonzero(Y[:1400] == c)[0]] = c
    trained = Linear().train(task, labels, np.random.default_rng(0))
    assert trained.metrics.accuracy > 0.3
    assert "too few" in trained.notes["l2_chosen"]


def test_no_label_is_an_error():
    task, labels = digits(0)
    with pytest.raises(DataError, match="pull"):
        Linear().train(task, labels, np.random.default_rng(0))


def test_constant_dims_and_duplicates():
    x = np.zeros((40, 5), np.float32)
    x[:20, 0] = 1
    labels = np.full(40, -1, np.int64)
    labels[[0, 1, 30, 31]] = [0, 0, 1, 1]
    task = Task(2, x, x, (np.arange(40) >= 20).astype(np.int64))
    assert Linear().train(task, labels, np.random.default_rng(0)).metrics.accuracy == 1


def test_folds_keep_single_examples_in_training():
    fold = folds(np.array([0, 0, 0, 1, 2, 2]), 5, np.random.default_rng(0))
    assert fold[3] == -1
    assert (fold[[0, 1, 2, 4, 5]] >= 0).all()


def test_dynamics_learn_clean_labels_first():
    task, _ = digits(0)
    labels = Y[:1400].copy()
    rng = np.random.default_rng(0)
    wrong = rng.choice(1400, 100, replace=False)
    labels[wrong] = (labels[wrong] + rng.integers(1, 10, 100)) % 10
    dynamics = get("linear").dynamics(task, labels, np.random.default_rng(1))
    clean = np.setdiff1d(np.arange(1400), wrong)
    assert np.median(dynamics.aum[wrong]) < np.median(dynamics.aum[clean])
    assert np.median(dynamics.el2n[wrong]) > np.median(dynamics.el2n[clean])


def test_projects_with_former_names_of_hyper_parameters_still_open():
    assert get("linear", strength=0.01) == get("linear", l2=0.01)
    network = get("resnet18", rate=0.05, decay=1e-3)
    assert network == get("resnet18", learning_rate=0.05, weight_decay=1e-3)
    with pytest.raises(ConfigError, match="former name of 'l2'"):
        get("linear", strength=0.01, l2=0.01)
