"""Encoders to take, with what they cost here: dimensions, size, licence, images a second."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

BATCH, SECONDS = 2, 1.0
"""Images at once, and how long the rate is measured for at least."""


@dataclass(frozen=True)
class Recommended:
    """An encoder for photographs.

    Attributes:
        encoder: as ``encoder`` in ``coreloop.toml``.
        suits: what it is good for.
        licence: of its weights, as their publisher has it; empty: timm's configuration says.
    """

    encoder: str
    suits: str
    licence: str = ""


RECOMMENDED = (
    Recommended("timm:vit_small_patch14_dinov2.lvd142m", "photographs; the first to try"),
    Recommended("open_clip:ViT-B-32:laion2b_s34b_b79k", "class names (CLIP), quick", "mit"),
    Recommended("open_clip:ViT-B-16-SigLIP:webli", "class names (SigLIP)", "apache-2.0"),
    Recommended("timm:tf_efficientnet_lite2.in1k", "a CPU, or many images"),
)


@dataclass(frozen=True)
class EncoderFacts:
    """What an encoder takes on this machine.

    Attributes:
        dim: of its embeddings.
        megabytes: of weights, float32; of a CLIP the text side too.
        images_per_second: of the bare forward pass; the weights are random, which does not matter.
    """

    encoder: str
    suits: str
    dim: int
    side: int
    megabytes: float
    licence: str
    images_per_second: float

    def in_words(self) -> str:
        """``384 dimensions, 88 MB of weights, licence apache-2.0, 12 images a second here``."""
        return (
            f"{self.dim} dimensions, {self.megabytes:.0f} MB of weights, licence {self.licence}, "
            f"{self.images_per_second:.3g} images a second here"
        )


def measure(recommended: Recommended, device: str = "cpu") -> EncoderFacts:
    """Builds the model with random weights, nothing being fetched, and times it."""
    kind, _, rest = recommended.encoder.partition(":")
    name = rest.partition(":")[0]
    model, side, licence, count = _of_clip(name) if kind == "open_clip" else _of_timm(name)
    dim, rate = _rate(model, side, device)
    return EncoderFacts(
        encoder=recommended.encoder,
        suits=recommended.suits,
        dim=dim,
        side=side,
        megabytes=4 * count / 1e6,
        licence=recommended.licence or licence,
        images_per_second=rate,
    )


def _of_timm(name: str) -> tuple[Any, int, str, int]:
    """Model, side of its input, licence, number of weights."""
    import timm

    model = timm.create_model(name, pretrained=False, num_classes=0)
    config = timm.models.get_pretrained_cfg(name) or timm.models.PretrainedCfg()
    side = int(timm.data.resolve_model_data_config(model)["input_size"][-1])
    return model, side, str(config.license or "not stated"), _weights(model)


def _of_clip(name: str) -> tuple[Any, int, str, int]:
    import open_clip

    logging.disable(logging.WARNING)  # that the weights are random
    try:
        towers = open_clip.create_model(name, pretrained=None)
    finally:
        logging.disable(logging.NOTSET)
    size = open_clip.get_model_preprocess_cfg(towers)["size"]
    side = size if isinstance(size, int) else size[-1]
    return towers.visual, int(side), "not stated", _weights(towers)


def _weights(model: Any) -> int:
    return sum(weight.numel() for weight in model.parameters())


def _rate(model: Any, side: int, device: str) -> tuple[int, float]:
    """Dimensions, and images a second."""
    from loop.encoders.network import TorchEncoder

    half = (0.5, 0.5, 0.5)
    encoder = TorchEncoder("rate", model, side, half, half)
    batch = np.zeros((BATCH, side, side, 3), np.uint8)
    began = time.perf_counter()
    dim = encoder.forward(batch, device).shape[1]  # the first pass warms up
    first = time.perf_counter() - began
    if first > SECONDS:
        return dim, BATCH / first
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        encoder.forward(batch, device)
        done += BATCH
    return dim, done / (time.perf_counter() - began)
