"""Any torchvision classifier without its last layer: ``torchvision:<model>[:<weights>]``.

``<weights>`` is a name that torchvision knows (``IMAGENET1K_V2``) or a file with a state dict; the
default is torchvision's own choice. Preprocessing is that of the named weights; for a file, that of
the model's default weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from loop.encoders.checkpoint import load_into, read_weights, state_dict
from loop.encoders.network import TorchEncoder, triple
from loop.errors import ConfigError, nearest
from loop.files import expanded


def make(options: str) -> TorchEncoder:
    """The encoder of ``torchvision:MODEL[:WEIGHTS]``.

    Raises:
        ConfigError: unknown model, or weights that are missing or do not fit.
    """
    from torchvision import models

    name, _, weights = options.partition(":")
    known = models.list_models(module=models)
    if name not in known:
        raise ConfigError(
            f"torchvision has no classifier {name!r}{nearest(name, known)}; "
            "torchvision.models.list_models() lists all"
        )
    published = models.get_model_weights(name)
    by_name = {entry.name: entry for entry in published}
    by_name |= {"": published.DEFAULT, "DEFAULT": published.DEFAULT}
    entry = by_name.get(weights, published.DEFAULT)
    try:
        whole = models.get_model(name, weights=None)
        state = _from_hub(entry) if weights in by_name else _from_file(weights, whole.state_dict())
        model = _without_last_layer(whole, state)
    except FileNotFoundError as error:
        hint = nearest(weights, by_name)
        raise ConfigError(
            f"no weights for torchvision:{name}{hint}; put them at {error.args[0]}, or name one of "
            f"{', '.join(sorted(filter(None, by_name)))}"
        ) from None
    except ValueError as error:
        raise ConfigError(
            f"cannot use the weights {weights or 'DEFAULT'} for torchvision:{name}: {error}"
        ) from None
    preprocessing = entry.transforms()
    return TorchEncoder(
        name=f"torchvision:{name}",
        model=model,
        size=preprocessing.crop_size[0],
        mean=triple(preprocessing.mean),
        std=triple(preprocessing.std),
        short=preprocessing.resize_size[0],
        interpolation=preprocessing.interpolation.value,
    )


def _from_file(path: str, wanted: Iterable[str]) -> dict[str, Any]:
    """State dict of a file, its names as the model has them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such weights.
    """
    file = expanded(path)
    if not file.is_file():
        raise FileNotFoundError(str(file))
    return state_dict(read_weights(file), wanted)


def _from_hub(weights: Any) -> dict[str, Any]:
    """State dict as torchvision fetches it.

    Raises:
        FileNotFoundError: it cannot be fetched; names the file in torch's cache.
    """
    import torch

    try:
        return weights.get_state_dict(progress=False, check_hash=True)  # type: ignore[no-any-return]
    except OSError:  # urllib's errors are OSErrors
        name = Path(weights.url).name
        raise FileNotFoundError(f"{torch.hub.get_dir()}/checkpoints/{name}") from None


def _without_last_layer(model: Any, state: dict[str, Any]) -> Any:
    """The last linear layer becomes the identity; its weights, of any class count, are ignored.

    Raises:
        ValueError: the model has no linear layer, or the other weights do not fit.
    """
    import torch

    linear_layers = [
        name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)
    ]
    if not linear_layers:
        raise ValueError("the model does not end in a linear layer")
    last = linear_layers[-1]
    if hasattr(model, "transform_input"):  # what torchvision sets when it loads such weights
        model.transform_input = True
    model.set_submodule(last, torch.nn.Identity())
    load_into(model, state, unused=f"{last}.")
    return model.eval()
