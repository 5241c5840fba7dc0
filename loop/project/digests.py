"""Digests that name what a result hangs on: rows, labels, a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from db.arrays import file_digest
from loop.encoders import spec
from loop.train import FINE_TUNING


def numbers_digest(*arrays: NDArray[np.int64]) -> str:
    """32 hex digits of rows or labels, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for numbers in arrays:
        digest.update(np.ascontiguousarray(numbers, dtype="<i8").tobytes())
    return digest.hexdigest()


def rows_digest(rows: NDArray[np.int64], labels: NDArray[np.int64]) -> str:
    """32 hex digits that name the training rows and their labels.

    Args:
        rows: (k,) int64 where each image stands among those of the pool, test images not counted.
        labels: (k,) int64, -1 where there is none.
    """
    return numbers_digest(rows[labels >= 0], labels[labels >= 0])


def start_digest(trainer: str, params: Mapping[str, object]) -> str:
    """Digest of the file of weights that a trainer starts from; empty where there is none."""
    file: Path | None = Path(str(params.get("checkpoint") or ""))
    if trainer.startswith(FINE_TUNING):
        file = spec.weights_file(trainer.removeprefix(FINE_TUNING))
    return file_digest(file) if file is not None and file.is_file() else ""
