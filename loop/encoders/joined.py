"""Several encoders concatenated: the columns of each, in the order given (as in ZCore)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loop.encoders.base import Encoder


@dataclass(frozen=True)
class Joined(Encoder):
    """Prepares each image once per part; a batch is a (B, parts) object array of their rows."""

    parts: tuple[Encoder, ...]

    @property
    def digest(self) -> str:
        return "+".join(part.digest for part in self.parts)

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
        return np.concatenate(columns, axis=1)

    def _each(self, prepare: Callable[[Encoder], NDArray[Any]]) -> NDArray[Any]:
        """(parts,) object array of what each part makes of one image."""
        rows = np.empty(len(self.parts), dtype=object)
        for i, part in enumerate(self.parts):
            rows[i] = prepare(part)
        return rows
