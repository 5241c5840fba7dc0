"""Networks learn, refuse nonsense, and load weights only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loop.errors import ConfigError, DataError, TrainingFailed
from loop.train import Task, checkpoint, get
from loop.train.backbone import augment, build, normalise, predict, views
from loop.train.descent import Descent, Recipe, batches


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
TASK = Task(2, FLAT, TEST.reshape(64, -1).astype(np.float32), TEST_Y, lambda: IMAGES, lambda: TEST)


@pytest.mark.slow
def test_learns_and_records():
    trainer = get("resnet18", preset="paper", epochs=4, batch=32, learning_rate=0.01)
    trained = trainer.train(TASK, Y, np.random.default_rng(0), pool_probabilities=True)
    assert trained.metrics.accuracy > 0.9
    assert trained.pool_probabilities.shape == (96, 2)
    quick = get("timm:test_resnet", epochs=2, batch=32)
    dynamics = quick.dynamics(TASK, Y, np.random.default_rng(0))
    assert dynamics.epochs == 2


def test_nan_loss_stops_the_run():
    with pytest.raises(TrainingFailed, match="learning_rate"):
        get("resnet18", epochs=2, batch=32, learning_rate=1e12).train(
            TASK, Y, np.random.default_rng(0)
        )


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


@settings(deadline=None)  # the first draw loads torch
@given(
    n=st.integers(1, 400),
    batch=st.integers(1, 150),
    replicas=st.integers(1, 4),
    optimiser=st.sampled_from(["sgd", "muon", "adamw"]),
)
def test_batches_hold_each_image_once(n, batch, replicas, optimiser):
    import torch

    batch = max(batch, 2 * replicas)
    parts = batches(torch.arange(n), Recipe(1, batch, 0.1, 1, 0, 0, 0, optimiser), replicas)
    sizes = [len(part) for part in parts]
    if n < 2 * replicas:  # batch norm needs two images in each replica: they come more than once
        assert sizes[0] >= 2 * replicas
        assert set(parts[0].tolist()) == set(range(n))
        return
    assert torch.equal(torch.cat(parts), torch.arange(n))
    assert min(sizes) >= 2 * replicas
    assert max(sizes) < batch + 2 * replicas
    if optimiser != "sgd":
        assert max(sizes) - min(sizes) <= 1
    else:
        assert all(size == batch for size in sizes[:-1])


def test_unknown_models():
    with pytest.raises(ConfigError, match="timm:"):
        build("resnet19", 2)
    with pytest.raises(ConfigError):
        get("resnet18", preset="slow")


def test_six_views():
    import torch

    batch = normalise(torch.from_numpy(IMAGES[:4]).permute(0, 3, 1, 2))
    seen = list(views(batch))
    assert len(seen) == 6
    assert torch.equal(seen[0], batch)
    assert torch.equal(seen[2][..., :-1, :-1], batch[..., 1:, 1:])
    assert torch.equal(seen[4][..., 1:, 1:], batch[..., :-1, :-1])
    for view, mirrored in zip(seen[::2], seen[1::2], strict=True):
        assert torch.equal(mirrored, view.flip(3))
    torch.manual_seed(0)
    net = build("timm:test_resnet", 2).eval()
    with torch.no_grad():
        mean = sum(torch.softmax(net(view), 1) for view in seen) / 6
    assert np.allclose(predict(net, IMAGES[:4], "cpu", six_views=True), mean, atol=1e-6)


def test_augmentation_keeps_shape_and_values():
    import torch

    batch = normalise(torch.from_numpy(IMAGES[:4]).permute(0, 3, 1, 2))
    augmented = augment(batch)
    assert augmented.shape == batch.shape
    for after, before in zip(augmented, batch, strict=True):
        assert set(after.unique().tolist()) <= set(before.unique().tolist())


def test_images_are_needed():
    bare = Task(2, FLAT, TASK.test, TEST_Y)
    with pytest.raises(DataError, match="images"):
        get("resnet18").train(bare, Y, np.random.default_rng(0))


def test_out_of_memory_halves_the_batch_and_says_so(monkeypatch):
    import torch

    from loop.train import descent

    sizes, real = [], descent.augment

    def small(batch, shift):
        sizes.append(len(batch))
        if len(batch) > 8:
            raise torch.OutOfMemoryError("out of memory")
        return real(batch, shift)

    monkeypatch.setattr(descent, "augment", small)
    trained = get("timm:test_resnet", epochs=1, batch=32).train(TASK, Y, np.random.default_rng(0))
    assert sizes[:3] == [32, 16, 8]
    assert trained.notes["batch"] == 8
    assert trained.notes["out_of_memory"] == "batch halved 2 times"
    monkeypatch.setattr(descent, "augment", lambda batch, shift: small(batch.repeat(9, 1, 1, 1), 4))
    with pytest.raises(TrainingFailed, match="side"):
        get("timm:test_resnet", epochs=1, batch=8).train(TASK, Y, np.random.default_rng(0))


def test_the_same_seed_gives_the_same_network():
    trainer = get("timm:test_resnet", epochs=2, batch=32)
    first, second = (trainer.train(TASK, Y, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first.test_probabilities, second.test_probabilities)


def test_every_image_is_learned_from_in_every_epoch():
    labels = Y.copy()
    labels[65:] = -1  # two batches of 32 and one image
    recorded = get("timm:test_resnet", epochs=1, batch=32).dynamics(
        TASK, labels, np.random.default_rng(0)
    )
    assert not np.isclose(recorded.probabilities, 0.5).any()


class Killed(BaseException):
    """As far as the run can tell, the power went."""


@pytest.mark.parametrize("damage", [False, True])
def test_a_killed_run_goes_on_and_ends_the_same(tmp_path, monkeypatch, damage):
    trainer = get("timm:test_resnet", epochs=4, batch=32)
    whole = trainer.train(TASK, Y, np.random.default_rng(4))
    longer = get("timm:test_resnet", epochs=11, batch=32)  # a window of scores is 10
    recorded = longer.dynamics(TASK, Y, np.random.default_rng(5))
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    task = replace(TASK, unfinished=tmp_path / "unfinished")
    epochs, real = [], Descent._epoch

    def dying(self, *args):
        epochs.append(args[-1])
        if len(epochs) == 3:
            raise Killed
        return real(self, *args)

    monkeypatch.setattr(Descent, "_epoch", dying)
    with pytest.raises(Killed):
        trainer.train(task, Y, np.random.default_rng(4))
    (file,) = task.unfinished.iterdir()
    if damage:
        file.write_bytes(file.read_bytes()[:5000])
    again = trainer.train(task, Y, np.random.default_rng(4))
    assert epochs[3:] == ([0, 1, 2, 3] if damage else [2, 3])
    np.testing.assert_array_equal(again.test_probabilities, whole.test_probabilities)
    assert not list(task.unfinished.iterdir())

    epochs.clear()
    with pytest.raises(Killed):
        longer.dynamics(task, Y, np.random.default_rng(5))
    resumed = longer.dynamics(task, Y, np.random.default_rng(5))
    assert epochs[3:] == list(range(2, 11))
    for name in ("aum", "forgetting", "el2n", "dyn_unc", "dual", "tdds", "probabilities"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(recorded, name))


def test_another_run_takes_nothing_from_an_unfinished_one(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    task = replace(TASK, unfinished=tmp_path)
    trainer = get("timm:test_resnet", epochs=2, batch=32)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoint, "forget", lambda self: None)
        trainer.train(task, Y, np.random.default_rng(4))
    (left,) = tmp_path.iterdir()
    for other, labels, seed in (
        (trainer, Y, 5),
        (trainer, 1 - Y, 4),
        (get("timm:test_resnet", epochs=2, batch=32, weight_decay=0.0), Y, 4),
    ):
        trained = other.train(task, labels, np.random.default_rng(seed))
        alone = other.train(TASK, labels, np.random.default_rng(seed))
        np.testing.assert_array_equal(trained.test_probabilities, alone.test_probabilities)
    assert list(tmp_path.iterdir()) == [left]


@pytest.mark.slow
def test_two_devices_share_each_batch():
    pytest.importorskip("lightning_fabric", reason="pip install 'coreloop[fabric]'")
    trainer = get("timm:test_resnet", epochs=8, batch=16, learning_rate=0.05, devices=2)
    trained = trainer.train(TASK, Y, np.random.default_rng(0))
    assert trained.notes["devices"] == 2
    assert trained.metrics.accuracy > 0.9
    dynamics = trainer.dynamics(TASK, Y, np.random.default_rng(0))
    assert dynamics.epochs == 8
    assert np.isfinite(dynamics.aum).all()
    assert dynamics.correctness.max() > 4  # every image is looked at in every epoch, by one of two
    with pytest.raises(TrainingFailed, match="lower 'learning_rate'"):
        replace(trainer, learning_rate=1e12, epochs=2).train(TASK, Y, np.random.default_rng(0))


def test_a_finished_network_is_a_start_for_other_classes(tmp_path):
    import torch

    file = tmp_path / "start.pt"
    torch.save(build("timm:resnet10t", 7).state_dict(), file)
    net = build("timm:resnet10t", 2, str(file))
    stored = torch.load(file, weights_only=True)
    assert torch.equal(net.conv1[0].weight, stored["conv1.0.weight"])
    assert net.fc.weight.shape[0] == 2
    with pytest.raises(DataError, match="of another model"):
        build("torchvision:mobilenet_v3_small", 2, str(file))


def test_real_weights_are_a_start(shared):
    file = shared / "weights" / "mobilenetv1_100.imagenet.safetensors"
    net = build("timm:mobilenetv1_100", 6, str(file))
    from safetensors.torch import load_file

    first = load_file(file)["conv_stem.weight"]
    assert np.array_equal(net.conv_stem.weight.detach().numpy(), first.numpy())
    assert net.classifier.out_features == 6


def test_any_timm_or_torchvision_model_is_a_trainer():
    for name in ("timm:resnet10t", "torchvision:mobilenet_v3_small"):
        trainer = get(name, epochs=1, batch=48, side=16)
        assert trainer.model == name
        assert trainer.train(TASK, Y, np.random.default_rng(0)).notes["epochs"] == 1
    with pytest.raises(ConfigError, match="resnet9999"):
        get("timm:resnet9999").train(TASK, Y, np.random.default_rng(0))


def test_a_single_label_can_be_learned_from():
    """An arm of a small round may have one, and batch norm wants two."""
    labels = np.full_like(Y, -1)
    labels[0] = Y[0]
    trained = get("timm:test_resnet", steps=2).train(TASK, labels, np.random.default_rng(0))
    assert np.isfinite(trained.test_probabilities).all()


def test_dynamics_are_of_the_presets_epochs_where_steps_make_fewer():
    trainer = get("timm:test_resnet", steps=3)
    dynamics = trainer.dynamics(TASK, Y, np.random.default_rng(0))
    assert dynamics.epochs >= 17
    assert len(np.unique(dynamics.dual)) > 50


def test_prediction_in_halves_where_memory_is_short(monkeypatch):
    import torch

    net = build("timm:test_resnet", 2).eval()
    whole = predict(net, TEST, "cpu", True)
    forward, sizes = net.forward, []

    def small(x):
        sizes.append(len(x))
        if len(x) > 20:
            raise torch.OutOfMemoryError
        return forward(x)

    monkeypatch.setattr(net, "forward", small)
    np.testing.assert_allclose(predict(net, TEST, "cpu", True), whole, atol=1e-6)
    assert sizes[0] == 64
    assert max(sizes[-6:]) <= 16
    monkeypatch.setattr(net, "forward", lambda x: small(torch.zeros(99)))
    with pytest.raises(torch.OutOfMemoryError):
        predict(net, TEST, "cpu")


@pytest.mark.parametrize("model", ["timm:test_vit", "timm:test_efficientnet", "timm:regnetx_002"])
def test_the_last_layer_is_learned_anew_wherever_it_stands(model, tmp_path):
    import torch

    torch.save(build(model, 7).state_dict(), tmp_path / "seven.pt")
    net = build(model, 4, str(tmp_path / "seven.pt")).eval()
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 4)
    torch.save(build("timm:test_resnet", 4).state_dict(), tmp_path / "other.pt")
    with pytest.raises(DataError, match="of another model"):
        build(model, 4, str(tmp_path / "other.pt"))
