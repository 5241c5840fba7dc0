"""Fine-tuning of a pretrained network: the head first, then low-rank adapters beside it.

The head is what ``linear`` finds on the frozen network's embeddings of the labelled images. It
stays while adapters, matrices of low rank beside weights that stay as well, learn from flipped and
shifted images. At last the adapters are added to the weights, so that the model is an ordinary
network, which predicts and is exported without peft.

Sources: Hu et al. 2021 (arXiv:2106.09685), by the package peft; the head first: Kumar et al. 2022
(arXiv:2202.10054).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.errors import ConfigError
from loop.train.backbone import build, last_layer, outputs
from loop.train.descent import Descent, Recipe
from loop.train.linear import Linear
from loop.train.network import ImageTrainer, TrainedNetwork
from loop.train.replicas import Arrays, Replica

if TYPE_CHECKING:
    import torch

    from loop.encoders.network import TorchEncoder

KINDS = ("timm", "torchvision")
"""Encoders that can be fine-tuned."""
RANK = 8
EPOCHS = 10
BATCH = 32
LEARNING_RATE = 3e-3
WARM_UP = 0.2
LABEL_SMOOTHING = 0.1
WEIGHT_DECAY = 0.0
LEAST_DEVIATION = 0.1
"""Standard deviation that a dimension of the embeddings has at least, in means of all."""
SHIFT = 1 / 8
"""Share of the side that augmentation shifts by, at most: 4 of CIFAR-10's 32 pixels."""
ADAPTED = 0.5
"""Share of the layers that get adapters, the last ones."""


