"""One temperature makes too sure and too doubtful answers honest, and is not believed too soon."""

from __future__ import annotations

import numpy as np
import pytest

from loop.measuring.calibration import calibrate, fit_temperature
from loop.train.kept import tempered


def answers(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 5) honest probabilities and true classes drawn from them."""
    rng = np.random.default_rng(seed)
    honest = rng.dirichlet(np.full(5, 0.4), n)
    labels = np.array([rng.choice(5, p=p) for p in honest])
    return honest, labels


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_the_temperature_is_found(true):
    honest, labels = answers(4000, seed=1)
    said = tempered(honest, 1 / true)  # softmax(true * log p)
    found = calibrate(said, labels)
    assert found.temperature == pytest.approx(true, rel=0.1)
    assert found.log_loss[1] <= found.log_loss[0] + 1e-3
    if true != 1:
        assert found.error[1] < found.error[0] / 2
    assert found.n == 4000


def test_a_hundred_images_gain_on_average():
    gains = []
    for seed in range(30):
        honest, labels = answers(100, seed)
        found = calibrate(tempered(honest, 0.4), labels)
        gains.append(found.log_loss[0] - found.log_loss[1])
    assert np.mean(gains) > 0.1


def test_a_few_right_answers_make_no_certainty():
    probabilities = np.tile([0.6, 0.4], (5, 1))
    assert 0.1 < fit_temperature(probabilities, np.zeros(5, np.int64)) < 1
    assert fit_temperature(probabilities[:0], np.zeros(0, np.int64)) == 1.0
    wrong = calibrate(probabilities[:2], np.ones(2, np.int64))
    assert np.isfinite([*wrong.error, *wrong.log_loss, wrong.temperature]).all()
