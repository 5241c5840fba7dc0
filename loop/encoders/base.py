"""What every encoder is, and how a pool is encoded through shards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SHARD = 2048
"""Rows per shard: what a killed run computes again at most."""


class Encoder(ABC):
    """Images -> embeddings. Subclasses are frozen dataclasses.

    Class attributes:
        looks: False if embeddings are known by name, so that no picture need be read.
        on_device: ``forward`` uses a torch device.
    """

    looks: ClassVar[bool] = True
    on_device: ClassVar[bool] = False

    @property
    @abstractmethod
    def digest(self) -> str:
        """Names model, weights and preprocessing: equal digest, equal embeddings."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Embedding dimensions, D."""

    @abstractmethod
    def prepare(self, image: Image.Image) -> NDArray[Any]:
        """One RGB image as the array that ``forward`` takes (a row of its batch)."""

    def take(self, image: Image.Image | None, key: str, uri: str) -> NDArray[Any]:
        """The input of one named image; ``image`` is None unless the encoder ``looks``."""
        assert image is not None
        return self.prepare(image)

    @abstractmethod
    def forward(self, batch: NDArray[Any], device: str) -> NDArray[np.float32]:
        """(B, ...) prepared images -> (B, D) float32."""


def shards(count: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of each shard."""
    for start in range(0, count, SHARD):
        yield start, min(start + SHARD, count)


def join(parts: Sequence[Path], shape: tuple[int, int], out: Path) -> None:
    """Copies shards into one ``.npy`` file that appears whole under its name."""
    draft = out.with_suffix(".draft.npy")
    whole = np.lib.format.open_memmap(draft, mode="w+", dtype=np.float32, shape=shape)
    row = 0
    for part in parts:
        block = np.load(part, mmap_mode="r", allow_pickle=False)
        whole[row : row + len(block)] = block
        row += len(block)
    whole.flush()
    del whole
    draft.replace(out)
