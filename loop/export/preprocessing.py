"""What has to happen to an image before the ONNX graph of a model takes it: Pillow's part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from loop.encoders.base import Encoder
from loop.encoders.network import TorchEncoder
from loop.encoders.pixels import Pixels
from loop.train.network import TrainedNetwork

DECODING = (
    "the first frame of a PNG, JPEG, WebP, BMP, GIF or TIFF file",
    "turned upright by its EXIF orientation; a damaged EXIF block is ignored",
    "16- and 32-bit grey values and floats are clipped to 0..white and scaled to 8 bits; white is "
    "65535 for 16-bit files or where a value is above 255, 1 for floats of at most 1, else 255",
    "transparency (an alpha channel or a transparent colour) is laid over white",
    "then 8-bit RGB, converted as Pillow's Image.convert does (palettes, grey, CMYK)",
)
RESIZING = (
    "'inside' is done by the graph: x -> (x * rescale - mean) / std, channels first",
    "where 'mode' is L the RGB image is converted to grey (Pillow's convert) before it is resized",
    "where 'shorter_edge' is null the whole image is resized to 'size' x 'size'",
    "else its shorter edge is resized to 'shorter_edge', the other to int(edge * shorter_edge / "
    "shorter), no edge under 'size', and the centre 'size' x 'size' is cropped from "
    "round((width - size) / 2), round((height - size) / 2), halves to the even number",
    "by Pillow's Image.resize with the filter 'resample', which smooths where it shrinks",
)


@dataclass(frozen=True)
class Preprocessing:
    """From an upright 8-bit RGB image to a row of one input of the graph, (S, S, channels) uint8.

    Attributes:
        name: of the input.
        mode: RGB, or L for grey.
        size: side S of the square.
        shorter_edge: see ``TorchEncoder.short``.
        resample: name of a Pillow resampling filter.
        mean, std: per channel, for values in [0, 1]; applied inside the graph.
    """

    name: str
    mode: str
    size: int
    shorter_edge: int | None
    resample: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a row."""
        return self.size, self.size, 1 if self.mode == "L" else 3

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dtype": "uint8",
            "shape": ["batch", *self.shape],
            "mode": self.mode,
            "size": self.size,
            "shorter_edge": self.shorter_edge,
            "resample": self.resample,
            "inside": {"rescale": 1 / 255, "mean": self.mean, "std": self.std},
        }


def of_encoder(encoder: Encoder, name: str) -> Preprocessing | None:
    """What ``encoder.prepare`` does; None for an encoder that is not known here."""
    if isinstance(encoder, TorchEncoder):
        return Preprocessing(
            name=name,
            mode="RGB",
            size=encoder.size,
            shorter_edge=encoder.short,
            resample=encoder.interpolation,
            mean=encoder.mean,
            std=encoder.std,
        )
    if isinstance(encoder, Pixels):
        return Preprocessing(name, "L", encoder.side, None, "box", (0.0,), (1.0,))
    return None


def of_network(network: TrainedNetwork, name: str) -> Preprocessing:
    """What ``loop.images.squares`` and, inside, ``backbone.normalise`` do."""
    return Preprocessing(name, "RGB", network.side, None, "bicubic", network.mean, network.std)
