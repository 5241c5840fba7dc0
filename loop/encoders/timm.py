"""Any timm model without its classifier:
``timm:<model>[:<checkpoint>][?size=&mean=&std=&classes=&pad=&fit=]``.

The embedding is the input of the classifier (``forward_head(..., pre_logits=True)``). Size, crop,
mean, standard deviation and interpolation come from the model's own pretrained configuration;
options override them for checkpoints that were trained otherwise. With ``size`` the whole image is
resized to that square, unless ``fit=crop`` is given too.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from urllib.request import getproxies

from loop.encoders.checkpoint import load_into, read_weights, state_dict
from loop.encoders.network import TorchEncoder, triple
from loop.errors import ConfigError, nearest
from loop.files import expanded

OPTIONS = ("size", "mean", "std", "classes", "pad", "fit")


def make(options: str) -> TorchEncoder:
    """The encoder of ``timm:MODEL[:CHECKPOINT][?OPTIONS]``.

    Raises:
        ConfigError: unknown model or option, or weights that are missing or do not fit.
    """
    import timm

    options, _, query = options.partition("?")
    name, _, checkpoint = options.partition(":")
    overrides = read_options(query)
    known = timm.list_models()
    if name.partition(".")[0] not in known:
        raise ConfigError(
            f"timm has no model {name!r}{nearest(name, known)}; timm.list_models() lists all"
        )
    model = _create(name, checkpoint, overrides)
    config = timm.data.resolve_model_data_config(model)
    size = int(overrides.get("size", config["input_size"][-1]))
    return TorchEncoder(
        name=f"timm:{name}",
        model=_without_classifier(model),
        size=size,
        mean=_channels(overrides, config, "mean"),
        std=_channels(overrides, config, "std"),
        short=None if _squeezes(overrides, config) else int(size / config.get("crop_pct", 0.875)),
        interpolation=_interpolation(overrides, config),
    )


def _create(name: str, checkpoint: str, overrides: dict[str, str]) -> Any:
    """timm's model with its own weights, or with those of a file.

    Raises:
        ConfigError: the weights are missing or do not fit.
    """
    arguments: dict[str, Any] = {"pretrained": not checkpoint}
    reachable = True
    if "classes" in overrides:
        arguments["num_classes"] = int(overrides["classes"])
    if "pad" in overrides:
        arguments["pad_type"] = overrides["pad"]
    try:
        with nullcontext(True) if checkpoint else hub_asked_once() as reachable:
            model = _model(name, arguments, any_size="size" in overrides)
        if checkpoint:
            _load(model, checkpoint)
        return model
    except Exception as error:  # hub, file and shape errors of many kinds; all mean "no weights"
        raise ConfigError(_explain(name, checkpoint, error, reachable)) from None


def _explain(name: str, checkpoint: str, error: Exception, reachable: bool) -> str:
    """Why there are no usable weights."""
    if checkpoint and isinstance(error, ValueError):
        return f"cannot use the weights {checkpoint} for timm:{name}: {error}"
    if not checkpoint and not reachable:
        return (
            f"the weights of {name!r} are not on this machine, and there is no network to fetch "
            f"them from; name a file of them: timm:{name}:/path/to/{name}.safetensors"
        )
    remedy = checkpoint or f"a file, e.g. timm:{name}:/path/to/{name}.safetensors"
    return (
        f"no usable weights for {name!r} ({type(error).__name__}: {str(error)[:200]}); put them at "
        f"{remedy}"
    )


def _load(model: Any, checkpoint: str) -> None:
    """Loads the weights of a file. A classifier of another class count is left out; one that fits
    stays, since the encoder's digest, by which embeddings are kept, has it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the weights do not fit.
    """
    file = expanded(checkpoint)
    if not file.is_file():
        raise FileNotFoundError(checkpoint)
    if file.suffix == ".npz":  # as JAX programs store them; a few models know how to read these
        model.load_pretrained(str(file))
        return
    own = model.state_dict()
    state = state_dict(read_weights(file), own)
    names = model.default_cfg.get("classifier") or ()
    of_classifier = tuple(f"{name}." for name in ((names,) if isinstance(names, str) else names))
    classifier = [name for name in own if of_classifier and name.startswith(of_classifier)]
    if any(name not in state or state[name].shape != own[name].shape for name in classifier):
        model.reset_classifier(0)
        state = {name: each for name, each in state.items() if not name.startswith(of_classifier)}
    load_into(model, state)


@contextmanager
def hub_asked_once() -> Iterator[bool]:
    """Whether the hub of weights can be reached. Where it cannot, only what was fetched before is
    looked for: the hub's own client would repeat each request for a minute, with a warning each."""
    from huggingface_hub import constants

    reachable = _is_reachable(constants.ENDPOINT)
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not reachable
    try:
        yield reachable and not before
    finally:
        constants.HF_HUB_OFFLINE = before


