"""A torch model as encoder: images are resized as the model expects and encoded in batches.

On a GPU the forward pass runs in bfloat16 with channels last; on a CPU in float32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loop.encoders.base import Encoder

if TYPE_CHECKING:
    import torch

LARGEST = 20_000_000
"""Pixels of a resized image that is cropped afterwards; of a picture 3 pixels high and 30,000 wide
it would have 200 times as many."""
Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class TorchEncoder(Encoder):
    """A torch model that maps (B, 3, S, S) float images to (B, D).

    Attributes:
        name: identifies the model in the digest, besides its weights.
        model: the module; its output is the embedding.
        size: side S of the model's square input, in pixels.
        mean, std: per channel, for pixel values in [0, 1].
        short: length in pixels to which the shorter edge is resized before the centre S x S is
            cropped; None: the whole image is resized to the square instead.
        interpolation: name of a Pillow resampling filter.
    """

    name: str
    model: Any = field(repr=False, compare=False)
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    short: int | None = None
    interpolation: str = "bicubic"
    on_device: ClassVar[bool] = True

    @cached_property
    def digest(self) -> str:  # type: ignore[override]
        """Name, preprocessing and the bytes of all weights."""
        digest = hashlib.blake2b(digest_size=8)
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        preprocessing = f"{self.name}-{self.size}-{self.mean}-{self.std}"
        if self.short is not None or self.interpolation != "bicubic":
            preprocessing += f"-{self.short}-{self.interpolation}"
        digest.update(preprocessing.encode())
        return f"{self.name.replace('/', '_').replace(':', '-')}-{digest.hexdigest()}"

    @cached_property
    def dim(self) -> int:  # type: ignore[override]
        blank = np.zeros((1, self.size, self.size, 3), np.uint8)
        return int(self.forward(blank, "cpu").shape[1])

    def prepare(self, image: Image.Image) -> NDArray[Any]:
        """(S, S, 3) uint8; scaled to floats on the device."""
        if self.short is None:
            return np.asarray(self._resized(image, self.size, self.size))
        shorter_edge = min(image.size)
        factor = self.short / shorter_edge
        edges = [self.short if edge == shorter_edge else int(edge * factor) for edge in image.size]
        width, height = (max(self.size, edge) for edge in edges)
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        box = (left, top, left + self.size, top + self.size)
        if width * height > LARGEST:
            return np.asarray(self._part(image, width, height, box))
        return np.asarray(self._resized(image, width, height).crop(box))

    def forward(self, batch: NDArray[Any], device: str) -> NDArray[np.float32]:
        """(B, S, S, 3) uint8 -> (B, D) float32."""
        import torch

        kind = device.split(":")[0]
        model = self.model.to(device=device, memory_format=torch.channels_last).eval()
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda"):
            normalised = self.normalised(torch.from_numpy(batch).to(device))
            embeddings: NDArray[np.float32] = model(normalised).float().cpu().numpy()
        return embeddings

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        """(B, S, S, 3) uint8 -> (B, 3, S, S) float32 as the model takes it, channels last."""
        import torch

        pixels = images.permute(0, 3, 1, 2).float().div_(255)
        mean = torch.tensor(self.mean, device=images.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, 3, 1, 1)
        return ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)

    def _part(self, image: Image.Image, width: int, height: int, box: Box) -> Image.Image:
        """What ``box`` would cut out of the image resized, without the rest of it."""
        across, down = image.width / width, image.height / height
        source = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
        filter_ = Image.Resampling[self.interpolation.upper()]
        return image.resize((self.size, self.size), filter_, box=source)

    def _resized(self, image: Image.Image, width: int, height: int) -> Image.Image:
        if image.size == (width, height):
            return image
        return image.resize((width, height), Image.Resampling[self.interpolation.upper()])


def triple(values: Iterable[Any]) -> tuple[float, float, float]:
    """Values of the three channels, from three numbers or from one for all channels.

    Raises:
        ValueError: neither one nor three numbers.
    """
    numbers = [float(value) for value in values]
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3:
        raise ValueError(f"one or three numbers wanted, got {len(numbers)}")
    return numbers[0], numbers[1], numbers[2]
