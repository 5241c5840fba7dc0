"""Label issues: leaving one out is exact, the rule is the paper's, planted errors are found."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge

from loop import label_issues
from loop.label_issues import (
    find_label_issues,
    label_margin,
    left_out_probabilities,
    left_out_scores,
)


@pytest.fixture(scope="module")
def planted():
    """600 digits of which 30 are labelled wrong: given labels, the wrong rows, probabilities."""
    x, y = load_digits(return_X_y=True)
    x, y = x[:600], y[:600].astype(np.int64)
    rng = np.random.default_rng(1)
    wrong = rng.choice(600, size=30, replace=False)
    labels = y.copy()
    labels[wrong] = (y[wrong] + rng.integers(1, 10, size=30)) % 10
    return labels, wrong, left_out_probabilities(x, labels, 10)


@pytest.mark.parametrize(("k", "dims"), [(40, 8), (20, 64)])
def test_every_row_is_judged_by_a_model_without_it(k, dims, monkeypatch):
    monkeypatch.setattr(label_issues, "RIDGE_PENALTIES", np.array([0.01]))
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((k, dims)), rng.integers(3, size=k)
    scores = left_out_scores(x, y, 3)
    scale = ((x - x.mean(axis=0)) ** 2).sum() / k
    for i in (0, k // 2, k - 1):
        rest = np.arange(k) != i
        # the exact model: centred on all rows, an unpenalised intercept, this row left out
        model = Ridge(alpha=0.01 * scale).fit(x[rest], np.eye(3)[y[rest]])
        assert scores[i] == pytest.approx(model.predict(x[i : i + 1])[0], abs=1e-6)


def test_probabilities_are_calibrated():
    """Where a prediction is given 0.9, nine of ten are right: on digits within 0.03 on average."""
    x, y = load_digits(return_X_y=True)
    probabilities = left_out_probabilities(x, y, 10)
    right = probabilities.argmax(axis=1) == y
    assert abs(probabilities.max(axis=1).mean() - right.mean()) < 0.03


def test_planted_errors_have_the_largest_margins(planted):
    labels, wrong, probabilities = planted
    largest = np.argsort(-label_margin(labels, probabilities))[:30]
    assert len(set(largest) & set(wrong)) >= 27
    true = load_digits().target[wrong]
    assert (probabilities.argmax(axis=1)[wrong] == true).mean() > 0.8
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(600))


def test_identical_rows_and_one_class():
    same = left_out_probabilities(np.ones((12, 4)), np.arange(12) % 2, 2)
    assert np.isfinite(same).all()
    one_class = np.zeros(12, np.int64)
    probabilities = left_out_probabilities(np.eye(12), one_class, 2)
    assert np.isfinite(probabilities).all()
    assert find_label_issues(one_class, probabilities).tolist() == []


def test_no_labels_no_issues():
    assert find_label_issues(np.empty(0, np.int64), np.empty((0, 3))).tolist() == []


def test_issues_are_the_planted_errors(planted):
    labels, wrong, probabilities = planted
    issues = find_label_issues(labels, probabilities)
    right = len(set(issues) & set(wrong))
    assert right >= 18
    assert right / len(issues) > 0.8
    margins = label_margin(labels, probabilities)[issues]
    assert (np.diff(margins) <= 0).all()


def test_issues_are_those_of_cleanlab(planted):
    cleanlab = pytest.importorskip("cleanlab.filter", reason="extra 'test' not installed")
    labels, _, probabilities = planted
    expected = cleanlab.find_label_issues(
        labels,
        probabilities,
        filter_by="confident_learning",
        return_indices_ranked_by="normalized_margin",
        n_jobs=1,
    )
    assert find_label_issues(labels, probabilities).tolist() == expected.tolist()


def test_the_rule_is_that_of_the_paper():
    """Equation 1 of Northcutt et al. 2021, written out, on random probabilities."""
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=300)  # nobody gave class 3
    probabilities = rng.dirichlet(np.ones(4) * 0.7, size=300)
    threshold = [probabilities[labels == j, j].mean() for j in range(3)]
    off_diagonal = set()
    for row, p in enumerate(probabilities):
        confident = [j for j in range(3) if p[j] >= threshold[j]]
        if confident and max(confident, key=lambda j: p[j]) != labels[row]:
            off_diagonal.add(row)
    expected = {row for row in off_diagonal if probabilities[row].argmax() != labels[row]}
    assert set(find_label_issues(labels, probabilities)) == expected
    assert 20 < len(expected) < 200
