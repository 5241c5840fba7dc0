"""Any timm model, its classifier removed: ``timm:<model>[:<checkpoint>][?size=&mean=&std=]``.

The embedding is what the classifier would have seen (``forward_head(..., pre_logits=True)``). Size,
mean, standard deviation and interpolation come from the model's own pretrained configuration;
options override them for checkpoints that were trained otherwise.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loop.encoders.base import Encoder
from loop.errors import ConfigError

OPTIONS = ("size", "mean", "std", "classes", "pad")


@dataclass(frozen=True)
class TorchEncoder(Encoder):
    """A torch model that maps (B, 3, S, S) float images to (B, D).

    Attributes:
        name: what the digest names besides the weights.
        model: the module; its output is the embedding.
        size: side S of the square that images are resized to (bicubic).
        mean, std: per channel, for pixel values in [0, 1].
    """

    name: str
    model: Any = field(repr=False, compare=False)
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @cached_property
    def digest(self) -> str:  # type: ignore[override]
        """Name, preprocessing and the bytes of all weights."""
        state = hashlib.blake2b(digest_size=8)
        for name, tensor in sorted(self.model.state_dict().items()):
            state.update(name.encode())
            state.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        text = f"{self.name}-{self.size}-{self.mean}-{self.std}"
        state.update(text.encode())
        return f"{self.name.replace('/', '_').replace(':', '-')}-{state.hexdigest()}"

    @cached_property
    def dim(self) -> int:  # type: ignore[override]
        return int(self.forward(np.zeros((1, self.size, self.size, 3), np.uint8), "cpu").shape[1])

    def prepare(self, image: Image.Image) -> NDArray[Any]:
        """(S, S, 3) uint8; scaled to floats on the device."""
        if image.size != (self.size, self.size):
            image = image.resize((self.size, self.size), Image.Resampling.BICUBIC)
        return np.asarray(image)

    def forward(self, batch: NDArray[Any], device: str) -> NDArray[np.float32]:
        import torch

        kind = device.split(":")[0]
        model = self.model.to(device=device, memory_format=torch.channels_last).eval()
        with torch.inference_mode(), torch.autocast(
            kind, torch.bfloat16, enabled=kind == "cuda"
        ):  # fmt: skip
            x = torch.from_numpy(batch).to(device).permute(0, 3, 1, 2).float().div_(255)
            mean = torch.tensor(self.mean, device=device).view(1, 3, 1, 1)
            std = torch.tensor(self.std, device=device).view(1, 3, 1, 1)
            x = ((x - mean) / std).contiguous(memory_format=torch.channels_last)
            out: NDArray[np.float32] = model(x).float().cpu().numpy()
        return out


def make(options: str) -> TorchEncoder:
    """Raises ConfigError: unknown model, option or weights that are not there."""
    import timm
    import torch

    options, _, query = options.partition("?")
    name, _, checkpoint = options.partition(":")
    wanted = read_options(query)
    if name not in timm.list_models():
        raise ConfigError(f"timm has no model {name!r}; see timm.list_models()")
    extra: dict[str, Any] = {}
    if "classes" in wanted:
        extra["num_classes"] = int(wanted["classes"])
    if "pad" in wanted:
        extra["pad_type"] = wanted["pad"]
    try:
        if checkpoint and not Path(checkpoint).expanduser().is_file():
            raise FileNotFoundError(checkpoint)
        model: Any = timm.create_model(
            name, pretrained=not checkpoint,
            checkpoint_path=str(Path(checkpoint).expanduser()) if checkpoint else "", **extra,
        )  # fmt: skip
    except Exception as error:  # hub, file and shape errors of many kinds; all mean "no weights"
        where = checkpoint or "a file, e.g. timm:" + name + ":/path/to/" + name + ".safetensors"
        raise ConfigError(
            f"no usable weights for {name!r} ({type(error).__name__}: {str(error)[:200]}); "
            f"put them at {where}"
        ) from None
    config = timm.data.resolve_model_data_config(model)

    class Embedding(torch.nn.Module):
        """The model up to its classifier."""

        def __init__(self, body: Any) -> None:
            super().__init__()
            self.body = body

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            features = self.body.forward_features(x)
            return self.body.forward_head(features, pre_logits=True)  # type: ignore[no-any-return]

    return TorchEncoder(
        name=f"timm:{name}",
        model=Embedding(model).eval(),
        size=int(wanted.get("size", config["input_size"][-1])),
        mean=_triple(wanted.get("mean"), config["mean"]),
        std=_triple(wanted.get("std"), config["std"]),
    )


def read_options(query: str) -> dict[str, str]:
    """``size=128&mean=0.5`` -> dict. Raises ConfigError for unknown options."""
    from loop.errors import nearest

    values = dict(parse_qsl(query))
    for key in values:
        if key not in OPTIONS:
            raise ConfigError(
                f"unknown encoder option {key!r}{nearest(key, OPTIONS)}; one of {OPTIONS}"
            )
    return values


def _triple(text: str | None, default: Any) -> tuple[float, float, float]:
    values = [float(v) for v in text.split(",")] if text else [float(v) for v in default]
    values = values * 3 if len(values) == 1 else values
    return values[0], values[1], values[2]
