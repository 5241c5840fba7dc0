"""Encoders: right values, resumable, errors that name the file."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from loop import encoders
from loop.encoders import shards
from loop.encoders.spec import joined, located, short
from loop.errors import ConfigError, DataError


def png(seed, size=(20, 20)):
    values = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(values).save(out, format="PNG")
    return out.getvalue()


DATA = {f"{i}.png": png(i) for i in range(10)}
URIS = list(DATA)


def run(encoder, out, read=DATA.__getitem__):
    shards.encode(encoder, read, URIS, URIS, out)
    return np.load(out)


def test_pixels(tmp_path):
    embeddings = run(encoders.get("pixels:8"), tmp_path / "e.npy")
    grey = Image.open(io.BytesIO(DATA["3.png"])).convert("L").resize((8, 8), Image.Resampling.BOX)
    np.testing.assert_allclose(embeddings[3], np.asarray(grey).ravel() / 255, atol=1e-6)
    assert embeddings.dtype == np.float32
    shards.forget(tmp_path / "e.npy")
    assert [p.name for p in tmp_path.iterdir()] == ["e.npy"]


def test_resumes_at_the_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD", 3)
    reads = []

    def failing(uri):
        reads.append(uri)
        if uri == "7.png":
            raise KeyboardInterrupt
        return DATA[uri]

    with pytest.raises(KeyboardInterrupt):
        run(encoders.get("pixels:4"), tmp_path / "e.npy", failing)
    assert not (tmp_path / "e.npy").exists()
    seen = []
    shards.encode(
        encoders.get("pixels:4"),
        lambda u: (seen.append(u), DATA[u])[1],
        URIS,
        URIS,
        tmp_path / "e.npy",
    )
    assert seen == URIS[6:]  # the first two shards were kept
    np.testing.assert_array_equal(
        np.load(tmp_path / "e.npy"), run(encoders.get("pixels:4"), tmp_path / "f.npy")
    )


def test_joined_is_side_by_side(tmp_path):
    both = run(encoders.get("pixels:4+pixels:8"), tmp_path / "a.npy")
    assert both.shape == (10, 16 + 64)
    np.testing.assert_array_equal(both[:, :16], run(encoders.get("pixels:4"), tmp_path / "b.npy"))


def test_parts_that_weigh_have_the_length_of_their_weight(tmp_path):
    both = run(encoders.get("pixels:4+0.5*pixels:8"), tmp_path / "a.npy")
    assert both.shape == (10, 16 + 64)
    np.testing.assert_allclose(np.linalg.norm(both[:, :16], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(both[:, 16:], axis=1), 0.5, atol=1e-6)
    alone = run(encoders.get("pixels:4"), tmp_path / "b.npy")
    lengths = np.linalg.norm(alone, axis=1, keepdims=True)
    np.testing.assert_allclose(both[:, :16], alone / lengths, atol=1e-6)
    specs = ("pixels:4+pixels:8", "1*pixels:4+pixels:8", "pixels:4+0.5*pixels:8")
    assert len({encoders.get(spec).digest for spec in specs}) == 3
    assert encoders.get("1.0 * pixels:4+pixels:8").digest == encoders.get(specs[1]).digest


@pytest.mark.parametrize("number", ["0", "-1", "nan", "inf", "half", ""])
def test_a_weight_is_a_positive_number(number):
    with pytest.raises(ConfigError, match=f"{number!r} is no positive number"):
        encoders.check(f"pixels:4+{number}*pixels:8")


def test_weights_go_with_joined_embeddings_alone():
    with pytest.raises(ConfigError, match="a number goes with encoders that are joined"):
        encoders.check("0.5*pixels:4")
    with pytest.raises(ConfigError, match="probabilities of classes have no weight"):
        encoders.check("pixels+0.5*prior:zero_shot.npz")


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ("pixels:4", "pixels:8", "1*pixels:4+1*pixels:8"),
        ("0.5*pixels:4+pixels:8", "timm:m", "0.5*pixels:4+1*pixels:8+1*timm:m"),
        ("pixels+prior:a.npz", "timm:m+prior:a.npz", "1*pixels+prior:a.npz+1*timm:m"),
    ],
)
def test_two_encoders_are_joined_with_equal_weight(first, second, both):
    assert joined(first, second) == both


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("pixel", "did you mean 'pixels'"),
        ("pixels:x", "whole number"),
        ("timm:no_such_model", "no model"),
        ("timm:mobilenetv1_100:/none.safetensors", "none.safetensors"),
        ("timm:mobilenetv1_100?sze=3", "did you mean 'size'"),
    ],
)
def test_bad_specs(spec, words):
    with pytest.raises(ConfigError, match=words):
        encoders.get(spec)


def test_unreadable_image_is_named(tmp_path):
    with pytest.raises(DataError, match=r"4\.png"):
        run(
            encoders.get("pixels:4"),
            tmp_path / "e.npy",
            lambda uri: b"x" if uri == "4.png" else DATA[uri],
        )


def test_tiny_timm_model_from_a_checkpoint(tmp_path):
    import timm
    import torch

    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=4)
    torch.save(model.state_dict(), tmp_path / "tiny.pth")
    spec = f"timm:resnet10t:{tmp_path / 'tiny.pth'}?size=32&classes=4"
    encoder = encoders.get(spec)
    embeddings = run(encoder, tmp_path / "e.npy")
    image = Image.open(io.BytesIO(DATA["2.png"])).convert("RGB").resize((32, 32), 3)
    x = (np.asarray(image) / 255 - encoder.mean) / encoder.std
    x = torch.tensor(x, dtype=torch.float32).permute(2, 0, 1)[None]
    with torch.no_grad():
        model.eval()
        expected = model.forward_head(model.forward_features(x), pre_logits=True)[0].numpy()
    np.testing.assert_allclose(embeddings[2], expected, atol=1e-4)
    assert encoders.get(spec).digest == encoder.digest
    torch.manual_seed(1)
    other = timm.create_model("resnet10t", num_classes=4)
    torch.save(other.state_dict(), tmp_path / "tiny.pth")
    assert encoders.get(spec).digest != encoder.digest  # other weights, other embeddings


def test_real_mobilenet_on_real_images(shared, tmp_path):
    from connectors.base import Image as Found
    from connectors.parquet import Parquet
    from loop.train import Task, get

    weights = shared / "weights" / "mobilenetv1_100.imagenet.safetensors"
    encoder = encoders.get(
        f"timm:mobilenetv1_100:{weights}?size=128&mean=0.5&std=0.5&classes=1001&pad=same"
    )
    source = Parquet(shared / "data" / "flowers5.parquet")
    labels = source.labels("label")
    rng = np.random.default_rng(0)
    uris = [list(labels)[i] for i in sorted(rng.permutation(len(labels))[:400])]
    shards.encode(encoder, source.read, uris, uris, tmp_path / "e.npy")
    x = np.load(tmp_path / "e.npy")
    names = sorted(set(labels.values()))
    y = np.array([names.index(labels[u]) for u in uris])
    assert x.shape == (400, 1024)
    order = rng.permutation(400)
    task = Task(5, x[order[:300]], x[order[300:]], y[order[300:]])
    assert get("linear").train(task, y[order[:300]], rng).metrics.accuracy > 0.55
    assert isinstance(next(iter(source.scan())), Found)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("pixels", "pixels"),
        ("pixels:8", "pixels:8"),
        (
            "timm:vit_b:/home/ann/w/model.safetensors?size=128&mean=0.5",
            "timm:vit_b:model.safetensors",
        ),
        ("file:/data/mine.npy+pixels:4", "file:mine.npy+pixels:4"),
        ("0.5*file:/data/a+b.npy+pixels:4", "0.5*file:a+b.npy+pixels:4"),
    ],
)
def test_short_names_are_for_people(name, shown):
    assert short(name) == shown


def test_files_are_named_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.safetensors").touch()
    assert located("file:a/e.npy+pixels:8") == f"file:{tmp_path}/a/e.npy+pixels:8"
    assert located("0.5*file:a/e.npy+pixels:8") == f"0.5*file:{tmp_path}/a/e.npy+pixels:8"
    spec = "timm:m:w.safetensors?size=9&pad=same"
    assert located(spec) == spec.replace("w.", f"{tmp_path}/w.")
    for spec in ("pixels", "pixels:16", "timm:m", "timm:m?size=9", "open_clip:ViT-B-32:openai"):
        assert located(spec) == spec


def test_a_shard_that_a_power_cut_left_in_half_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD", 3)
    embeddings = run(encoders.get("pixels:4"), tmp_path / "e.npy")
    (shard, *_) = sorted((tmp_path / "e.parts").iterdir())
    shard.write_bytes(shard.read_bytes()[:100])
    np.testing.assert_array_equal(run(encoders.get("pixels:4"), tmp_path / "e.npy"), embeddings)


def test_a_vision_transformer_of_another_size(tmp_path):
    import timm
    import torch

    torch.save(timm.create_model("test_vit", num_classes=4).state_dict(), tmp_path / "vit.pth")
    embeddings = run(
        encoders.get(f"timm:test_vit:{tmp_path / 'vit.pth'}?size=64&classes=4"), tmp_path / "e.npy"
    )
    assert embeddings.shape[0] == len(URIS)
    assert np.isfinite(embeddings).all()
