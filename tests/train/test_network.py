"""Networks learn, refuse nonsense, and load weights only."""

from __future__ import annotations

import numpy as np
import pytest

from loop.errors import ConfigError, DataError, TrainingFailed
from loop.train import Task, get
from loop.train.network import augment, build, normalise


def stripes(n=96, seed=0):
    """Two classes: horizontal and vertical stripes with noise; (n, 8, 8, 3) uint8."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    base = np.tile(np.arange(8) % 2 * 160, (8, 1))
    images = np.stack([base if label else base.T for label in y])[..., None]
    return (images + rng.integers(0, 90, (n, 8, 8, 3))).astype(np.uint8), y.astype(np.int64)


IMAGES, Y = stripes()
TEST, TEST_Y = stripes(64, seed=1)
FLAT = IMAGES.reshape(len(IMAGES), -1).astype(np.float32)
TASK = Task(2, FLAT, TEST.reshape(64, -1).astype(np.float32), TEST_Y,
            lambda: IMAGES, lambda: TEST)  # fmt: skip


def test_learns_and_records():
    trainer = get("resnet18", epochs=4, batch=16, rate=0.05)
    found = trainer.train(TASK, Y, np.random.default_rng(0), pool_probabilities=True)
    assert found.metrics.accuracy > 0.9
    assert found.pool_probabilities.shape == (96, 2)
    dynamics = get("resnet18", epochs=2, batch=32).dynamics(TASK, Y, np.random.default_rng(0))
    assert dynamics.epochs == 2


def test_nan_loss_stops_the_run():
    with pytest.raises(TrainingFailed, match="rate"):
        get("resnet18", epochs=2, batch=32, rate=1e12).train(TASK, Y, np.random.default_rng(0))


def test_bad_checkpoints(tmp_path):
    with pytest.raises(DataError, match="no checkpoint"):
        build("resnet18", 2, str(tmp_path / "none.pt"))
    (tmp_path / "bad.pt").write_bytes(b"garbage")
    with pytest.raises(DataError, match="cannot be used"):
        build("resnet18", 2, str(tmp_path / "bad.pt"))


def test_pickled_code_in_a_checkpoint_is_not_run(tmp_path):
    import torch

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"x": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(DataError):
        build("resnet18", 2, str(tmp_path / "evil.pt"))
    assert not (tmp_path / "owned").exists()


def test_unknown_models():
    with pytest.raises(ConfigError, match="timm:"):
        build("resnet19", 2)
    with pytest.raises(ConfigError):
        get("resnet18", preset="slow")


def test_augmentation_keeps_shape_and_values():
    import torch

    batch = normalise(torch.from_numpy(IMAGES[:4]).permute(0, 3, 1, 2))
    found = augment(batch)
    assert found.shape == batch.shape
    for one, many in zip(found, batch, strict=True):
        assert set(one.unique().tolist()) <= set(many.unique().tolist())


def test_images_are_needed():
    bare = Task(2, FLAT, TASK.test, TEST_Y)
    with pytest.raises(DataError, match="images"):
        get("resnet18").train(bare, Y, np.random.default_rng(0))


def test_out_of_memory_halves_the_batch_and_says_so(monkeypatch):
    import torch

    from loop.train import network

    sizes, real = [], network.augment

    def small(batch):
        sizes.append(len(batch))
        if len(batch) > 8:
            raise torch.OutOfMemoryError("out of memory")
        return real(batch)

    monkeypatch.setattr(network, "augment", small)
    found = get("resnet18", epochs=1, batch=32).train(TASK, Y, np.random.default_rng(0))
    assert sizes[:3] == [32, 16, 8]
    assert found.notes["batch"] == 8
    assert found.notes["out_of_memory"] == "batch halved 2 times"
    monkeypatch.setattr(network, "augment", lambda batch: small(batch.repeat(9, 1, 1, 1)))
    with pytest.raises(TrainingFailed, match="side"):
        get("resnet18", epochs=1, batch=8).train(TASK, Y, np.random.default_rng(0))


def test_the_same_seed_gives_the_same_network():
    trainer = get("resnet18", epochs=2, batch=32)
    one, two = (trainer.train(TASK, Y, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(one.test_probabilities, two.test_probabilities)
