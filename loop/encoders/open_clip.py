"""CLIP-like models ``open_clip:<model>:<tag or checkpoint>``; zero-shot class probabilities too.

The embedding is the image tower's output before normalisation. Weights are a tag that open_clip
knows (``laion2b_s34b_b79k``) or a file. Preprocessing comes from open_clip's own configuration of
model and tag.

Source of zero-shot classification: Radford et al. 2021 (arXiv:2103.00020), section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loop.encoders.class_names import PLACE
from loop.encoders.network import TorchEncoder, triple
from loop.encoders.timm import hub_asked_once
from loop.errors import ConfigError, nearest
from loop.files import expanded

TEMPLATES = ("a photo of a {}.", "a close-up photo of a {}.", "a picture of the {}.")


@dataclass(frozen=True)
class ClipEncoder(TorchEncoder):
    """A CLIP model: ``model`` is its image tower, ``towers`` the whole with the text tower.

    Attributes:
        towers: open_clip's model of both towers.
        tokenizer: prompts -> (P, L) int64 tokens.
    """

    towers: Any = field(default=None, repr=False, compare=False)
    tokenizer: Any = field(default=None, repr=False, compare=False)

    def class_texts(
        self, words: Sequence[Sequence[str]], templates: Sequence[str] = TEMPLATES
    ) -> tuple[NDArray[np.float64], float]:
        """(C, D) unit rows, and the model's logit scale.

        A class is the mean of its prompts' normalised embeddings, over templates and the words
        that mean it.

        Args:
            words: of each class, at least one.
            templates: with ``{}`` in the place of the words.
        """
        import torch

        towers = self.towers.to("cpu").eval()
        rows = []
        with torch.inference_mode():
            scale = float(towers.logit_scale.exp())
            for of_class in words:
                prompts = [t.replace(PLACE, word) for word in of_class for t in templates]
                text = towers.encode_text(self.tokenizer(prompts), normalize=True)
                rows.append(text.double().numpy().mean(axis=0))
        classes = np.stack(rows)
        classes /= np.linalg.norm(classes, axis=1, keepdims=True)
        return classes, scale


def make(options: str) -> ClipEncoder:
    """The encoder of ``open_clip:MODEL:TAG_OR_FILE``.

    Raises:
        ConfigError: unknown model, or weights that are missing or do not fit.
    """
    import open_clip

    name, _, weights = options.partition(":")
    known = open_clip.list_models()
    if name not in known:
        raise ConfigError(
            f"open_clip has no model {name!r}{nearest(name, known)}; open_clip.list_models() "
            "lists all"
        )
    towers = _create(name, weights)
    preprocessing = open_clip.get_model_preprocess_cfg(towers)
    size = preprocessing["size"]
    size = size if isinstance(size, int) else size[-1]
    return ClipEncoder(
        name=f"open_clip:{name}",
        model=towers.visual,
        size=size,
        mean=triple(preprocessing["mean"]),
        std=triple(preprocessing["std"]),
        short=None if preprocessing.get("resize_mode") == "squash" else size,
        interpolation=preprocessing.get("interpolation", "bicubic"),
        towers=towers,
        tokenizer=open_clip.get_tokenizer(name),
    )


def _create(name: str, weights: str) -> Any:
    """open_clip's model with the weights of a tag or a file.

    Raises:
        ConfigError: the weights are missing or do not fit.
    """
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(name)
    if not weights:
        raise ConfigError(
            f"open_clip:{name} needs weights: open_clip:{name}:<tag or file>; tags: "
            f"{', '.join(tags) or 'none'}"
        )
    file, reachable = expanded(weights), True
    try:
        if weights in tags:
            with hub_asked_once() as reachable:
                return open_clip.create_model(name, pretrained=weights)
        if not file.is_file():
            raise FileNotFoundError(weights)
        return open_clip.create_model(name, pretrained=str(file))
    except Exception as error:  # hub, file and shape errors of many kinds; all mean "no weights"
        raise ConfigError(_explain(name, weights, tags, error, reachable)) from None


def _explain(
    name: str, weights: str, tags: Sequence[str], error: Exception, reachable: bool
) -> str:
    """Why there are no usable weights."""
    example = f"open_clip:{name}:/path/to/open_clip_model.safetensors"
    if not reachable:
        return (
            f"the weights {weights!r} of open_clip:{name} are not on this machine, and there is no "
            f"network to fetch them from; name a file of them: {example}"
        )
    known = weights in tags
    hint = "" if known else nearest(weights, tags)
    return (
        f"no usable weights {weights!r}{hint} for open_clip:{name} ({type(error).__name__}: "
        f"{str(error)[:200]}); put them at {f'a file, e.g. {example}' if known else weights}"
    )
