"""Encoders by name: images -> (N, D) float32. Importing this package imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loop.encoders import spec as specs
from loop.registry import Registry

if TYPE_CHECKING:
    from loop.encoders.base import Encoder

REGISTRY = Registry(
    noun="encoder",
    command="coreloop encoders",
    built_in={
        "pixels": "loop.encoders.pixels:make",
        "timm": "loop.encoders.timm:make",
        "torchvision": "loop.encoders.torchvision:make",
        "open_clip": "loop.encoders.open_clip:make",
        "file": "loop.encoders.file:make",
    },
)

FORMS: dict[str, str] = {
    "pixels": "pixels[:SIDE]: grey values, no model needed",
    "timm": "timm:MODEL[:CHECKPOINT][?size=&mean=&std=&classes=&pad=]",
    "torchvision": "torchvision:MODEL[:WEIGHTS]: a name such as IMAGENET1K_V2, or a file",
    "open_clip": "open_clip:MODEL:TAG_OR_FILE: CLIP, also zero-shot class probabilities",
    "file": "file:ARRAY.npy: your own, names of rows in ARRAY.keys",
}
"""How the spec of each encoder is written."""


def check(spec: str) -> None:
    """Looks at the names in ``spec`` without loading a model.

    Raises:
        ConfigError: no encoder has this name.
    """
    for part in specs.parts(spec):
        REGISTRY.check(part.partition(":")[0])


def get(spec: str) -> Encoder:
    """The encoder of a spec such as ``pixels:16``; several joined by ``+`` are concatenated.

    Raises:
        ConfigError: unknown name, wrong option, or weights that are not there.
    """
    check(spec)
    parts: list[Encoder] = []
    for part in specs.parts(spec):
        kind, _, options = part.partition(":")
        parts.append(REGISTRY.load(kind)(options))
    if len(parts) == 1:
        return parts[0]
    from loop.encoders.joined import Joined

    return Joined(tuple(parts))
