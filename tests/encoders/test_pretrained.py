"""torchvision, open_clip and bring-your-own encoders: tiny models with random weights, the exact
preprocessing of each library, errors that name the missing file."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from loop import encoders
from loop.encoders import shards, zero_shot
from loop.encoders.open_clip import TEMPLATES
from loop.errors import ConfigError, DataError

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def picture(seed, size):
    """Smooth, so that two libraries' resizing may be compared closely."""
    values = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)


PICTURES = [picture(i, (40 + 7 * i, 60)) for i in range(5)]
URIS = [f"{i}.png" for i in range(5)]
KEYS = [f"{i:032x}" for i in range(5)]


def read(uri):
    out = io.BytesIO()
    PICTURES[int(uri[0])].save(out, format="PNG")
    return out.getvalue()


def run(encoder, folder):
    shards.encode(encoder, read, URIS, KEYS, folder / "e.npy")
    return np.load(folder / "e.npy")


@pytest.fixture
def clip(tmp_path):
    """(model, transform, spec) of a tiny CLIP that stands in a file."""
    import open_clip
    import torch

    (tmp_path / "tiny-test.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(tmp_path / "tiny-test.json")
    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms("tiny-test")
    torch.save(model.state_dict(), tmp_path / "tiny.pt")
    return model.eval(), transform, f"open_clip:tiny-test:{tmp_path / 'tiny.pt'}"


def test_open_clip_embeds_as_the_library_does(clip, tmp_path):
    import torch

    model, transform, spec = clip
    encoder = encoders.get(spec)
    embeddings = run(encoder, tmp_path)
    with torch.no_grad():
        expected = model.encode_image(torch.stack([transform(p) for p in PICTURES])).numpy()
    assert embeddings.shape == (5, encoder.dim) == (5, 16)
    np.testing.assert_allclose(embeddings, expected, atol=1e-4)
    assert encoders.get(spec).digest == encoder.digest


def test_zero_shot(clip, tmp_path):
    import open_clip
    import torch

    model, _, spec = clip
    names = ["daisy", "red_rose", "tulip"]
    encoder = encoders.get(spec)
    probabilities = zero_shot.probabilities(encoder, run(encoder, tmp_path), names)
    assert probabilities.shape == (5, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    reversed_classes = zero_shot.probabilities(encoder, run(encoder, tmp_path), names[::-1])
    np.testing.assert_allclose(probabilities, reversed_classes[:, ::-1], rtol=1e-5)

    # An image whose embedding is a class's own text embedding belongs to that class.
    tokens = open_clip.get_tokenizer("tiny-test")([t.format("red rose") for t in TEMPLATES])
    with torch.no_grad():
        rose = model.encode_text(tokens, normalize=True).mean(0, keepdim=True).numpy()
    assert zero_shot.probabilities(encoder, 5 * rose, names).argmax() == 1


def test_zero_shot_finds_the_clip_columns_of_joined_encoders(clip, tmp_path):
    _, _, spec = clip
    joined, alone = encoders.get(f"pixels:4+{spec}"), encoders.get(spec)
    x = run(joined, tmp_path)
    assert x.shape == (5, 16 + 16)
    np.testing.assert_allclose(
        zero_shot.probabilities(joined, x, ["a", "b"]),
        zero_shot.probabilities(alone, x[:, 16:], ["a", "b"]),
    )


def test_zero_shot_errors(clip, tmp_path):
    _, _, spec = clip
    encoder = encoders.get(spec)
    with pytest.raises(DataError, match="class names"):
        zero_shot.probabilities(encoder, np.ones((2, 16), np.float32), [])
    with pytest.raises(DataError, match=r"\(2, 7\)"):
        zero_shot.probabilities(encoder, np.ones((2, 7), np.float32), ["a"])
    with pytest.raises(ConfigError, match="CLIP encoder"):
        zero_shot.probabilities(encoders.get("pixels"), np.ones((2, 256), np.float32), ["a"])


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_torchvision_embeds_as_the_library_does(name, tmp_path):
    import torch
    from torchvision import models

    torch.manual_seed(0)
    model = models.get_model(name, weights=None, num_classes=7).eval()
    torch.save(model.state_dict(), tmp_path / "tiny.pth")
    encoder = encoders.get(f"torchvision:{name}:{tmp_path / 'tiny.pth'}")
    embeddings = run(encoder, tmp_path)
    transform = models.get_model_weights(name).DEFAULT.transforms()
    last = [m for m in model.modules() if isinstance(m, torch.nn.Linear)][-1]
    seen = []
    last.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        model(torch.stack([transform(p) for p in PICTURES]))
    np.testing.assert_allclose(embeddings, seen[0].numpy(), atol=2e-3)


def test_timm_crops_as_the_model_was_trained(tmp_path):
    import timm
    import torch

    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=3).eval()
    torch.save(model.state_dict(), tmp_path / "tiny.pth")
    encoder = encoders.get(f"timm:resnet10t:{tmp_path / 'tiny.pth'}?classes=3")
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    x = torch.stack([transform(p) for p in PICTURES])
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(x), pre_logits=True).numpy()
    np.testing.assert_allclose(run(encoder, tmp_path), expected, atol=2e-3)


