"""Digests that name what a result hangs on: rows, labels, a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from db.arrays import file_digest


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


def start_digest(params: Mapping[str, object]) -> str:
    """Digest of the checkpoint that a trainer starts from; empty where there is none."""
    file = Path(str(params.get("checkpoint") or ""))
    return file_digest(file) if file.is_file() else ""
