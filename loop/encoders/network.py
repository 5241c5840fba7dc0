"""A torch model as encoder: pictures are resized as the model expects and sent through in batches.

On a GPU the forward pass runs in bfloat16 with channels last; on a CPU in float32.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loop.encoders.base import Encoder


@dataclass(frozen=True)
class TorchEncoder(Encoder):
    """A torch model that maps (B, 3, S, S) float images to (B, D).

    Attributes:
        name: what the digest names besides the weights.
        model: the module; its output is the embedding.
        size: side S of the square that the model takes.
        mean, std: per channel, for pixel values in [0, 1].
        short: length that the shorter edge is resized to before the S x S centre is cut out;
            None squeezes the whole picture into the square instead.
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
        state = hashlib.blake2b(digest_size=8)
        for name, tensor in sorted(self.model.state_dict().items()):
            state.update(name.encode())
            state.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        text = f"{self.name}-{self.size}-{self.mean}-{self.std}"
        if self.short is not None or self.interpolation != "bicubic":
            text += f"-{self.short}-{self.interpolation}"
        state.update(text.encode())
        return f"{self.name.replace('/', '_').replace(':', '-')}-{state.hexdigest()}"

    @cached_property
    def dim(self) -> int:  # type: ignore[override]
        return int(self.forward(np.zeros((1, self.size, self.size, 3), np.uint8), "cpu").shape[1])

    def prepare(self, image: Image.Image) -> NDArray[Any]:
        """(S, S, 3) uint8; scaled to floats on the device."""
        how = Image.Resampling[self.interpolation.upper()]
        size = (self.size, self.size)
        if self.short is None:
            return np.asarray(image if image.size == size else image.resize(size, how))
        factor = self.short / min(image.size)
        short = min(image.size)
        width, height = (
            max(self.size, self.short if edge == short else int(edge * factor))
            for edge in image.size
        )
        if image.size != (width, height):
            image = image.resize((width, height), how)
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        return np.asarray(image.crop((left, top, left + self.size, top + self.size)))

    def forward(self, batch: NDArray[Any], device: str) -> NDArray[np.float32]:
        import torch

        kind = device.split(":")[0]
        model = self.model.to(device=device, memory_format=torch.channels_last).eval()
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda"):
            x = torch.from_numpy(batch).to(device).permute(0, 3, 1, 2).float().div_(255)
            mean = torch.tensor(self.mean, device=device).view(1, 3, 1, 1)
            std = torch.tensor(self.std, device=device).view(1, 3, 1, 1)
            x = ((x - mean) / std).contiguous(memory_format=torch.channels_last)
            out: NDArray[np.float32] = model(x).float().cpu().numpy()
        return out


def triple(values: Any) -> tuple[float, float, float]:
    """Three channel values from three, or from one that holds for all channels."""
    found = [float(v) for v in values]
    found = found * 3 if len(found) == 1 else found
    if len(found) != 3:
        raise ValueError(f"one or three numbers wanted, got {len(found)}")
    return found[0], found[1], found[2]