def save_own(folder, names, values):
    np.save(folder / "own.npy", values)
    (folder / "own.keys").write_text("\n".join(names) + "\n")
    return f"file:{folder / 'own.npy'}"


def test_own_embeddings_are_found_by_path_or_key(tmp_path):
    values = np.random.default_rng(0).standard_normal((6, 3))
    names = ["not in the pool", URIS[4], KEYS[3], URIS[2], URIS[1], KEYS[0]]
    encoder = encoders.get(save_own(tmp_path, names, values))

    def never(uri):
        raise AssertionError(f"{uri} was read")

    shards.encode(encoder, never, URIS, KEYS, tmp_path / "e.npy")
    embeddings = np.load(tmp_path / "e.npy")
    np.testing.assert_array_equal(embeddings, values[:0:-1].astype(np.float32))
    shards.forget(tmp_path / "e.npy")
    joined = run(encoders.get(f"file:{tmp_path / 'own.npy'}+pixels:4"), tmp_path)
    np.testing.assert_array_equal(joined[:, :3], embeddings)


def test_own_embeddings_that_change_are_others(tmp_path):
    values = np.arange(10.0).reshape(5, 2)
    first = encoders.get(save_own(tmp_path, URIS, values)).digest
    assert encoders.get(save_own(tmp_path, URIS, values + 1)).digest != first
    assert encoders.get(save_own(tmp_path, KEYS, values)).digest != first


def test_own_embeddings_errors(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.npy"):
        encoders.get(f"file:{tmp_path / 'none.npy'}")
    with pytest.raises(ConfigError, match="one name per row is wanted"):
        encoders.get(save_own(tmp_path, URIS[:4], np.eye(5, 2)))
    with pytest.raises(ConfigError, match=r"\(N, D\)"):
        encoders.get(save_own(tmp_path, URIS, np.zeros(5)))
    with pytest.raises(ConfigError, match=r"np\.save"):
        encoders.get(save_own(tmp_path, URIS, np.array([[{}]] * 5, dtype=object)))
    with pytest.raises(DataError, match=r"4\.png.*own\.keys"):
        run(encoders.get(save_own(tmp_path, URIS[:4], np.eye(4, 2))), tmp_path)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("torchvision:resnet81", "did you mean 'resnet18'"),
        ("torchvision:resnet18:/none.pth", r"put them at /none\.pth"),
        ("torchvision:resnet18:IMAGENET1K_V9", "did you mean 'IMAGENET1K_V"),
        ("open_clip:ViT-B-23:openai", "did you mean 'ViT-B-"),
        ("open_clip:ViT-B-32", "tags: openai"),
        ("open_clip:ViT-B-32:/none.pt", r"put them at /none\.pt"),
        ("timm:resnet10t?size=big", "size=big"),
        ("timm:resnet10t?mean=1,2", "mean=1,2"),
        ("timm:resnet10t?fit=round", "fit=round"),
        ("file:", "needs an array"),
    ],
)
def test_bad_specs(spec, words):
    with pytest.raises(ConfigError, match=words):
        encoders.get(spec)


def test_weights_that_cannot_be_fetched_name_their_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(ConfigError, match=rf"{tmp_path}/hub/checkpoints/resnet18-.*\.pth"):
        encoders.get("torchvision:resnet18")


@pytest.mark.parametrize("kind", ["torchvision:resnet18", "open_clip:RN50", "timm:resnet10t"])
def test_pickled_code_is_never_run(kind, tmp_path):
    import pickle

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ConfigError):
        encoders.get(f"{kind}:{tmp_path / 'evil.pth'}")
    assert not (tmp_path / "sprung").exists()


def test_a_clip_without_its_weights_and_a_network_says_so_at_once(monkeypatch, caplog, tmp_path):
    def nobody(*_, **__):
        raise OSError("no such name")

    monkeypatch.setattr("socket.getaddrinfo", nobody)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="there is no network to fetch them from") as refused:
        encoders.get("open_clip:ViT-B-32:laion2b_s34b_b79k")
    assert "did you mean" not in str(refused.value)
    assert "Retry" not in caplog.text
