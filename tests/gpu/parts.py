"""The parts of make gpu: each runs one kind of work on a device and yields what it measured."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Size:
    """How much work each part does."""

    rows: int
    dims: int
    draws: int
    picks: int
    images: int
    side: int
    encoder: str
    network: str
    training: int
    epochs: int
    tuned: str


CARD = Size(
    50_000,
    512,
    1_000_000,
    500,
    4096,
    224,
    "resnet50",
    "resnet18",
    50_000,
    2,
    "vit_small_patch16_224",
)
MINIATURE = Size(400, 16, 2000, 20, 64, 32, "test_resnet", "timm:test_resnet", 200, 1, "test_vit")

Figure = tuple[str, float, str]
"""What was measured, the number, its unit."""


def tests(device: str, size: Size) -> Iterator[Figure]:
    """Tests marked ``gpu``."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests/gpu",
        "-m",
        "gpu",
        "-v",
        "-p",
        "no:cacheprovider",
    ]
    environment = {**os.environ, "CORELOOP_CARD": device}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    print(done.stdout[-6000:], done.stderr[-2000:], sep="\n")
    for count, outcome in re.findall(r"(\d+) (passed|failed|skipped|errors?)", done.stdout):
        yield f"tests {outcome}", int(count), "tests"
    if done.returncode:
        raise SystemExit(f"pytest left with {done.returncode}")


def zcore(device: str, size: Size) -> Iterator[Figure]:
    """ZCore's draws, and whether the first are those of the CPU's compiled loop."""
    from loop.scorers.zcore import replay, sample_draws
    from loop.scorers.zcore_torch import accumulate

    x = pool(size.rows, size.dims)
    rng = np.random.default_rng(1)
    dims, points = sample_draws(x, np.arange(size.dims), size.draws, 2, rng)
    few = min(2000, size.draws)
    raw, winners = replay(x, dims[:few], points[:few])
    # warms up as well
    scores, card_winners = accumulate(x, dims[:few], points[:few], device=device)
    shared = float((card_winners == winners).mean())
    yield f"winners of {few:,} draws that the CPU finds too", shared, ""
    yield "largest difference of their raw scores", float(np.abs(scores - raw).max()), ""
    seconds = timed(lambda: accumulate(x, dims, points, device=device))
    yield f"{size.draws:,} draws over {size.rows:,} x {size.dims}", seconds, "s"


def geometry(device: str, size: Size) -> Iterator[Figure]:
    """k-NN, k-means and k-medoids."""
    from loop import scorers
    from loop.geometry import neighbours
    from loop.scorers import Inputs

    x = pool(size.rows, size.dims)
    neighbours(x[:200], 10)  # kernels compile
    seconds = timed(lambda: neighbours(x, 10))
    yield f"10 neighbours of each of {size.rows:,} x {size.dims}", seconds, "s"
    for name in ("kmeans", "kmedoids"):
        inputs = Inputs(x, size.picks, np.random.default_rng(0), device=device)
        seconds = timed(lambda name=name, inputs=inputs: scorers.get(name).score(inputs))
        yield f"{name}, {size.picks} of {size.rows:,} x {size.dims}", seconds, "s"


def embedding(device: str, size: Size) -> Iterator[Figure]:
    """Images a second from JPEG bytes to embeddings, beside the bare forward pass over images that
    are decoded already; random weights."""
    import timm
    import torch

    from loop.encoders import shards
    from loop.encoders.network import TorchEncoder
    from loop.images import decode

    torch.manual_seed(0)
    model = timm.create_model(size.encoder, num_classes=0)
    half = (0.5, 0.5, 0.5)
    encoder = TorchEncoder(size.encoder, model, size.side, half, half)
    pictures = jpegs(64, size.side + 32)
    names = [str(i) for i in range(size.images)]
    decoded = np.stack([encoder.prepare(decode(data)) for data in pictures])
    batches = size.images // len(decoded)

    def read(name: str) -> bytes:
        return pictures[int(name) % len(pictures)]

    def forward() -> None:
        for _ in range(batches):
            encoder.forward(decoded, device)

    forward()
    bare = timed(forward)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "e.npy"
        whole = timed(lambda: shards.encode(encoder, read, names, names, out, device=device))
    what = f"{size.encoder} at {size.side}"
    yield f"{what}, forward pass", batches * len(decoded) / bare, "images/s"
    yield f"{what}, from JPEG bytes", size.images / whole, "images/s"


