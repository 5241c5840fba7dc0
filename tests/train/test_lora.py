"""Encoders are fine-tuned: the head first, then adapters of low rank."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from loop import encoders
from loop.errors import ConfigError, DataError, TrainingFailed
from loop.train import Task, checkpoint, get, lora
from loop.train.descent import Descent
from loop.train.kept import About, KeptModel, read_model
from loop.train.linear import Linear

pytest.importorskip("peft", reason="pip install 'coreloop[lora]'")


def stripes(n, seed):
    """Two classes: horizontal and vertical stripes with noise; (n, 32, 32, 3) uint8."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    base = np.tile(np.arange(32) // 4 % 2 * 120, (32, 1))
    images = np.stack([base if label else base.T for label in y])[..., None]
    return (images + rng.integers(0, 130, (n, 32, 32, 3))).astype(np.uint8), y.astype(np.int64)


IMAGES, Y = stripes(48, 0)
TEST, TEST_Y = stripes(40, 1)
NOTHING = np.zeros((48, 1), np.float32)
TASK = Task(2, NOTHING, NOTHING[:40], TEST_Y, lambda: IMAGES, lambda: TEST)


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """Spec of a small model of timm; its weights are drawn, and kept in a file."""
    import timm
    import torch

    folder = tmp_path_factory.mktemp("weights")

    def of(name, options="?size=32"):
        file = folder / f"{name}.pth"
        if not file.exists():
            torch.manual_seed(0)
            torch.save(timm.create_model(name).state_dict(), file)
        return f"timm:{name}:{file}{options}"

    return of


def test_the_head_is_the_linear_probe_at_first(spec):
    """Adapters begin as nothing, and with a rate of next to nothing it stays so."""
    model = spec("test_vit")
    trainer = get(f"lora:{model}", epochs=1, learning_rate=1e-12)
    trained = trainer.train(TASK, Y, np.random.default_rng(0))
    encoder = encoders.get(model)
    embeddings, of_test = encoder.forward(IMAGES, "cpu"), encoder.forward(TEST, "cpu")
    bare = Task(2, embeddings, of_test, TEST_Y)
    seed = int(np.random.default_rng(0).integers(2**31))
    linear = Linear().train(bare, Y, np.random.default_rng(seed))
    np.testing.assert_allclose(
        trained.test_probabilities, linear.test_probabilities, atol=2e-3, rtol=0
    )


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_adapters_learn_what_the_head_alone_does_not(spec, name):
    """The same flips and shifts of the same images, seen by a network that learns and one that
    stays."""
    trainer = get(f"lora:{spec(name)}", epochs=12, batch=8, learning_rate=2e-3)
    own = np.arange(len(Y)), Y
    learned, stayed = (
        each.dynamics(TASK, Y, np.random.default_rng(0)).probabilities[own]
        for each in (trainer, replace(trainer, learning_rate=1e-12))
    )
    assert learned.mean() > stayed.mean() + 0.02


def test_only_the_last_layers_move_and_by_a_low_rank(spec):
    import torch

    model = spec("test_resnet")
    trainer = get(f"lora:{model}", rank=3, epochs=2, batch=16, learning_rate=0.01)
    weights = trainer.train(TASK, Y, np.random.default_rng(0)).model.weights
    file = model.partition("?")[0].rpartition(":")[2]
    start = {key: each.numpy() for key, each in torch.load(file, weights_only=True).items()}
    moved = [key for key in start if key in weights and start[key].shape == weights[key].shape]
    moved = [key for key in moved if not np.array_equal(start[key], weights[key])]
    convolutions = [key for key in moved if weights[key].ndim == 4]
    assert moved == convolutions  # no statistics of batch norm among them
    assert moved[0].startswith("layer3")  # the first half of the layers is as it was
    for key in moved:
        change = (weights[key] - start[key]).reshape(len(weights[key]), -1)
        assert np.linalg.matrix_rank(change, tol=1e-4) <= 3 * weights[key].shape[2]


