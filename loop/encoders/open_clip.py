"""CLIP-like models ``open_clip:<model>:<tag or checkpoint>``; zero-shot class probabilities too.

The embedding is the image tower's output before normalisation. Weights are a tag that open_clip
knows (``laion2b_s34b_b79k``) or a file. Preprocessing comes from open_clip's own configuration of
model and tag.

Source of zero-shot classification: Radford et al. 2021 (arXiv:2103.00020), section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loop.encoders.network import TorchEncoder, triple
from loop.errors import ConfigError, DataError, nearest

TEMPLATES = ("a photo of a {}.", "a close-up photo of a {}.", "a picture of the {}.")


@dataclass(frozen=True)
class ClipEncoder(TorchEncoder):
    """An image tower with the text tower beside it.

    Attributes:
        whole: open_clip's model of both towers.
        tokenizer: prompts -> (P, L) int64 tokens.
    """

    whole: Any = field(default=None, repr=False, compare=False)
    tokenizer: Any = field(default=None, repr=False, compare=False)

    @cached_property
    def dim(self) -> int:  # type: ignore[override]
        return int(self.forward(np.zeros((1, self.size, self.size, 3), np.uint8), "cpu").shape[1])

    def probabilities(
        self,
        embeddings: NDArray[np.float32],
        class_names: Sequence[str],
        templates: Sequence[str] = TEMPLATES,
    ) -> NDArray[np.float64]:
        """(N, D) embeddings of this encoder -> (N, C) probabilities; rows sum to 1.

        Each class is the mean of its prompts' normalised embeddings; the logits are cosines times
        the model's own temperature.

        Raises:
            DataError: no class, or embeddings of another width.
        """
        import torch
        from scipy.special import softmax

        if not class_names:
            raise DataError("zero-shot probabilities need class names; set classes under [project]")
        if embeddings.ndim != 2 or embeddings.shape[1] != self.dim:
            raise DataError(
                f"embeddings of shape {embeddings.shape} are not of {self.name} (N, {self.dim})"
            )
        prompts = [
            t.format(name.replace("_", " ").replace("-", " "))
            for name in class_names
            for t in templates
        ]
        whole = self.whole.to("cpu").eval()
        with torch.inference_mode():
            text = whole.encode_text(self.tokenizer(prompts), normalize=True).double().numpy()
            scale = float(whole.logit_scale.exp())
        text = text.reshape(len(class_names), len(templates), -1).mean(axis=1)
        text /= np.linalg.norm(text, axis=1, keepdims=True)
        images = embeddings.astype(np.float64)
        images /= np.maximum(np.linalg.norm(images, axis=1, keepdims=True), 1e-12)
        return softmax(scale * images @ text.T, axis=1)  # type: ignore[no-any-return]


def make(options: str) -> ClipEncoder:
    """Raises ConfigError: unknown model or tag, or weights that are not there."""
    import open_clip

    name, _, weights = options.partition(":")
    known = open_clip.list_models()
    if name not in known:
        raise ConfigError(
            f"open_clip has no model {name!r}{nearest(name, known)}; open_clip.list_models() "
            "lists all"
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not weights:
        raise ConfigError(
            f"open_clip:{name} needs weights: open_clip:{name}:<tag or file>; tags: "
            f"{', '.join(tags) or 'none'}"
        )
    place = Path(weights).expanduser()
    try:
        if weights not in tags and not place.is_file():
            raise FileNotFoundError(weights)
        whole = open_clip.create_model(name, pretrained=weights if weights in tags else str(place))
    except Exception as error:  # hub, file and shape errors of many kinds; all mean "no weights"
        where = (
            weights
            if weights not in tags
            else (f"a file, e.g. open_clip:{name}:/path/to/open_clip_model.safetensors")
        )
        raise ConfigError(
            f"no usable weights {weights!r}{nearest(weights, tags)} for open_clip:{name} "
            f"({type(error).__name__}: {str(error)[:200]}); put them at {where}"
        ) from None
    how = open_clip.get_model_preprocess_cfg(whole)
    size = how["size"] if isinstance(how["size"], int) else how["size"][-1]
    return ClipEncoder(
        name=f"open_clip:{name}",
        model=whole.visual,
        size=size,
        mean=triple(how["mean"]),
        std=triple(how["std"]),
        short=None if how.get("resize_mode") == "squash" else size,
        interpolation=how.get("interpolation", "bicubic"),
        whole=whole,
        tokenizer=open_clip.get_tokenizer(name),
    )