def network(device: str, size: Size) -> Iterator[Figure]:
    """Images a second of a training, from the difference between more epochs and one."""
    from loop.train import Task, get

    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(size.training, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(10, size=size.training)
    flat = np.zeros((size.training, 1), np.float32)
    task = Task(10, flat, flat[:64], labels[:64], lambda: images, lambda: images[:64], device)

    def epochs(count: int) -> float:
        trainer = get(size.network, epochs=count)
        return timed(lambda: trainer.train(task, labels, np.random.default_rng(0)))

    epochs(1)
    seconds = epochs(1 + size.epochs) - epochs(1)
    rate = size.training * size.epochs / max(seconds, 1e-9)
    yield f"{size.network}, fast, {size.training:,} images of 32 x 32", rate, "images/s"


def lora(device: str, size: Size) -> Iterator[Figure]:
    """Images a second of fine-tuning, from the difference between more epochs and one; random
    weights."""
    import timm
    import torch

    from loop.train import Task, get

    rng = np.random.default_rng(0)
    count = size.images // 4
    images = rng.integers(256, size=(count, size.side, size.side, 3), dtype=np.uint8)
    labels = rng.integers(10, size=count)
    flat = np.zeros((count, 1), np.float32)
    task = Task(10, flat, flat[:8], labels[:8], lambda: images, lambda: images[:8], device)
    with tempfile.TemporaryDirectory() as folder:
        torch.save(timm.create_model(size.tuned).state_dict(), f"{folder}/drawn.pth")
        name = f"lora:timm:{size.tuned}:{folder}/drawn.pth?size={size.side}"

        def epochs(some: int) -> float:
            trainer = get(name, epochs=some)
            return timed(lambda: trainer.train(task, labels, np.random.default_rng(0)))

        epochs(1)
        seconds = epochs(1 + 5 * size.epochs) - epochs(1)
    rate = count * 5 * size.epochs / max(seconds, 1e-9)
    yield f"lora, {size.tuned}, {count:,} images at {size.side}", rate, "images/s"


def cifar10(device: str, size: Size) -> Iterator[Figure]:
    """A row of examples/cifar10_table: accuracy of random, ZCore, ELFS and auto."""
    shared = Path(os.environ.get("CORELOOP_DATA", ROOT.parent / "shared"))
    weights = shared / "weights" / "mobilenetv1_100.imagenet.safetensors"
    images, kept, options = shared / "data" / "cifar10.parquet", "0.004,0.1", []
    encoder = "pixels:8"
    if weights.is_file() and size == CARD:
        how = "size=128&mean=0.5&std=0.5&classes=1001&pad=same"
        encoder = f"timm:mobilenetv1_100:{weights}?{how}"
    with tempfile.TemporaryDirectory() as folder:
        if size != CARD:
            images, kept, options = digits(Path(folder) / "digits.parquet"), "0.1", ["--steps", "2"]
        if not images.is_file():
            print(f"skipped: no {images} (set CORELOOP_DATA)")
            return
        command = [sys.executable, "examples/cifar10_table/run.py", str(images)]
        command += ["--folder", f"{folder}/cells", "--encoder", encoder, "--kept", kept]
        command += ["--methods", "random,zcore,elfs,auto", "--seeds", "1", *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command += ["--model", size.network]
        began = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        print(" ".join(command), done.stdout, done.stderr[-4000:], sep="\n")
    if done.returncode:
        raise SystemExit(f"{command[1]} left with {done.returncode}")
    yield "the row of the table", time.perf_counter() - began, "s"
    header, _, *lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    shares = [cell.strip() for cell in header.strip("|").split("|")][1:]
    for line in lines:
        method, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        for share, cell in zip(shares, cells, strict=True):
            yield f"{method}, {share} of the pool", float(cell), "% right"


PARTS: dict[str, tuple[Callable[[str, Size], Iterator[Figure]], int]] = {
    "tests": (tests, 110),
    "zcore": (zcore, 70),
    "embedding": (embedding, 60),
    "network": (network, 60),
    "lora": (lora, 40),
    "geometry": (geometry, 90),
    "cifar10": (cifar10, 200),
}
"""Name -> the part, and the seconds that it may take."""


def timed(work: Callable[[], object]) -> float:
    """Wall-clock seconds, until the device is done."""
    import torch

    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def pool(n: int, d: int) -> NDArray[np.float32]:
    """Correlated dimensions around ten centres, as embeddings of images have."""
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((64, d), dtype=np.float32) / 8
    hidden = rng.standard_normal((n, 64), dtype=np.float32)
    hidden += 2 * rng.standard_normal((10, 64), dtype=np.float32)[rng.integers(10, size=n)]
    noise = rng.standard_normal((n, d), dtype=np.float32)
    return np.asarray(hidden @ mix + 0.3 * noise, dtype=np.float32)


def jpegs(count: int, side: int) -> list[bytes]:
    """Smooth pictures as JPEG files."""
    from PIL import Image

    rng, files = np.random.default_rng(0), []
    for _ in range(count):
        small = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        out = io.BytesIO()
        small.resize((side, side), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
        files.append(out.getvalue())
    return files


def digits(path: Path) -> Path:
    """A parquet file of 160 handwritten digits of three classes, 40 of them to test on."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image
    from sklearn.datasets import load_digits

    data = load_digits(n_class=3)
    rows = []
    for i, (pixels, label) in enumerate(zip(data.images[:160], data.target, strict=False)):
        out = io.BytesIO()
        Image.fromarray((pixels * 15).astype(np.uint8)).save(out, "PNG")
        split = "test" if i >= 120 else "train"
        rows.append({"image": out.getvalue(), "label": int(label), "split": split})
    names = {"class_names": json.dumps(["zero", "one", "two"])}
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(names), path)
    return path
