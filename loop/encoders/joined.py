"""Several encoders concatenated: the columns of each, in the order given (as in ZCore).

Where they weigh, each image's columns of a part have length 1 times its weight, so that no part
counts for more because its numbers are larger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loop.encoders.base import Encoder
from loop.encoders.prior import GivenPrior


@dataclass(frozen=True)
class Joined(Encoder):
    """Prepares each image once per part; a batch is a (B, parts) object array of their rows.

    Attributes:
        weights: of each part; empty: columns are left as they come.
    """

    parts: tuple[Encoder, ...]
    weights: tuple[float, ...] = ()

    @property
    def digest(self) -> str:
        if not self.weights:
            return "+".join(part.digest for part in self.parts)
        weighed = zip(self.weights, self.parts, strict=True)
        return "+".join(f"{weight!r}x{part.digest}" for weight, part in weighed)

    @property
    def lengths(self) -> tuple[float | None, ...]:
        """Of each part's columns of an image; None: as they come, as probabilities always do."""
        if not self.weights:
            return (None,) * len(self.parts)
        weighed = zip(self.weights, self.parts, strict=True)
        return tuple(None if isinstance(p, GivenPrior) else weight for weight, p in weighed)

    @property
    def dim(self) -> int:
        return sum(part.dim for part in self.parts)

    @property
    def looks(self) -> bool:  # type: ignore[override]
        return any(part.looks for part in self.parts)

    @property
    def on_device(self) -> bool:  # type: ignore[override]
        return any(part.on_device for part in self.parts)

    def prepare(self, image: Image.Image) -> NDArray[Any]:
        return self._each(lambda part: part.prepare(image))

    def take(self, image: Image.Image | None, key: str, uri: str) -> NDArray[Any]:
        return self._each(lambda part: part.take(image, key, uri))

    def forward(self, batch: NDArray[Any], device: str) -> NDArray[np.float32]:
        columns = []
        for i, part in enumerate(self.parts):
            part_batch = np.stack(list(batch[:, i]))
            columns.append(part.forward(part_batch, device))
        return self.columns(columns)

    def columns(self, by_part: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """(B, D) float32 of the (B, D of the part) embeddings of each part."""
        from loop.geometry import unit

        columns = []
        for length, embedded in zip(self.lengths, by_part, strict=True):
            if length is None:
                columns.append(embedded)
            else:
                columns.append(np.float32(length) * unit(np.array(embedded, dtype=np.float32)))
        return np.concatenate(columns, axis=1)

    def _each(self, prepare: Callable[[Encoder], NDArray[Any]]) -> NDArray[Any]:
        """(parts,) object array of what each part makes of one image."""
        rows = np.empty(len(self.parts), dtype=object)
        for i, part in enumerate(self.parts):
            rows[i] = prepare(part)
        return rows
