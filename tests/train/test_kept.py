"""A kept model predicts as the one that was trained, after a file and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from loop import train
from loop.errors import DataError
from loop.train import Task
from loop.train.kept import About, KeptModel, read_model, tempered

ABOUT = About(tuple("0123456789"), 1.0, "pixels", "pixels-8", "linear", 1, 40)


def digits(labelled: int) -> tuple[Task, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    images = np.repeat(x.reshape(-1, 8, 8, 1) * 15, 3, axis=3).astype(np.uint8)
    task = Task(
        10,
        x[:300].astype(np.float32),
        x[300:350].astype(np.float32),
        y[300:350],
        pool_images=lambda: images[:300],
        test_images=lambda: images[300:350],
    )
    labels = np.full(300, -1)
    labels[:labelled] = y[:labelled]
    return task, labels


@pytest.mark.parametrize(
    ("name", "params"),
    [("linear", {}), ("propagate", {}), ("resnet18", {"steps": 2, "side": 8})],
)
def test_a_file_and_back(name, params, tmp_path):
    task, labels = digits(60)
    trainer = train.get(name, **params)
    trained = trainer.train(task, labels, np.random.default_rng(0), pool_probabilities=True)
    file = tmp_path / "model.safetensors"
    file.write_bytes(KeptModel(trained.model, ABOUT).to_bytes())
    kept = read_model(file)
    assert kept.about == ABOUT
    rows = task.pool if trainer.wants == "embeddings" else task.pool_images()
    assert kept.classifier.wants == trainer.wants
    np.testing.assert_array_equal(kept.classifier.probabilities(rows), trained.pool_probabilities)
    assert kept.to_bytes() == file.read_bytes()


def test_other_files_are_refused(tmp_path):
    from safetensors.numpy import save

    file = tmp_path / "other.safetensors"
    for content in (b"", b"junk" * 100, save({"a": np.ones(3)}), save({}, {"coreloop": "[1]"})):
        file.write_bytes(content)
        with pytest.raises(DataError, match="no model of coreloop"):
            read_model(file)
    with pytest.raises(DataError, match="no model of coreloop"):
        read_model(tmp_path / "absent")


def test_a_temperature_changes_no_order():
    p = np.random.default_rng(0).dirichlet(np.ones(4), 200)
    for temperature in (0.3, 1.0, 4.0):
        calibrated = tempered(p, temperature)
        np.testing.assert_allclose(calibrated.sum(axis=1), 1)
        np.testing.assert_array_equal(np.argsort(calibrated, axis=1), np.argsort(p, axis=1))
    np.testing.assert_allclose(tempered(p, 1.0), p)


def test_the_answers_have_the_kept_temperature():
    task, labels = digits(60)
    trained = train.get("linear").train(task, labels, np.random.default_rng(0))
    raw = trained.model.probabilities(task.pool)
    warm = KeptModel(trained.model, replace(ABOUT, temperature=2.5)).probabilities(task.pool)
    np.testing.assert_allclose(warm, tempered(raw, 2.5))
    assert warm.max(axis=1).mean() < raw.max(axis=1).mean()
