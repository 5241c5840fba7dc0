"""CIFAR-10N: how wrong three people are, alone and together; then a smaller set to train on.

    python examples/cifar10n/votes.py cifar10.parquet small.parquet

The parquet file has the columns image, label, split, human1, human2, human3 (class numbers). The
small one holds 6,000 training and 2,000 test images with two columns more, ``majority`` and
``dawid_skene``, for ``coreloop simulate small.parquet --labels dawid_skene``.
"""

from __future__ import annotations

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from loop.annotators import cohen_kappa, consensus, disagreements, krippendorff_alpha

PEOPLE = ["human1", "human2", "human3"]
TRAIN, TEST, SEED = 6000, 2000, 0


def main(source: str, target: str) -> None:
    table = parquet.read_table(source)
    train = np.flatnonzero(np.array(table["split"].to_pylist()) == "train")
    truth = table["label"].to_numpy()[train]
    labels_by = {who: table[who].to_numpy()[train] for who in PEOPLE}
    votes = [(i, who, int(v)) for who in PEOPLE for i, v in enumerate(labels_by[who])]
    for method, name in (("majority", "majority"), ("dawid-skene", "dawid_skene")):
        agreed = consensus(votes, method)
        labels_by[name] = np.array([agreed[i] for i in range(len(train))])
    for name, labels in labels_by.items():
        print(f"{name:12} {100 * np.mean(labels != truth):5.2f} % of {len(train)} wrong")
    print(f"Krippendorff's alpha {krippendorff_alpha(votes):.3f}")
    for pair in cohen_kappa(votes):
        print(f"Cohen's kappa of {pair.first} and {pair.second} {pair.kappa:.3f}")
    print(f"people differ on {len(disagreements(votes))} images")
    small(table, train, labels_by, target)


def small(
    table: pa.Table, train: np.ndarray, labels_by: dict[str, np.ndarray], target: str
) -> None:
    """Writes random images of both splits with every kind of label."""
    test = np.setdiff1d(np.arange(len(table)), train)
    chosen = _some(len(train), TRAIN)
    rows = np.concatenate([train[chosen], test[_some(len(test), TEST)]])
    columns = {name: table[name].take(rows) for name in ("image", "label", "split")}
    for name, labels in labels_by.items():
        columns[name] = pa.array(np.concatenate([labels[chosen], np.full(TEST, -1)]), pa.int8())
    out = pa.table(columns).replace_schema_metadata(table.schema.metadata)
    parquet.write_table(out, target, row_group_size=512)


def _some(n: int, count: int) -> np.ndarray:
    """Random positions below n, ascending."""
    return np.sort(np.random.default_rng(SEED).permutation(n)[:count])


if __name__ == "__main__":
    main(*sys.argv[1:3])
