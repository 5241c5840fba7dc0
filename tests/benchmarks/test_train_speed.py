"""Training images a second on the best device here, and what of it augmentation, bookkeeping and
Muon take: the trainer's epochs against bare steps (forward, backward, SGD) on one batch that lies
ready.

    pytest tests/benchmarks/test_train_speed.py --benchmark-only -s
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest
import torch

from loop.device import resolve
from loop.train import Task, get
from loop.train.backbone import build, normalise
from loop.train.descent import Descent, Recipe
from loop.train.replicas import SingleDevice

DEVICE = torch.device(resolve("auto"))
ON_GPU = DEVICE.type == "cuda"
MODEL, N, BATCH = ("resnet18", 51_200, 512) if ON_GPU else ("timm:resnet10t", 1024, 64)
ROUNDS = 3
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(256, size=(N, 32, 32, 3), dtype=np.uint8)
LABELS = RNG.integers(10, size=N)


def seconds(work):
    began = time.perf_counter()
    work()
    if ON_GPU:
        torch.cuda.synchronize()
    return time.perf_counter() - began


def bare():
    """The steps of one epoch, on one batch."""
    net = build(MODEL, 10).to(device=DEVICE, memory_format=torch.channels_last)
    sgd = torch.optim.SGD(net.parameters(), 0.1, 0.9, nesterov=True, fused=ON_GPU)
    images = torch.from_numpy(PIXELS[:BATCH]).to(DEVICE).permute(0, 3, 1, 2)
    images, target = normalise(images), torch.from_numpy(LABELS[:BATCH]).to(DEVICE)

    def steps(count=N // BATCH):
        for _ in range(count):
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=ON_GPU):
                z = net(images)
            loss = torch.nn.functional.cross_entropy(z.float(), target)
            sgd.zero_grad(set_to_none=True)
            loss.backward()
            sgd.step()

    steps(2)
    return steps


def epochs(count, muon):
    recipe = Recipe(
        count, BATCH, 0.1, count * N // BATCH, 0.2, 0.1, 5e-4, "muon" if muon else "sgd"
    )
    Descent(recipe, MODEL, "", PIXELS, LABELS, 10, 0)(SingleDevice(DEVICE))


@pytest.mark.parametrize("muon", [False, True], ids=["sgd", "muon"])
def test_what_comes_on_top_of_bare_steps(benchmark, muon):
    steps = bare()
    seconds(lambda: epochs(1, muon))
    measured = []
    for _ in range(ROUNDS):
        first_epoch = seconds(lambda: epochs(1, muon))
        measured.append((seconds(steps), seconds(lambda: epochs(3, muon)) - first_epoch))
    alone, two_epochs = np.median(measured, axis=0)
    benchmark.pedantic(steps, rounds=1)
    print(
        f"\n  {MODEL}, {'Muon' if muon else 'SGD'}, 32 x 32, batches of {BATCH}, {device_name()}: "
        f"{2 * N / two_epochs:,.0f} images/s, bare steps {N / alone:,.0f}, ratio "
        f"{2 * alone / two_epochs:.2f}",
        file=sys.stderr,
    )
    assert 2 * alone / two_epochs > 0.5


def test_a_tenth_of_cifar10(benchmark):
    """``fast`` on 5,000 pictures and a test of 10,000; on a CPU a smaller network on a tenth."""
    n, tested = (5_000, 10_000) if ON_GPU else (500, 1_000)
    test = np.resize(PIXELS, (tested, 32, 32, 3))
    task = Task(
        10,
        np.zeros((n, 1), np.float32),
        np.zeros((tested, 1), np.float32),
        np.resize(LABELS, tested),
        pool_images=lambda: PIXELS[:n],
        test_images=lambda: test,
        device=str(DEVICE),
    )
    trainer = get(MODEL, **({} if ON_GPU else {"steps": 100}))
    train = lambda: trainer.train(task, LABELS[:n], np.random.default_rng(0))  # noqa: E731
    took = benchmark.pedantic(lambda: seconds(train), rounds=1)
    print(
        f"\n  {MODEL}, fast: {n} pictures, {tested} of test, {device_name()}: {took:.1f} s",
        file=sys.stderr,
    )
    assert took < 15 or not ON_GPU


def device_name():
    return torch.cuda.get_device_name() if ON_GPU else f"CPU, {torch.get_num_threads()} threads"