@dataclass(frozen=True)
class Lora(ImageTrainer):
    """Fine-tunes an encoder with adapters of low rank.

    Attributes:
        model: as an encoder is written: ``timm:NAME[:CHECKPOINT][?size=&mean=&std=&classes=&pad=]``
            or ``torchvision:NAME[:WEIGHTS]``. Images are squares of the encoder's size.
        rank: of the adapters.
        epochs, batch, learning_rate: in place of those above where not 0.
    """

    model: str = ""
    rank: int = RANK
    epochs: int = 0
    batch: int = 0
    learning_rate: float = 0.0
    takes_less_memory: ClassVar[str] = "name a smaller ?size= behind the model"

    def __post_init__(self) -> None:
        from loop import encoders

        kind, _, name = self.model.partition(":")
        if not name:
            raise ValueError("it is written lora:timm:MODEL, as an encoder with 'lora:' before it")
        encoders.check(self.model)
        if kind not in KINDS or len(encoders.specs.parts(self.model)) > 1:
            raise ValueError(
                f"{self.model!r} cannot be fine-tuned; one model of {' or '.join(KINDS)} can (of "
                "CLIP timm has the image towers: lora:timm:vit_base_patch32_clip_224.openai)"
            )
        if self.rank < 1:
            raise ValueError(f"rank must be at least 1, got {self.rank}")
        for setting in ("epochs", "batch", "learning_rate"):
            if getattr(self, setting) < 0:
                raise ValueError(f"{setting} must be above 0, got {getattr(self, setting)}")
        if find_spec("peft") is None:
            raise ConfigError("trainer 'lora' needs: pip install 'coreloop[lora]'")

    @property
    def image_side(self) -> int:
        return pretrained(self.model).size

    def recipe(self, n: int, batch: int = 0) -> Recipe:
        batch = min(batch or self.batch or BATCH, n)
        epochs = self.epochs or EPOCHS
        return Recipe(
            epochs=epochs,
            batch=batch,
            learning_rate=self.learning_rate or LEARNING_RATE,
            steps=epochs * -(-n // batch),
            warm_up=WARM_UP,
            label_smoothing=LABEL_SMOOTHING,
            weight_decay=WEIGHT_DECAY,
            optimiser="adamw",
        )

    def descent(
        self,
        recipe: Recipe,
        pixels: NDArray[np.uint8],
        labels: NDArray[np.int64],
        n_classes: int,
        seed: int,
    ) -> Descent:
        encoder = pretrained(self.model)
        return Adaptation(
            recipe=recipe,
            model=self.model,
            checkpoint="",
            pixels=pixels,
            labels=labels,
            n_classes=n_classes,
            seed=seed,
            mean=encoder.mean,
            std=encoder.std,
            shift=int(SHIFT * encoder.size),
            rank=self.rank,
        )

    def network(self, weights: Arrays, n_classes: int) -> TrainedNetwork:
        encoder = pretrained(self.model)
        return TrainedNetwork(
            model=architecture(self.model),
            n_classes=n_classes,
            side=encoder.size,
            six_views=False,
            weights=weights,
            mean=encoder.mean,
            std=encoder.std,
        )

    def settings_noted(self) -> dict[str, object]:
        return {"rank": self.rank}


@lru_cache(maxsize=1)
def pretrained(model: str) -> TorchEncoder:
    """The encoder; its weights are not to be changed.

    Raises:
        ConfigError: unknown model, or weights that are missing or do not fit.
    """
    from loop import encoders
    from loop.encoders.network import TorchEncoder

    encoder = encoders.get(model)
    assert isinstance(encoder, TorchEncoder)
    return encoder


def architecture(model: str) -> str:
    """The encoder's network as ``backbone.build`` takes it, without weights: timm:NAME[?pad=]."""
    from loop.encoders.timm import read_options

    body, _, query = model.partition("?")
    kind, name, *_ = body.split(":")
    padding = read_options(query).get("pad") if kind == "timm" else None
    return f"{kind}:{name}" + (f"?pad={padding}" if padding else "")


@dataclass(frozen=True)
class Adaptation(Descent):
    """A ``Descent`` of adapters alone; head and batch-norm statistics stay as they are.

    Attributes:
        model: spec of the encoder.
        rank: of the adapters.
    """

    rank: int = RANK

    def network(self, replica: Replica) -> torch.nn.Module:
        import torch
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(self.seed)
        net, head_name = self._headless()
        net = net.to(device=replica.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        head = self._head(net, str(replica.device)).to(replica.device)
        # one expression in place of a list, of which peft also takes what ends like a name in it
        targets = "|".join(re.escape(name) for name in adaptable(net, self.rank))
        config = LoraConfig(r=self.rank, lora_alpha=self.rank, target_modules=targets)
        adapted: torch.nn.Module = get_peft_model(net, config)
        net.set_submodule(head_name, head)
        return adapted.eval()

    def kept(self, net: Any) -> dict[str, torch.Tensor]:
        """The weights with their adapters added."""
        state: dict[str, torch.Tensor] = net.merge_and_unload().state_dict()
        return state

    def _headless(self) -> tuple[torch.nn.Module, str]:
        """The pretrained network without its last layer, and where that belongs.

        Raises:
            ConfigError: the model does not end in one linear layer.
        """
        import torch

        name = architecture(self.model)
        net = build(name, self.n_classes)
        of_classes = last_layer(net, name, self.n_classes)
        heads = {weight.rpartition(".")[0] for weight in of_classes}
        if len(heads) != 1 or not isinstance(net.get_submodule(*heads), torch.nn.Linear):
            raise ConfigError(f"{name} does not end in one linear layer, which 'lora' has to learn")
        model = pretrained(self.model).model
        weights = getattr(model, "body", model).state_dict()
        own = net.state_dict().keys() - of_classes
        net.load_state_dict({key: weights[key] for key in own}, strict=False)
        head_name = heads.pop()
        net.set_submodule(head_name, torch.nn.Identity())
        return net, head_name

    def _head(self, net: torch.nn.Module, device: str) -> torch.nn.Module:
        """The linear probe of the labelled images, on embeddings standardised by theirs."""
        import torch

        embeddings = outputs(net, self.pixels, device, self.mean, self.std)
        mean, std = embeddings.mean(axis=0), embeddings.std(axis=0)
        # what is all but constant among few images need not be so among others
        std = np.maximum(std, LEAST_DEVIATION * std.mean()) if std.any() else np.ones_like(std)
        known = self.labels[self.labels >= 0]
        rng = np.random.default_rng(self.seed)
        fitted = Linear().fit((embeddings - mean) / std, known, self.n_classes, rng)
        weights = fitted.weights.T / std
        bias = fitted.bias - fitted.mean @ fitted.weights - weights @ mean
        head = torch.nn.Linear(len(mean), self.n_classes).requires_grad_(False)
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(weights))
            head.bias.copy_(torch.from_numpy(bias))
        return head


def adaptable(net: torch.nn.Module, rank: int) -> list[str]:
    """Names of the layers that get adapters: of the plain linear layers and plain convolutions
    without groups that are wider than the rank and do not see the pixels, the last ``ADAPTED``.

    Layers of other classes are left out: they compute with their weights in ways of their own.

    Raises:
        ConfigError: there is none.
    """
    import torch

    names = []
    for name, module in net.named_modules():
        if type(module) is torch.nn.Conv2d:
            fits = module.groups == 1 and module.in_channels > 3
            widths = module.in_channels, module.out_channels
        elif type(module) is torch.nn.Linear:
            fits, widths = True, (module.in_features, module.out_features)
        else:
            continue
        if fits and min(widths) > rank:
            names.append(name)
    if not names:
        raise ConfigError(
            f"the model has no layer that adapters of rank {rank} fit: plain linear layers, or "
            "convolutions without groups, that are wider; take a lower 'rank' under "
            "[training.params], or another model"
        )
    return names[int(len(names) * (1 - ADAPTED)) :]
