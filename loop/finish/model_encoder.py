"""A kept model as an encoder, so that images are predicted as they are embedded: shard by shard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loop.encoders.base import Encoder
from loop.train.kept import KeptModel


@dataclass(frozen=True)
class ModelEncoder(Encoder):
    """Images -> (B, C) probabilities.

    Attributes:
        model: whose classifier takes what ``encoder`` gives.
        encoder: None for a network, which takes the images themselves.
        name: tells the model apart from others.
    """

    model: KeptModel
    encoder: Encoder | None
    name: str

    @property
    def looks(self) -> bool:  # type: ignore[override]
        return self.encoder is None or self.encoder.looks

    @property
    def on_device(self) -> bool:  # type: ignore[override]
        return self.encoder is None or self.encoder.on_device

    @property
    def digest(self) -> str:
        return self.name

    @property
    def dim(self) -> int:
        return len(self.model.about.classes)

    def prepare(self, image: Image.Image) -> NDArray[Any]:
        """(side, side, 3) uint8, as the network learned them; or as the encoder takes it."""
        if self.encoder is not None:
            return self.encoder.prepare(image)
        side = int(self.model.classifier.settings()["side"])
        if image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.BICUBIC)
        return np.asarray(image)

    def take(self, image: Image.Image | None, key: str, uri: str) -> NDArray[Any]:
        """Looked up by name where the encoder does."""
        if self.encoder is not None:
            return self.encoder.take(image, key, uri)
        return super().take(image, key, uri)

    def forward(self, batch: NDArray[Any], device: str) -> NDArray[np.float32]:
        """(B, ...) prepared images -> (B, C) float32, calibrated."""
        if self.encoder is not None:
            batch = self.encoder.forward(batch, device)
        return self.model.probabilities(batch, device).astype(np.float32)
