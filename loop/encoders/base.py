"""The encoder contract: images -> embeddings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image


class Encoder(ABC):
    """Images -> embeddings. Subclasses are frozen dataclasses.

    Class attributes:
        looks: False if embeddings are looked up by name, so that no image is read.
        on_device: whether ``forward`` uses a torch device.
    """

    looks: ClassVar[bool] = True
    on_device: ClassVar[bool] = False

    @property
    @abstractmethod
    def digest(self) -> str:
        """Identifies model, weights and preprocessing: equal digest, equal embeddings."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Embedding dimensions, D."""

    @abstractmethod
    def prepare(self, image: Image.Image) -> NDArray[Any]:
        """One RGB image as a row of the batch that ``forward`` takes."""

    def take(self, image: Image.Image | None, key: str, uri: str) -> NDArray[Any]:
        """The row of one named image; ``image`` is None unless the encoder ``looks``."""
        assert image is not None
        return self.prepare(image)

    @abstractmethod
    def forward(self, batch: NDArray[Any], device: str) -> NDArray[np.float32]:
        """(B, ...) prepared images -> (B, D) float32."""