def test_the_same_seed_gives_the_same_network(spec):
    trainer = get(f"lora:{spec('test_vit')}", epochs=2)
    first, again, other = (
        trainer.train(TASK, Y, np.random.default_rng(seed)).test_probabilities for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


class Killed(BaseException):
    """As far as the run can tell, the power went."""


def test_a_killed_run_goes_on_and_ends_the_same(spec, tmp_path, monkeypatch):
    trainer = get(f"lora:{spec('test_resnet')}", epochs=4)
    whole = trainer.train(TASK, Y, np.random.default_rng(4))
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
    again = trainer.train(task, Y, np.random.default_rng(4))
    assert epochs[3:] == [2, 3]
    np.testing.assert_array_equal(again.test_probabilities, whole.test_probabilities)


def test_the_model_needs_neither_peft_nor_the_weights(spec, tmp_path, monkeypatch):
    import torch

    file = tmp_path / "copy.pth"
    model = spec("test_efficientnet")
    torch.save(torch.load(model.partition("?")[0].rpartition(":")[2], weights_only=True), file)
    moved = f"timm:test_efficientnet:{file}?size=32&mean=0.4&std=0.3&pad=same"
    trained = get(f"lora:{moved}", epochs=1).train(TASK, Y, np.random.default_rng(0))
    about = About(("a", "b"), 1.0, "", "", "lora", 1, 48)
    kept = tmp_path / "model.safetensors"
    kept.write_bytes(KeptModel(trained.model, about).to_bytes())
    file.unlink()
    monkeypatch.setitem(sys.modules, "peft", None)
    classifier = read_model(kept).classifier
    assert classifier == replace(trained.model, weights=classifier.weights)
    assert (classifier.mean, classifier.side) == ((0.4, 0.4, 0.4), 32)
    np.testing.assert_array_equal(classifier.probabilities(TEST), trained.test_probabilities)
    assert "pad=same" in classifier.model


def test_one_class_one_label_and_a_class_without_any(spec):
    trainer = get(f"lora:{spec('test_vit')}", epochs=1)
    one = np.full_like(Y, -1)
    one[3] = Y[3]
    for labels in (one, np.where(Y == 1, Y, -1)):
        trained = trainer.train(TASK, labels, np.random.default_rng(0))
        assert np.isfinite(trained.test_probabilities).all()
        known = labels[labels >= 0][0]
        assert (trained.test_probabilities.argmax(axis=1) == known).all()
    three = trainer.train(replace(TASK, n_classes=3, _made={}), Y, np.random.default_rng(0))
    assert three.test_probabilities.shape == (40, 3)
    assert (three.test_probabilities.argmax(axis=1) != 2).all()
    with pytest.raises(DataError, match="no labelled image"):
        trainer.train(TASK, np.full_like(Y, -1), np.random.default_rng(0))


def test_a_loss_that_is_no_number_stops_the_run(spec):
    trainer = get(f"lora:{spec('test_resnet')}", epochs=6, learning_rate=1e30)
    with pytest.raises(TrainingFailed, match="lower 'learning_rate'"):
        trainer.train(TASK, Y, np.random.default_rng(0))


def test_layers_that_adapters_fit(spec):
    import torch

    from loop.train.backbone import build

    vit = lora.adaptable(build("timm:test_vit", 2), 8)
    assert vit[0] == "blocks.3.attn.qkv"  # of six blocks
    assert vit[-1] == "blocks.5.mlp.fc2"
    mobile = lora.adaptable(build("timm:mobilenetv1_100", 2), 8)
    assert {name.rpartition(".")[2] for name in mobile} == {"conv_pw"}
    assert len(mobile) == 7  # of 13
    with pytest.raises(ConfigError, match=r"no layer that adapters of rank 4096 fit.*'rank'"):
        get(f"lora:{spec('test_vit')}", rank=4096).train(TASK, Y, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="no layer"):
        lora.adaptable(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()), 1)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("lora", {}, "lora:timm:MODEL"),
        ("lora:timm", {}, "lora:timm:MODEL"),
        ("lora:tim:resnet18", {}, "unknown encoder 'tim'"),
        ("lora:pixels:8", {}, "cannot be fine-tuned"),
        ("lora:open_clip:ViT-B-32:openai", {}, "clip_224"),
        ("lora:timm:test_vit+timm:test_resnet", {}, "cannot be fine-tuned"),
        ("lora:timm:test_vit", {"rank": 0}, "rank must be at least 1"),
        ("lora:timm:test_vit", {"rank": "8"}, "wrong type"),
        ("lora:timm:test_vit", {"epochs": -1}, "epochs must be above 0"),
        ("lora:timm:test_vit", {"alpha": 3}, "no parameter 'alpha'"),
    ],
)
def test_what_cannot_be_asked_for(name, params, message):
    with pytest.raises(ConfigError, match=message):
        get(name, **params)


def test_unknown_models_and_missing_weights_are_named(spec):
    with pytest.raises(ConfigError, match="no model 'test_vitt'"):
        get("lora:timm:test_vitt").train(TASK, Y, np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"no usable weights.*nowhere.pth"):
        get("lora:timm:test_vit:/nowhere.pth").train(TASK, Y, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="does not end in one linear layer"):
        get(f"lora:{spec('deit_tiny_distilled_patch16_224', '')}").train(
            TASK, Y, np.random.default_rng(0)
        )


def test_without_peft_the_package_is_named(monkeypatch):
    monkeypatch.setattr(lora, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'coreloop\[lora\]'"):
        get("lora:timm:test_vit")


def test_real_weights_are_fine_tuned(shared):
    """Sixty labelled photographs at 64 pixels: what is learned holds for others."""
    from connectors.parquet import Parquet
    from loop.images import squares

    weights = shared / "weights" / "mobilenetv1_100.imagenet.safetensors"
    options = "?size=64&mean=0.5&std=0.5&classes=1001&pad=same"
    source = Parquet(shared / "data" / "trashnet.parquet", labelled=True)
    labels = {
        uri: int(name) if str(name).isdigit() else name
        for uri, name in source.labels("label").items()
    }
    names = sorted(set(labels.values()), key=str)
    uris = np.random.default_rng(0).permutation(sorted(labels))[:160]
    y = np.array([names.index(labels[uri]) for uri in uris])
    images = squares(source.read, [str(uri) for uri in uris], 64)
    bare = np.zeros((100, 1), np.float32)
    task = Task(len(names), bare, bare[:60], y[100:], lambda: images[:100], lambda: images[100:])
    trainer = get(f"lora:timm:mobilenetv1_100:{weights}{options}", epochs=2)
    assert trainer.image_side == 64
    trained = trainer.train(task, y[:100], np.random.default_rng(0))
    assert trained.metrics.accuracy > 0.45
