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
        "prior": "loop.encoders.prior:make",
    },
)

FORMS: dict[str, str] = {
    "pixels": "pixels[:SIDE]: grey values, no model needed",
    "timm": "timm:MODEL[:CHECKPOINT][?size=&mean=&std=&classes=&pad=]",
    "torchvision": "torchvision:MODEL[:WEIGHTS]: a name such as IMAGENET1K_V2, or a file",
    "open_clip": "open_clip:MODEL:TAG_OR_FILE: CLIP, also zero-shot class probabilities",
    "file": "file:ARRAY.npy: your own, names of rows in ARRAY.keys",
    "prior": "prior:FILE.npz, joined to another: your own zero-shot probabilities",
}
"""How the spec of each encoder is written."""
OPTIONS: dict[str, str] = {
    "size": "side in pixels to which the image is resized: ?size=128",
    "fit": "crop (the centre is cut out) or square (the whole image, squeezed)",
    "mean, std": "of pixel values in [0, 1], one number or three: ?mean=0.5&std=0.2,0.2,0.3",
    "classes": "outputs of the checkpoint's own classifier, where it is no ImageNet: ?classes=10",
    "pad": "padding of convolutions, where a checkpoint was trained with another: ?pad=same",
}
"""Options of timm's encoders, for checkpoints that were trained otherwise than timm's own."""
EXAMPLES: dict[str, str] = {
    "pixels:16": "digits, icons, drawings; no weights",
    "timm:vit_small_patch14_dinov2.lvd142m": "photographs: weights are fetched once",
    "timm:resnet50:/models/own.pth?size=128&classes=10": "your own checkpoint",
    "pixels:8+file:clip.npy": "two encoders, joined: their columns as they come",
    "1*file:dino.npy+0.5*file:clip.npy": "joined by weight: each has this length",
    "file:clip.npy+prior:zero_shot.npz": "embeddings and class probabilities of your own CLIP",
}


def check(spec: str) -> None:
    """Looks at the names in ``spec``, and its weights, without loading a model.

    Raises:
        ConfigError: no encoder has this name, or a weight is no positive number.
    """
    specs.weights(spec)
    for part in specs.parts(spec):
        REGISTRY.check(part.partition(":")[0])


def get(spec: str) -> Encoder:
    """The encoder of a spec such as ``pixels:16``; several joined by ``+`` are concatenated, and
    weighed where numbers stand before ``*``.

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

    return Joined(tuple(parts), specs.weights(spec))
