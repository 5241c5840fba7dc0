"""Pixels as embedding, without a model. Suits digits and other simple pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loop.encoders.base import Encoder
from loop.errors import ConfigError


@dataclass(frozen=True)
class Pixels(Encoder):
    """Grey values in [0, 1] of the image resized (box filter) to ``side`` x ``side``."""

    side: int = 16

    @property
    def digest(self) -> str:
        return f"pixels-{self.side}"

    @property
    def dim(self) -> int:
        return self.side * self.side

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        resized = image.convert("L").resize((self.side, self.side), Image.Resampling.BOX)
        return np.asarray(resized, dtype=np.float32).reshape(-1) / np.float32(255)

    def forward(self, batch: NDArray[np.float32], device: str) -> NDArray[np.float32]:
        return batch


def make(options: str) -> Pixels:
    """The encoder of ``pixels`` or ``pixels:SIDE``.

    Raises:
        ConfigError: SIDE is not a whole number from 1 to 512.
    """
    if not options:
        return Pixels()
    if not options.isdigit() or not 1 <= int(options) <= 512:
        raise ConfigError(f"pixels:{options}: the side must be a whole number from 1 to 512")
    return Pixels(int(options))
