"""Checkpoints as training programs leave them: the same weights, however they were stored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from loop import encoders
from loop.errors import ConfigError

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8))


def wrapped(state):
    """Name -> what a file holds, as programs store one state dict."""

    def named(prefix):
        return {f"{prefix}{name}": tensor for name, tensor in state.items()}

    other = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    return {
        "plain": state,
        "data parallel": named("module."),
        "reference": {"model": state, "epoch": 3, "args": {"lr": 0.1}},
        "tutorial": {"model_state_dict": state, "optimizer_state_dict": {}, "loss": 0.3},
        "lightning": {
            "state_dict": {**named("model."), "criterion.weight": torch.ones(3)},
            "pytorch-lightning_version": "2.5",
        },
        "example": {"state_dict": named("module."), "arch": "any"},
        "compiled": named("_orig_mod."),
        "compiled and parallel": named("_orig_mod.module."),
        "parallel lightning": {"state_dict": named("module.model.")},
        "lightning strategy": {"state_dict": named("_forward_module.model.")},
        "contrastive": {
            "state_dict": {**named("module.encoder_q."), "module.queue": torch.ones(2)}
        },
        "below two keys": {"model": {"state_dict": state}},
        "averaged": {"state_dict": other, "state_dict_ema": state},
    }


def embedding(name, file):
    encoder = encoders.get(f"{name}:{file}")
    return encoder.forward(np.stack([encoder.prepare(PICTURE)]), "cpu")


@pytest.fixture(scope="module")
def models():
    import timm

    torch.manual_seed(0)
    return {
        "torchvision:resnet18": torchvision.models.resnet18(weights=None).state_dict(),
        "timm:resnet10t": timm.create_model("resnet10t", num_classes=3).state_dict(),
    }


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet10t"])
def test_the_same_weights_however_they_were_stored(name, models, tmp_path):
    stored = wrapped(models[name])
    torch.save(stored["plain"], tmp_path / "plain.pth")
    wanted = embedding(name, tmp_path / "plain.pth")
    assert np.isfinite(wanted).all()
    assert wanted.std() > 0
    for number, held in enumerate(stored.values()):
        torch.save(held, tmp_path / f"{number}.pth.tar")
        np.testing.assert_array_equal(embedding(name, tmp_path / f"{number}.pth.tar"), wanted)


def test_half_precision_is_taken_as_it_is(models, tmp_path):
    state = models["torchvision:resnet18"]
    torch.save(state, tmp_path / "whole.pth")
    torch.save({name: tensor.half() for name, tensor in state.items()}, tmp_path / "half.pth")
    whole, half = (
        embedding("torchvision:resnet18", tmp_path / name) for name in ("whole.pth", "half.pth")
    )
    np.testing.assert_allclose(half, whole, rtol=0.02, atol=0.02)


def grey(state):
    first = next(name for name in state if state[name].ndim == 4)
    return {**state, first: state[first][:, :1]}


def broken(state):
    name = next(name for name in state if state[name].ndim == 4 and "layer1" in name)
    damaged = state[name].clone()
    damaged[0, 0, 0, 0] = float("nan")
    return {**state, name: damaged}


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet10t"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (grey, r"of another shape: conv1\S+ \(\d+, 1, \d, \d\), not \(\d+, 3, \d, \d\)"),
        (broken, r"the weights themselves are not finite: layer1\.0\.conv1\.weight"),
        (lambda state: {"epoch": 3, "loss": 0.1}, "holds no weights, but epoch, loss"),
        (
            lambda state: {n: t for n, t in state.items() if not n.startswith("layer2")},
            r"missing: layer2\S+, layer2\S+, layer2\S+ and \d+ more",
        ),
        (
            lambda state: {**state, "layer9.weight": torch.ones(2)},
            r"unknown to the model: layer9\.weight",
        ),
    ],
)
def test_what_does_not_fit_is_named(name, change, words, models, tmp_path):
    torch.save(change(models[name]), tmp_path / "weights.pth")
    with pytest.raises(ConfigError, match=words):
        encoders.get(f"{name}:{tmp_path / 'weights.pth'}")


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet10t"])
def test_code_of_a_file_is_never_run(name, models, tmp_path):
    torch.save(torchvision.models.resnet18(weights=None), tmp_path / "module.pth")
    with pytest.raises(ConfigError, match=r"torch\.save\(model\.state_dict\(\), FILE\)"):
        encoders.get(f"{name}:{tmp_path / 'module.pth'}")


def test_the_classifier_may_have_any_number_of_classes(tmp_path):
    state = torchvision.models.resnet18(weights=None, num_classes=7).state_dict()
    torch.save(state, tmp_path / "seven.pth")
    assert embedding("torchvision:resnet18", tmp_path / "seven.pth").shape == (1, 512)


def test_embeddings_kept_by_earlier_versions_are_found(tmp_path):
    """The digest names the weights as timm's own loader leaves them, the classifier's too."""
    import timm

    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=1000)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    own = timm.create_model("resnet10t", checkpoint_path=str(tmp_path / "weights.pth"))
    encoder = encoders.get(f"timm:resnet10t:{tmp_path / 'weights.pth'}")
    names = {name.removeprefix("body.") for name in encoder.model.state_dict()}
    assert names == set(own.state_dict())


def test_a_classifier_of_another_class_count_is_left_out(tmp_path):
    import timm

    torch.manual_seed(0)
    seven = timm.create_model("resnet10t", num_classes=7).state_dict()
    torch.save(seven, tmp_path / "seven.pth")
    first, again = (encoders.get(f"timm:resnet10t:{tmp_path / 'seven.pth'}") for _ in range(2))
    assert first.digest == again.digest
    assert embedding("timm:resnet10t", tmp_path / "seven.pth").shape == (1, 512)


@pytest.mark.parametrize("name", ["torch.safetensors", "safe.pth", "SAFE.SAFETENSORS"])
def test_a_file_is_known_by_its_bytes(name, models, tmp_path):
    from safetensors.torch import save_file

    state = models["timm:resnet10t"]
    torch.save(state, tmp_path / "plain.pth")
    (torch.save if name.startswith("torch") else save_file)(dict(state), tmp_path / name)
    wanted = embedding("timm:resnet10t", tmp_path / "plain.pth")
    np.testing.assert_array_equal(embedding("timm:resnet10t", tmp_path / name), wanted)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:a\n", "git lfs pull fetches"),
        (b"<!DOCTYPE html>" + 900 * b"<p>\xc3\xa9", "text that begins '<!DOCTYPE html>.*fetch the"),
        (b"", "it is empty"),
        (bytes(range(128, 256)) * 9, "its bytes are not what torch.save writes"),
        (b"\x80\x03}0}.", "not a file of weights"),  # an IndexError of torch's
        (b"PK\3\4" + 400 * b"\0", "not a file of weights"),
        (b"\xff\xff\0\0\0\0\0\0{" + 400 * b"x", "not a whole .safetensors file"),
    ],
)
def test_what_is_no_checkpoint_is_called_what_it_is(content, words, models, tmp_path):
    """It was said to hold code, with torch's advice to load that after all."""
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(ConfigError, match=words) as refused:
        encoders.get(f"timm:resnet10t:{tmp_path / 'weights.pth'}")
    assert "holds code" not in str(refused.value)
    assert "weights_only=False" not in str(refused.value)


def test_objects_beside_the_weights_are_named(models, tmp_path):
    import argparse

    held = {"model": models["timm:resnet10t"], "args": argparse.Namespace(lr=1)}
    torch.save(held, tmp_path / "weights.pth")
    with pytest.raises(ConfigError, match=r"objects beside weights \(argparse\.Namespace\)"):
        encoders.get(f"timm:resnet10t:{tmp_path / 'weights.pth'}")


def test_quantized_weights_are_no_weights(models, tmp_path):
    """They were cast, and every embedding was noise."""
    state = {name: (10 * each).to(torch.int8) for name, each in models["timm:resnet10t"].items()}
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(ConfigError, match=r"no fractions, as quantized weights are: .*int8"):
        encoders.get(f"timm:resnet10t:{tmp_path / 'weights.pth'}")
