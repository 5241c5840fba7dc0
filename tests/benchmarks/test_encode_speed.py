"""Encoding from files against the bare forward pass over images that are decoded already, in the
same run; both alternate and the medians are compared.

    pytest tests/benchmarks/test_encode_speed.py --benchmark-only -s
"""

from __future__ import annotations

import sys
import time
from itertools import count

import numpy as np

from connectors.parquet import Parquet
from loop import encoders
from loop.encoders import shards
from loop.images import decode

N, BATCH, ROUNDS = 256, 64, 3


def test_decoding_hides_behind_the_forward_pass(benchmark, shared, tmp_path):
    weights = shared / "weights" / "mobilenetv1_100.imagenet.safetensors"
    encoder = encoders.get(
        f"timm:mobilenetv1_100:{weights}?size=128&mean=0.5&std=0.5&classes=1001&pad=same"
    )
    source = Parquet(shared / "data" / "trashnet.parquet")
    uris = [f"row/{i}" for i in range(N)]
    decoded = np.stack([encoder.prepare(decode(source.read(uri))) for uri in uris])

    def bare():
        for start in range(0, N, BATCH):
            encoder.forward(decoded[start : start + BATCH], "cpu")

    fresh = (tmp_path / f"{i}.npy" for i in count())  # shards that are there are not made again

    def whole():
        shards.encode(encoder, source.read, uris, uris, next(fresh))

    def seconds(work):
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    bare()
    pairs = np.array([(seconds(bare), seconds(whole)) for _ in range(ROUNDS)])
    alone, total = np.median(pairs, axis=0)
    benchmark.pedantic(whole, rounds=1)
    print(
        f"\n  mobilenetv1_100 at 128, {N} JPEGs: forward {N / alone:.0f} images/s, from files "
        f"{N / total:.0f} images/s, ratio {alone / total:.2f} (aim 0.85)",
        file=sys.stderr,
    )
    assert alone / total > 0.5
