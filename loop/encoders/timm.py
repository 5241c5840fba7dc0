"""Any timm model, its classifier removed:
``timm:<model>[:<checkpoint>][?size=&mean=&std=&classes=&pad=&fit=]``.

The embedding is what the classifier would have seen (``forward_head(..., pre_logits=True)``). Size,
crop, mean, standard deviation and interpolation come from the model's own pretrained configuration;
options override them for checkpoints that were trained otherwise. A given ``size`` means the whole
picture squeezed into that square, unless ``fit=crop`` is said too.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from loop.encoders.network import TorchEncoder, triple
from loop.errors import ConfigError, nearest

OPTIONS = ("size", "mean", "std", "classes", "pad", "fit")


def make(options: str) -> TorchEncoder:
    """Raises ConfigError: unknown model, option or weights that are not there."""
    import timm

    options, _, query = options.partition("?")
    name, _, checkpoint = options.partition(":")
    wanted = read_options(query)
    known = timm.list_models()
    if name.partition(".")[0] not in known:
        raise ConfigError(
            f"timm has no model {name!r}{nearest(name, known)}; timm.list_models() lists all"
        )
    extra: dict[str, Any] = {}
    if "classes" in wanted:
        extra["num_classes"] = int(wanted["classes"])
    if "pad" in wanted:
        extra["pad_type"] = wanted["pad"]
    try:
        if checkpoint and not Path(checkpoint).expanduser().is_file():
            raise FileNotFoundError(checkpoint)
        given: dict[str, Any] = {"pretrained": not checkpoint, **extra}
        if checkpoint:
            given["checkpoint_path"] = str(Path(checkpoint).expanduser())
        model: Any = _model(name, given, any_size="size" in wanted)
    except Exception as error:  # hub, file and shape errors of many kinds; all mean "no weights"
        where = checkpoint or "a file, e.g. timm:" + name + ":/path/to/" + name + ".safetensors"
        raise ConfigError(
            f"no usable weights for {name!r} ({type(error).__name__}: {str(error)[:200]}); "
            f"put them at {where}"
        ) from None
    config = timm.data.resolve_model_data_config(model)
    size = int(wanted.get("size", config["input_size"][-1]))
    squeeze = config.get("crop_mode") == "squash" or "size" in wanted
    if "fit" in wanted:
        squeeze = wanted["fit"] == "square"
    how = config.get("interpolation", "bicubic")
    return TorchEncoder(
        name=f"timm:{name}",
        model=_without_classifier(model),
        size=size,
        mean=triple(wanted["mean"].split(",") if "mean" in wanted else config["mean"]),
        std=triple(wanted["std"].split(",") if "std" in wanted else config["std"]),
        short=None if squeeze else int(size / config.get("crop_pct", 0.875)),
        interpolation=how if how in ("bilinear", "lanczos") and "size" not in wanted else "bicubic",
    )


def _model(name: str, given: dict[str, Any], any_size: bool) -> Any:
    """Vision transformers take pictures of another size only when told to."""
    import timm

    if any_size:
        with suppress(TypeError):  # all others take any size without being told
            return timm.create_model(name, dynamic_img_size=True, **given)
    return timm.create_model(name, **given)


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
    """``size=128&mean=0.5`` -> dict. Raises ConfigError for unknown options and bad values."""
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
