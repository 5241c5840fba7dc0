"""What annotators' mistakes cost in accuracy: one ridge probe per kind of label, same images.

    python examples/cifar10n/noise.py small.parquet timm:mobilenetv1_100:weights.safetensors

``small.parquet`` is what votes.py wrote; the second argument is any encoder of coreloop.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
from sklearn.linear_model import RidgeCV

from connectors.parquet import Parquet
from loop import encoders
from loop.encoders import shards

KINDS = ["label", "dawid_skene", "majority", "human1", "human2", "human3"]
SIZES, SEEDS = [200, 600, 1800], 5


def main(source: str, spec: str) -> None:
    table = parquet.read_table(source, columns=["split", *KINDS])
    x = embed(source, spec, len(table))
    train = np.array(table["split"].to_pylist()) == "train"
    x = (x - x[train].mean(axis=0)) / np.maximum(x[train].std(axis=0), 1e-6)
    pool, test, truth = x[train], x[~train], table["label"].to_numpy()[~train]
    targets = np.hstack([np.eye(10)[table[kind].to_numpy()[train]] for kind in KINDS])
    right = np.zeros((len(SIZES), SEEDS, len(KINDS)))
    for i, size in enumerate(SIZES):
        for seed in range(SEEDS):
            rows = np.random.default_rng(seed).permutation(len(pool))[:size]
            probe = RidgeCV(np.logspace(1, 5, 9)).fit(pool[rows], targets[rows])
            predicted = probe.predict(test).reshape(-1, len(KINDS), 10).argmax(axis=2)
            right[i, seed] = (predicted == truth[:, None]).mean(axis=0)
    print("images " + " ".join(f"{kind:>16}" for kind in KINDS))
    for size, accuracies in zip(SIZES, 100 * right, strict=True):
        spread = 2.776 * accuracies.std(axis=0, ddof=1) / np.sqrt(SEEDS)
        means = accuracies.mean(axis=0)
        cells = (f"{mean:8.1f} +-{s:4.1f} " for mean, s in zip(means, spread, strict=True))
        print(f"{size:6} " + " ".join(cells))


def embed(source: str, spec: str, count: int) -> np.ndarray:
    """(count, D) float32 embeddings of the rows."""
    uris = [f"row/{i}" for i in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "e.npy"
        shards.encode(encoders.get(spec), Parquet(Path(source)).read, uris, [""] * count, out)
        return np.load(out)


if __name__ == "__main__":
    main(*sys.argv[1:3])