def _is_reachable(url: str) -> bool:
    """Whether the address has a name server that knows it; a proxy is trusted to."""
    if getproxies():
        return True
    parts = urlsplit(url)
    try:
        socket.getaddrinfo(parts.hostname, parts.port or 443)
    except OSError:
        return False
    return True


def _channels(
    overrides: dict[str, str], config: dict[str, Any], key: str
) -> tuple[float, float, float]:
    """Mean or standard deviation per channel."""
    return triple(overrides[key].split(",") if key in overrides else config[key])


def _squeezes(overrides: dict[str, str], config: dict[str, Any]) -> bool:
    """Whether the whole image is resized to the square, instead of cropped."""
    if "fit" in overrides:
        return overrides["fit"] == "square"
    return config.get("crop_mode") == "squash" or "size" in overrides


def _interpolation(overrides: dict[str, str], config: dict[str, Any]) -> str:
    """Name of the resampling filter: the model's own, unless its size was overridden."""
    name = config.get("interpolation", "bicubic")
    return name if name in ("bilinear", "lanczos") and "size" not in overrides else "bicubic"


def _model(name: str, arguments: dict[str, Any], any_size: bool) -> Any:
    """Vision transformers need an argument to take images of another size."""
    import timm

    if any_size:
        with suppress(TypeError):  # other models take any size and do not know the argument
            return timm.create_model(name, dynamic_img_size=True, **arguments)
    return timm.create_model(name, **arguments)


def _without_classifier(model: Any) -> Any:
    import torch

    class Embedding(torch.nn.Module):
        """The model up to its classifier."""

        def __init__(self, body: Any) -> None:
            super().__init__()
            self.body = body

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            features = self.body.forward_features(x)
            return self.body.forward_head(features, pre_logits=True)  # type: ignore[no-any-return]

    return Embedding(model).eval()


def read_options(query: str) -> dict[str, str]:
    """``size=128&mean=0.5`` -> dict.

    Raises:
        ConfigError: unknown option, or a value that it cannot have.
    """
    values = dict(parse_qsl(query))
    for key in values:
        if key not in OPTIONS:
            raise ConfigError(
                f"unknown encoder option {key!r}{nearest(key, OPTIONS)}; one of {OPTIONS}"
            )
    for key in ("size", "classes"):
        if key in values and not (values[key].isdigit() and int(values[key]) > 0):
            raise ConfigError(f"{key}={values[key]}: a whole number above 0 is wanted")
    for key in ("mean", "std"):
        try:
            triple(values.get(key, "0.5").split(","))
        except ValueError:
            raise ConfigError(
                f"{key}={values[key]}: one number, or three separated by commas, for pixel values "
                "in [0, 1]"
            ) from None
    if values.get("fit", "crop") not in ("crop", "square"):
        raise ConfigError(f"fit={values['fit']}: 'crop' (the centre) or 'square' (squeezed)")
    return values
