"""What every encoder is: images -> embeddings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image


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
