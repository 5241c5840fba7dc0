"""What the names of the classes say of an image, from its embedding: zero-shot classification."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loop.softmax import softmax

Matrix = NDArray[np.float64]

ALIKE = 0.99
"""Cosine of two classes' texts from which on they are all but equal."""


@dataclass(frozen=True)
class NameHead:
    """Zero-shot classifier on some columns of the embeddings: softmax(scale * rows texts').

    Attributes:
        texts: (C, d) float64; of CLIP unit rows.
        start: first of the d columns that it looks at.
        scale: of the logits.
        unit: rows are given length 1 first (CLIP); otherwise the columns are log-probabilities.
    """

    texts: Matrix
    start: int
    scale: float
    unit: bool

    @property
    def columns(self) -> slice:
        """That it looks at."""
        return slice(self.start, self.start + self.texts.shape[1])

    def probabilities(self, embeddings: NDArray[Any]) -> Matrix:
        """(M, D) embeddings as the encoder made them -> (M, C); rows sum to 1."""
        rows = np.asarray(embeddings[:, self.columns], dtype=np.float64)
        if self.unit:
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return softmax(self.scale * rows @ self.texts.T, axis=1)

    def picture(self, embeddings: NDArray[Any]) -> NDArray[Any]:
        """The columns that other models learn from: without given log-probabilities."""
        if self.unit:
            return embeddings
        return np.delete(embeddings, self.columns, axis=1)

    @property
    def digest(self) -> str:
        """Of texts and settings."""
        told = hashlib.blake2b(np.ascontiguousarray(self.texts).tobytes(), digest_size=8)
        told.update(repr(self.settings()).encode())
        return told.hexdigest()

    def settings(self) -> dict[str, Any]:
        """What it is besides its texts."""
        values = asdict(self)
        del values["texts"]
        return values


@dataclass(frozen=True, eq=False)
class Prior:
    """What the names say of a problem's images.

    Attributes:
        head: that said it.
        pool, test: (N, C) and (T, C) float64 probabilities.
        remarks: what a person should know of the names.
    """

    head: NameHead
    pool: Matrix
    test: Matrix
    remarks: tuple[str, ...] = ()

    def restricted(self, rows: NDArray[np.int64], tested: NDArray[np.int64] | None = None) -> Prior:
        """With these images of the pool alone, and others of it as test images if given."""
        test = self.test if tested is None else self.pool[tested]
        return Prior(self.head, self.pool[rows], test, self.remarks)


def remarks_on(
    head: NameHead, counts: NDArray[np.int64], classes: Sequence[str]
) -> tuple[str, ...]:
    """What a person should know: texts that are all but equal, classes that no image is near.

    Args:
        counts: (C,) images of the pool that each class is likeliest for, by the names.
    """
    remarks = []
    if head.unit:
        cosine = np.triu(head.texts @ head.texts.T, 1)
        for first, second in np.argwhere(cosine > ALIKE)[:3]:
            remarks.append(
                f"the texts of {classes[first]!r} and {classes[second]!r} are all but equal "
                f"(cosine {cosine[first, second]:.3f}), so names do not tell them apart; give "
                "them other words: synonyms under [project]"
            )
    missing = [name for name, count in zip(classes, counts, strict=True) if not count]
    if missing:
        remarks.append(f"by the names no image is {' or '.join(missing[:5])}")
    return tuple(remarks)
