"""What a second node is worth: the same pieces on a Ray cluster of one node, then of two, one core
each, in the same run. On a machine of two cores the second node has a core of its own, the driver
and Ray's own processes have none. Medians of three.

    pytest tests/benchmarks/test_engine_speed.py --benchmark-only -s
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from connectors.parquet import Parquet
from loop import encoders, scorers, train
from loop.encoders import shards
from loop.engine import get
from loop.geometry import neighbours
from loop.scorers.zcore import replay, sample_draws
from loop.simulation import simulate
from loop.train import Task
from tests.benchmarks.test_scorer_speed import pool
from tests.conftest import ROOT

N, D = 16_384, 256


RUNS = 3


def work(shared, tmp_path):
    """name -> what is mapped over an engine."""
    larger = pool(2 * N, D)
    x = larger[:N]
    dims, points = sample_draws(x, np.arange(D), 200_000, 2, np.random.default_rng(1))
    weights = shared / "weights" / "mobilenetv1_100.imagenet.safetensors"
    encoder = encoders.get(
        f"timm:mobilenetv1_100:{weights}?size=128&mean=0.5&std=0.5&classes=1001&pad=same"
    )
    source = Parquet(shared / "data" / "trashnet.parquet")
    uris = [f"row/{i}" for i in range(512)]
    labels = np.random.default_rng(2).integers(6, size=2000)
    task = Task(6, x[:2000], x[2000:2500], labels[:500])
    methods = {name: scorers.get(name) for name in ("random", "kmeans", "typiclust")}
    cells = task, labels, methods, [30, 60, 120], range(8), train.get("linear")

    def embed(engine):
        out = tmp_path / f"{time.perf_counter_ns()}.npy"
        shards.encode(encoder, source.read, uris, uris, out, engine=engine)

    return {
        "embedding, 512 JPEGs, shards of 64": embed,
        f"200,000 draws of ZCore, {N:,} x {D}": lambda e: replay(x, dims, points, engine=e),
        f"10 neighbours of each of {2 * N:,} x {D}": lambda e: neighbours(larger, 10, engine=e),
        "72 cells of a simulation": lambda e: list(simulate(*cells, share=0.8, engine=e)),
    }


def seconds(work):
    began = time.perf_counter()
    work(get("ray"))
    return time.perf_counter() - began


@pytest.mark.timeout(1800)
def test_a_second_node(benchmark, shared, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="pip install 'coreloop[ray]'")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr("loop.encoders.shards.SHARD", 64)
    todo, seen = work(shared, tmp_path), {}

    def measure():
        for nodes in (1, 2):
            size = 300 * 2**20
            one_core = {"num_cpus": 1, "object_store_memory": size}
            cluster = Cluster(initialize_head=True, head_node_args=one_core)
            if nodes == 2:
                cluster.add_node(**one_core)
            cluster.wait_for_nodes()
            monkeypatch.setenv("RAY_ADDRESS", cluster.address)
            for name, work in todo.items():
                work(get("ray"))  # processes start, libraries load, kernels compile
                seen[name, nodes] = float(np.median([seconds(work) for _ in range(RUNS)]))
            ray.shutdown()
            cluster.shutdown()

    benchmark.pedantic(measure, rounds=1)
    for name in todo:
        on_one, on_two = seen[name, 1], seen[name, 2]
        print(
            f"\n  {name}: {on_one:.1f} s on one node, {on_two:.1f} s on two, "
            f"{on_one / on_two:.2f} times as fast",
            end="",
            file=sys.stderr,
        )
        assert on_one / on_two > 1.0
