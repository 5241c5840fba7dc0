"""Networks that learn from pixels: their layers and weights, and how they see a batch of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from loop.device import halving
from loop.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch

PAD = 4
"""Pixels that augmentation shifts by, at most, where pictures are as small as CIFAR-10's."""
Channels = tuple[float, float, float]
MEAN: Channels = (0.5, 0.5, 0.5)
STD: Channels = (64 / 255, 64 / 255, 64 / 255)
"""Of networks from random weights, per channel, for pixel values in [0, 1]."""
PREDICTION_BATCH = 256


def build(name: str, classes: int, checkpoint: str = "") -> torch.nn.Module:
    """The network, with random weights or those of a checkpoint.

    Args:
        name: ``resnet18`` (3 x 3 stem, no max-pool, for small pictures), ``timm:<name>`` or
            ``torchvision:<name>``; timm's may end in ``?pad=same``.
        checkpoint: state dict (.safetensors, or .pt loaded as weights only). A last layer made for
            another number of classes is left out and learned anew.

    Raises:
        ConfigError: unknown model.
        DataError: the checkpoint is missing, damaged or of another model.
    """
    net = _architecture(name, classes)
    if checkpoint:
        _load(net, Path(checkpoint), last_layer(net, name, classes))
    return net


def last_layer(net: torch.nn.Module, name: str, classes: int) -> set[str]:
    """Names of the weights that depend on the number of classes."""
    wider = _architecture(name, classes + 1).state_dict()
    return {key for key, weight in net.state_dict().items() if weight.shape != wider[key].shape}


def _architecture(name: str, classes: int) -> torch.nn.Module:
    """The network of this name with random weights."""
    library, _, model = name.partition(":")
    try:
        if name == "resnet18":
            return _small_resnet18(classes)
        if library == "timm":
            return _timm_model(model, classes)
        if library == "torchvision":
            return _torchvision_model(model, classes)
    except (RuntimeError, ValueError) as error:  # what the two raise for a name they do not know
        raise ConfigError(f"model {name!r}: {error}") from None
    raise ConfigError(f"unknown model {name!r}; 'resnet18', 'timm:<name>' or 'torchvision:<name>'")


def _small_resnet18(classes: int) -> torch.nn.Module:
    """ResNet-18 with a stem for small pictures: 3 x 3, no stride, no max-pool."""
    import torch
    import torchvision

    net: torch.nn.Module = torchvision.models.resnet18(num_classes=classes)
    net.conv1 = torch.nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
    net.maxpool = torch.nn.Identity()
    return net


def _timm_model(model: str, classes: int) -> torch.nn.Module:
    import timm

    model, _, padding = model.partition("?pad=")
    arguments: dict[str, Any] = {"pad_type": padding} if padding else {}
    try:  # vision transformers take pictures of any size only when told to
        return timm.create_model(model, num_classes=classes, dynamic_img_size=True, **arguments)
    except TypeError:
        return timm.create_model(model, num_classes=classes, **arguments)


def _torchvision_model(model: str, classes: int) -> torch.nn.Module:
    import torchvision

    # their auxiliary classifiers answer in a form of their own
    options = {"aux_logits": False} if model in ("googlenet", "inception_v3") else {}
    return torchvision.models.get_model(model, num_classes=classes, **options)  # type: ignore[no-any-return]


def _load(net: torch.nn.Module, file: Path, last: set[str]) -> None:
    """Takes the weights of a file over; those of the last layer only where they fit."""
    own = net.state_dict()
    try:
        stored = _stored_weights(file)
        fitting = {
            key: weight
            for key, weight in stored.items()
            if key in own and weight.shape == own[key].shape
        }
    except FileNotFoundError:
        raise DataError(f"no checkpoint {file}") from None
    except Exception as error:  # torch raises many kinds on damaged files
        raise DataError(f"checkpoint {file} cannot be used: {error}") from None
    missing = [key for key in own if key not in fitting and key not in last]
    if missing:
        raise DataError(
            f"checkpoint {file} cannot be used: {len(missing)} weights are missing or of another "
            f"shape, {missing[0]!r} for one; it is of another model"
        )
    net.load_state_dict(fitting, strict=False)


