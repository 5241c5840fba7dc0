"""What runs on a card computes what the CPU computes, up to its rounding."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from loop import config, scorers
from loop.device import gpus, resolve
from loop.errors import ConfigError
from loop.geometry import neighbours, unit
from loop.project import create
from loop.scorers import Inputs, temi
from loop.scorers.zcore import replay, sample_draws
from loop.steps.run import run
from loop.train import Task, get
from tests.conftest import rows, small_values, write_images

pytestmark = pytest.mark.gpu


def blobs(n=600, classes=4, dims=16):
    """Classes far apart: (n, dims) float32 rows and their classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(classes, size=n)
    x = 4 * rng.standard_normal((classes, dims))[y] + rng.standard_normal((n, dims))
    return x.astype(np.float32), y.astype(np.int64)


def stripes(n, seed):
    """Two classes: horizontal and vertical stripes with noise; (n, 16, 16, 3) uint8."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    base = np.tile(np.arange(16) % 2 * 160, (16, 1))
    images = np.stack([base if label else base.T for label in y])[..., None]
    return (images + rng.integers(0, 90, (n, 16, 16, 3))).astype(np.uint8), y.astype(np.int64)


def striped_task(card, n=256):
    images, y = stripes(n, 0)
    test, test_y = stripes(128, 1)
    flat, flat_test = (a.reshape(len(a), -1).astype(np.float32) for a in (images, test))
    return Task(2, flat, flat_test, test_y, lambda: images, lambda: test, device=card), y


def test_the_card_is_what_auto_means(card):
    assert resolve("auto") == card
    with pytest.raises(ConfigError, match="torch sees"):
        resolve(f"cuda:{gpus() + 1}")


@pytest.mark.parametrize("exponent", [4.0, 3.0])
def test_zcore_takes_the_same_draws(card, exponent):
    from loop.scorers.zcore_torch import accumulate

    rng = np.random.default_rng(3)
    x = rng.standard_normal((5000, 16)).astype(np.float32)
    x[100:110] = x[99]  # exact copies
    dims, points = sample_draws(x, np.arange(16), 5000, 2, rng)
    raw, winners = replay(x, dims, points, exponent=exponent)
    scores, card_winners = accumulate(x, dims, points, exponent=exponent, device=card)
    assert winners.tolist() == card_winners.tolist()
    np.testing.assert_allclose(scores, raw, atol=1e-3)


def test_zcore_in_several_batches_is_zcore_in_one(card, monkeypatch):
    from loop.scorers import zcore_torch

    rng = np.random.default_rng(4)
    x = rng.standard_normal((500, 8)).astype(np.float32)
    dims, points = sample_draws(x, np.arange(8), 1000, 2, rng)
    whole, winners = zcore_torch.accumulate(x, dims, points, device=card)
    monkeypatch.setattr(zcore_torch, "BATCH_BYTES", 24 * 500 * 70)
    parts, again = zcore_torch.accumulate(x, dims, points, device=card)
    assert winners.tolist() == again.tolist()
    np.testing.assert_allclose(whole, parts, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("zcore", {"draws": 20_000}),
        ("elfs", {"epochs": 5}),
        ("auto", {}),
        ("kmedoids", {}),
        ("kmeans", {}),
    ],
)
def test_scorers_rank_alike_on_both_devices(card, name, params):
    """Rounding may exchange near-ties: nine of ten picks agree."""
    x, y = blobs()
    task = Task(4, x, x[:5], y[:5])
    picks = []
    for device in ("cpu", card):
        inputs = Inputs(
            x,
            60,
            np.random.default_rng(0),
            n_classes=4,
            fit=lambda labels: get("linear").dynamics(task, labels, np.random.default_rng(1)),
            device=device,
        )
        scores = scorers.get(name, **params).score(inputs)
        assert scores.shape == (600,)
        assert np.isfinite(scores).all()
        picks.append(set(np.argsort(-scores)[:60].tolist()))
    assert len(picks[0] & picks[1]) >= 54


def test_clusters_are_found(card):
    x, y = blobs()
    x = unit(x)
    near, _ = neighbours(x, 20)
    epochs = 5 if card == "cpu" else 200
    labels, told = temi.cluster(
        x, near, 4, np.random.default_rng(0), count=4, epochs=epochs, batch=100, device=card
    )
    assert np.isfinite(told["loss"])
    table = np.zeros((4, 4))
    np.add.at(table, (y, labels), 1)
    assert table.max(axis=1).sum() / len(y) > 0.9 or card == "cpu"


def test_embeddings_agree_up_to_half_precision(card):
    timm = pytest.importorskip("timm")
    import torch

    from loop.encoders.network import TorchEncoder

    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=0)
    encoder = TorchEncoder("test", model, 64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    batch = np.random.default_rng(0).integers(0, 255, (8, 64, 64, 3), dtype=np.uint8)
    expected, computed = encoder.forward(batch, "cpu"), encoder.forward(batch, card)
    encoder.model.to("cpu")
    assert computed.dtype == np.float32
    cosine = (expected * computed).sum(axis=1)
    cosine /= np.linalg.norm(expected, axis=1) * np.linalg.norm(computed, axis=1)
    assert cosine.min() > 0.999


def test_a_pool_is_embedded(card, tmp_path):
    timm = pytest.importorskip("timm")
    from loop.encoders import shards
    from loop.encoders.network import TorchEncoder

    model = timm.create_model("test_resnet", num_classes=0)
    encoder = TorchEncoder("test", model, 32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    names = [f"{i}.png" for i in range(300)]

    def read(uri):
        out = io.BytesIO()
        Image.fromarray(np.full((40, 40, 3), int(uri[:-4]) % 256, np.uint8)).save(out, "PNG")
        return out.getvalue()

    shards.encode(encoder, read, names, names, tmp_path / "e.npy", device=card)
    embeddings = np.load(tmp_path / "e.npy")
    assert embeddings.shape == (300, encoder.dim)
    np.testing.assert_allclose(embeddings[0], embeddings[256], rtol=0.02, atol=0.02)


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_a_network_learns(card, preset):
    task, y = striped_task(card)
    model, epochs = ("timm:test_resnet", 1) if card == "cpu" else ("resnet18", 6)
    trainer = get(model, preset=preset, epochs=epochs, batch=32, rate=0.02, side=16)
    trained = trainer.train(task, y, np.random.default_rng(0), pool_probabilities=True)
    assert trained.notes["device"] == card
    np.testing.assert_allclose(trained.pool_probabilities.sum(axis=1), 1, atol=1e-3)
    assert trained.metrics.accuracy > 0.9 or card == "cpu"


def test_a_compiled_network_and_timms_learn(card):
    task, y = striped_task(card)
    for compile_ in {card == "cuda", False}:
        trainer = get("timm:test_resnet", epochs=2, batch=32, side=16, compile=compile_)
        trained = trainer.train(task, y, np.random.default_rng(0))
        assert np.isfinite(trained.test_probabilities).all()


def test_an_encoder_is_fine_tuned(card, tmp_path):
    """In half precision, adapters and head alone; the merged network answers on the CPU, too."""
    timm = pytest.importorskip("timm")
    pytest.importorskip("peft")
    import torch

    torch.manual_seed(0)
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "drawn.pth")
    task, y = striped_task(card)
    epochs = 1 if card == "cpu" else 20
    trainer = get(
        f"lora:timm:test_vit:{tmp_path / 'drawn.pth'}?size=16", epochs=epochs, learning_rate=3e-3
    )
    trained = trainer.train(task, y, np.random.default_rng(0))
    assert trained.notes["device"] == card
    assert trained.metrics.accuracy > 0.9 or card == "cpu"
    assert {tensor.dtype.name for tensor in trained.model.weights.values()} == {"float32"}
    on_cpu = trained.model.probabilities(task.test_images(), "cpu")
    np.testing.assert_allclose(on_cpu, trained.test_probabilities, atol=0.05)


def test_dynamics_of_a_network_are_recorded(card):
    task, y = striped_task(card)
    dynamics = get("timm:test_resnet", epochs=3, batch=32, side=16).dynamics(
        task, y, np.random.default_rng(0)
    )
    assert dynamics.epochs == 3
    assert np.isfinite(dynamics.aum).all()


def test_muons_updates_are_orthogonal_in_half_precision(card):
    import torch

    from loop.train.muon import orthogonal

    given = torch.randn((2, 16, 40), generator=torch.Generator().manual_seed(0))
    expected, computed = orthogonal(given), orthogonal(given.to(card)).cpu()
    assert (expected - computed).abs().max() < 0.05
    assert computed.dtype == given.dtype


def test_more_devices_than_there_are_is_said(card):
    if card != "cuda":
        pytest.skip("no CUDA device")
    task, y = striped_task(card)
    with pytest.raises(ConfigError, match="but there are"):
        get("timm:test_resnet", steps=2, side=16, devices=gpus() + 1).train(
            task, y, np.random.default_rng(0)
        )


def test_a_batch_that_does_not_fit_is_halved(card):
    """torch may take a gigabyte, of which the activations of 4,096 images need more."""
    if card != "cuda":
        pytest.skip("no CUDA device")
    import torch

    share = min(1.0, 1e9 / torch.cuda.get_device_properties(0).total_memory)

    task, y = striped_task(card, n=4096)
    trainer = get("resnet18", epochs=1, batch=4096, side=16)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(share)
    try:
        trained = trainer.train(task, y, np.random.default_rng(0))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "halved" in str(trained.notes["out_of_memory"])


def test_a_whole_project_trains_networks(card, tmp_path):
    write_images(tmp_path / "images")
    values = small_values(
        tmp_path / "images",
        selection={"scorer": "zcore", "params": {"draws": 2000}},
        training={
            "trainer": "timm:test_resnet",
            "params": {"steps": 4, "side": 16},
            "device": "auto",
        },
    )
    project = create(tmp_path / "p", config.check(values, "test"))
    assert run(project).why == "done"
    assert rows(project, "SELECT state FROM round ORDER BY number")[-1] == ("compared",)
    devices = rows(project, "SELECT DISTINCT notes ->> 'device' FROM run WHERE arm = 'all'")
    assert devices == [(card,)]
