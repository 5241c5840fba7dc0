"""Any torchvision classifier, its last layer removed: ``torchvision:<model>[:<weights>]``.

``<weights>`` is a name torchvision knows (``IMAGENET1K_V2``), or a file with a state dict; default
is torchvision's own choice. Preprocessing is that of the named weights, or of the model's default
weights for a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loop.encoders.network import TorchEncoder, triple
from loop.errors import ConfigError, nearest


def make(options: str) -> TorchEncoder:
    """Raises ConfigError: unknown model or weights, or weights that are not there."""
    from torchvision import models

    name, _, weights = options.partition(":")
    known = models.list_models(module=models)
    if name not in known:
        raise ConfigError(
            f"torchvision has no classifier {name!r}{nearest(name, known)}; "
            "torchvision.models.list_models() lists all"
        )
    choices = models.get_model_weights(name)
    named = {one.name: one for one in choices} | {"": choices.DEFAULT, "DEFAULT": choices.DEFAULT}
    try:
        chosen = named.get(weights, choices.DEFAULT)
        state = _from_file(weights) if weights not in named else _from_hub(chosen)
        model = _without_last_layer(models.get_model(name, weights=None), state)
    except FileNotFoundError as error:
        hint = nearest(weights, named)
        raise ConfigError(
            f"no weights for torchvision:{name}{hint}; put them at {error.args[0]}, or name one of "
            f"{', '.join(sorted(filter(None, named)))}"
        ) from None
    except (RuntimeError, ValueError, KeyError) as error:
        raise ConfigError(
            f"the weights {weights or 'DEFAULT'} do not fit torchvision:{name} "
            f"({str(error)[:200]}); put a state dict of this model there"
        ) from None
    how = chosen.transforms()
    return TorchEncoder(
        name=f"torchvision:{name}",
        model=model,
        size=how.crop_size[0],
        mean=triple(how.mean),
        std=triple(how.std),
        short=how.resize_size[0],
        interpolation=how.interpolation.value,
    )


def _from_file(path: str) -> dict[str, Any]:
    """State dict of a file; never unpickles code. Raises FileNotFoundError, ValueError."""
    from pickle import UnpicklingError

    import torch

    place = Path(path).expanduser()
    if not place.is_file():
        raise FileNotFoundError(str(place))
    if place.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(place)
        except SafetensorError as error:
            raise ValueError(str(error)) from None
    try:
        state = torch.load(place, map_location="cpu", weights_only=True)
    except (UnpicklingError, EOFError) as error:
        raise ValueError(f"not a file of weights: {error}") from None
    if not isinstance(state, dict):
        raise ValueError(f"holds a {type(state).__name__}, not a state dict")
    return state.get("state_dict", state)


def _from_hub(weights: Any) -> dict[str, Any]:
    """State dict as torchvision fetches it. Raises FileNotFoundError naming the cached file."""
    import torch

    try:
        return weights.get_state_dict(progress=False, check_hash=True)  # type: ignore[no-any-return]
    except OSError:  # urllib's errors are OSErrors
        name = Path(weights.url).name
        raise FileNotFoundError(f"{torch.hub.get_dir()}/checkpoints/{name}") from None


def _without_last_layer(model: Any, state: dict[str, Any]) -> Any:
    """The last linear layer becomes the identity; its weights, of any class count, are left out."""
    import torch

    linear = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)]
    if not linear:
        raise ValueError("the model does not end in a linear layer")
    last = linear[-1]
    if hasattr(model, "transform_input"):  # what torchvision sets when it loads such weights
        model.transform_input = True
    model.set_submodule(last, torch.nn.Identity())
    model.load_state_dict({k: v for k, v in state.items() if not k.startswith(last + ".")})
    return model.eval()
