"""Suspicious labels: leaving one out is exact, and planted errors come first."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge

from loop import suspicious
from loop.suspicious import left_out, probably_wrong


@pytest.mark.parametrize(("k", "dims"), [(40, 8), (20, 64)])
def test_every_row_is_judged_by_a_model_without_it(k, dims, monkeypatch):
    monkeypatch.setattr(suspicious, "STRENGTHS", np.array([0.01]))
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((k, dims)), rng.integers(3, size=k)
    found = left_out(x, y, 3)
    scale = ((x - x.mean(axis=0)) ** 2).sum() / k
    for i in (0, k // 2, k - 1):
        rest = np.arange(k) != i
        # the exact model: centred on all rows, an unpenalised intercept, this row left out
        model = Ridge(alpha=0.01 * scale).fit(x[rest], np.eye(3)[y[rest]])
        said = np.clip(model.predict(x[i : i + 1])[0], 0, None)
        assert found[i] == pytest.approx(said / said.sum(), abs=1e-6)


def test_planted_errors_come_first():
    x, y = load_digits(return_X_y=True)
    x, y = x[:600], y[:600].astype(np.int64)
    rng = np.random.default_rng(1)
    wrong = rng.choice(600, size=30, replace=False)
    told = y.copy()
    told[wrong] = (y[wrong] + rng.integers(1, 10, size=30)) % 10
    chances = left_out(x, told, 10)
    place = np.arange(600)
    doubt = chances.max(axis=1) - chances[place, told]
    assert len(set(np.argsort(-doubt)[:30]) & set(wrong)) >= 27
    assert (chances.argmax(axis=1)[wrong] == y[wrong]).mean() > 0.8
    assert chances.sum(axis=1) == pytest.approx(np.ones(600))


def test_identical_rows_and_one_class():
    assert np.isfinite(left_out(np.ones((12, 4)), np.arange(12) % 2, 2)).all()
    assert np.isfinite(left_out(np.eye(12), np.zeros(12, np.int64), 2)).all()


def test_confident_learning_names_planted_errors():
    pytest.importorskip("cleanlab", reason="extra 'annotators' not installed")
    x, y = load_digits(return_X_y=True)
    x, y = x[:600], y[:600].astype(np.int64)
    rng = np.random.default_rng(1)
    wrong = rng.choice(600, size=30, replace=False)
    told = y.copy()
    told[wrong] = (y[wrong] + rng.integers(1, 10, size=30)) % 10
    found = probably_wrong(told, left_out(x, told, 10))
    right = len(set(found) & set(wrong))
    assert right >= 22
    assert right / len(found) > 0.75