def _stored_weights(file: Path) -> dict[str, Any]:
    """Only weights and numbers are read, no code."""
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    import torch

    return dict(torch.load(file, map_location="cpu", weights_only=True))


def normalise(batch: torch.Tensor, mean: Channels = MEAN, std: Channels = STD) -> torch.Tensor:
    """(B, 3, H, W) uint8 -> float32 in about [-2, 2], channels last."""
    import torch

    def of_bytes(values: Channels) -> torch.Tensor:
        return torch.tensor([255 * each for each in values], device=batch.device).view(1, 3, 1, 1)

    scaled = batch.float().sub_(of_bytes(mean)).div_(of_bytes(std))
    return scaled.contiguous(memory_format=torch.channels_last)


def augment(batch: torch.Tensor, shift: int = PAD) -> torch.Tensor:
    """Random flip and shift by up to ``shift`` pixels (reflected), one draw per image.

    Args:
        batch: (B, 3, H, W); the result has the same shape and dtype.
    """
    import torch

    b, _, h, w = batch.shape
    flip = torch.rand(b, device=batch.device) < 0.5
    batch = torch.where(flip[:, None, None, None], batch.flip(3), batch)
    pad = min(shift, h - 1, w - 1)
    padded = torch.nn.functional.pad(batch, (pad, pad, pad, pad), mode="reflect")
    dy = torch.randint(0, 2 * pad + 1, (b, 1), device=batch.device)
    dx = torch.randint(0, 2 * pad + 1, (b, 1), device=batch.device)
    y = (dy + torch.arange(h, device=batch.device))[:, None, :, None]
    x = (dx + torch.arange(w, device=batch.device))[:, None, None, :]
    image = torch.arange(b, device=batch.device)[:, None, None, None]
    channel = torch.arange(3, device=batch.device)[None, :, None, None]
    return padded[image, channel, y, x].contiguous(memory_format=torch.channels_last)


def views(batch: torch.Tensor) -> Iterator[torch.Tensor]:
    """Test-time augmentation: six views (B, 3, H, W) of a batch.

    The images as they are, shifted by a pixel up-left and down-right, and the mirror images of the
    three, as in github.com/KellerJordan/cifar10-airbench.
    """
    import torch

    padded = torch.nn.functional.pad(batch, (1, 1, 1, 1), mode="replicate")
    h, w = batch.shape[2:]
    for shift in (1, 2, 0):
        view = padded[:, :, shift : shift + h, shift : shift + w]
        yield view
        yield view.flip(3)


def predict(
    net: torch.nn.Module,
    images: NDArray[np.uint8],
    device: str,
    six_views: bool = False,
    mean: Channels = MEAN,
    std: Channels = STD,
) -> NDArray[np.float64]:
    """Class probabilities of images: as they are, or the mean over ``views`` of them.

    Args:
        images: (N, H, W, 3) uint8.
        mean, std: per channel, for pixel values in [0, 1].

    Returns:
        (N, C) float64, rows sum to 1.

    Raises:
        DataError: no image.
    """
    import torch

    def probabilities(batch: torch.Tensor) -> torch.Tensor:
        logits = [net(view) for view in views(batch)] if six_views else [net(batch)]
        return torch.softmax(torch.stack(logits).double(), dim=2).mean(dim=0)

    if not len(images):
        raise DataError("there is no image to predict")
    net.eval()
    return outputs(probabilities, images, device, mean, std)


def outputs(
    forward: Callable[[torch.Tensor], torch.Tensor],
    images: NDArray[np.uint8],
    device: str,
    mean: Channels,
    std: Channels,
) -> NDArray[np.float64]:
    """What ``forward`` gives for normalised (B, 3, H, W) batches of (N, H, W, 3) uint8 images,
    (N, D) float64."""
    import torch

    kind = torch.device(device).type

    def of_part(part: NDArray[np.uint8]) -> NDArray[np.float64]:
        batch = normalise(torch.from_numpy(part).to(device).permute(0, 3, 1, 2), mean, std)
        with torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda"):
            given = forward(batch)
        return np.asarray(given.double().cpu().numpy())

    starts = range(0, len(images), PREDICTION_BATCH)
    with torch.inference_mode():
        return np.concatenate(
            [halving(of_part, images[start : start + PREDICTION_BATCH]) for start in starts]
        )
