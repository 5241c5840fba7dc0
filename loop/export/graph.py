"""The ONNX graph of a kept model: prepared images, or embeddings -> calibrated probabilities."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from loop.encoders.base import Encoder
from loop.encoders.joined import Joined
from loop.encoders.network import TorchEncoder
from loop.encoders.pixels import Pixels
from loop.errors import ConfigError
from loop.export.preprocessing import Preprocessing, of_encoder, of_network
from loop.train import kept, opinions, probe
from loop.train.backbone import normalise, views
from loop.train.base import Classifier
from loop.train.kept import KeptModel
from loop.train.named import NamedProbe
from loop.train.network import TrainedNetwork
from loop.train.probe import Probe

OPSET = 18
"""Version of the ONNX operators: onnxruntime 1.14 and newer know it."""
LARGEST = 1_900_000_000
"""Bytes of weights that one protobuf file may hold."""
WEIGHTS = "model.onnx.data"
"""Holds the weights of larger ones, beside the graph."""


class CannotBeExported(ConfigError):
    """An encoder or a network that has no form in ONNX."""


@dataclass(frozen=True)
class Graph:
    """What is exported.

    Attributes:
        layers: takes the inputs in order and gives (B, C) probabilities.
        images: of each input; none: the one input is ``embeddings``, (B, dim) float32.
        dim: D of the embeddings; 0 for a network.
    """

    layers: nn.Module
    images: tuple[Preprocessing, ...]
    dim: int

    @property
    def input_names(self) -> list[str]:
        return [each.name for each in self.images] or ["embeddings"]

    def example(self) -> tuple[torch.Tensor, ...]:
        """Inputs for a batch of two; a batch of one would be taken for the only size."""
        if not self.images:
            return (torch.zeros(2, self.dim),)
        return tuple(torch.zeros(2, *each.shape, dtype=torch.uint8) for each in self.images)


class ProbeLayers(nn.Module):
    """``Probe`` in float32: (B, D) embeddings -> (B, C) log-probabilities."""

    def __init__(self, fitted: Probe) -> None:
        super().__init__()
        mean = torch.from_numpy(fitted.mean)
        # a float32 is too coarse for a mean that is large beside its deviation: a sum of two
        self.mean = nn.Buffer(mean.float())
        self.rest_of_mean = nn.Buffer((mean - mean.float().double()).float())
        self.std = nn.Buffer(torch.from_numpy(fitted.std).float())
        self.weights = nn.Buffer(torch.from_numpy(fitted.weights).float())
        self.bias = nn.Buffer(torch.from_numpy(fitted.bias).float()[:, None])
        self.shares = nn.Buffer(torch.from_numpy(fitted.shares).float()[:, None, None])

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        standardised = (embeddings - self.mean - self.rest_of_mean) / self.std
        of_heads = torch.log_softmax(standardised @ self.weights + self.bias, dim=-1)
        if len(self.weights) == 1:
            return of_heads[0]
        floored = of_heads.clamp(min=math.log(probe.LEAST))
        return torch.log_softmax((self.shares * floored).sum(dim=0), dim=-1)


class NamedLayers(nn.Module):
    """``NamedProbe`` in float32: (B, D) embeddings -> (B, C) log-probabilities."""

    def __init__(self, named: NamedProbe) -> None:
        super().__init__()
        head = named.head
        self.rule, self.damping = named.trust.rule, named.trust.damping
        self.unit, self.scale = head.unit, head.scale
        columns = torch.arange(named.dim)
        told = torch.arange(head.columns.start, head.columns.stop)
        picture = columns if head.unit else columns[~torch.isin(columns, told)]
        self.told, self.picture = nn.Buffer(told), nn.Buffer(picture)
        self.texts = nn.Buffer(torch.from_numpy(head.texts).float().T.contiguous())
        self.weights = named.trust.weights.tolist()
        self.spread = ProbeLayers(named.spread)
        self.probe = ProbeLayers(named.probe) if named.probe is not None else None

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        told = embeddings[:, self.told]
        if self.unit:
            told = told / told.norm(dim=1, keepdim=True).clamp(min=1e-12)
        picture = embeddings[:, self.picture]
        t, h = torch.log_softmax(self.scale * told @ self.texts, dim=-1), self.spread(picture)
        g = _mean(t, h)
        if self.probe is None or self.rule == "names":
            return g
        p = self.probe(picture).exp()
        base = _flat(p, 1 - opinions.HELD_BACK if self.rule == "picks" else opinions.FLATTENED)
        base = base.clamp(min=opinions.LEAST).log()
        candidates = [p]
        for expert in (t, g):
            floored = expert.clamp(min=math.log(opinions.LEAST))
            for exponent in opinions.EXPONENTS:
                candidates.append(torch.softmax(base + exponent * self.damping * floored, dim=-1))
        if self.rule == "sample":
            candidates += [_flat(alone.exp(), opinions.FLATTENED) for alone in (t, g, _mean(t, g))]
        mixed = torch.zeros_like(p)
        for weight, candidate in zip(self.weights, candidates, strict=True):
            if weight > opinions.LEAST:
                mixed = mixed + weight * candidate
        return (mixed / mixed.sum(dim=1, keepdim=True)).clamp(min=kept.LEAST).log()


def _mean(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Geometric mean of log-probabilities, see ``opinions.geometric``."""
    least = math.log(opinions.LEAST)
    return torch.log_softmax(0.5 * (first.clamp(min=least) + second.clamp(min=least)), dim=-1)


def _flat(p: torch.Tensor, share: float) -> torch.Tensor:
    """See ``opinions.flattened``."""
    return (1 - share) * p + share / p.shape[1]


def _classifier_layers(classifier: Classifier) -> nn.Module:
    if isinstance(classifier, NamedProbe):
        return NamedLayers(classifier)
    assert isinstance(classifier, Probe)
    return ProbeLayers(classifier)


class PixelLayers(nn.Module):
    """``Pixels``: (B, S, S, 1) uint8 -> (B, S * S) in [0, 1]."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).float() / 255


class EncoderLayers(nn.Module):
    """``TorchEncoder``: (B, S, S, 3) uint8 -> (B, D)."""

    def __init__(self, encoder: TorchEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.model = encoder.model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        embeddings: torch.Tensor = self.model(self.encoder.normalised(images))
        return embeddings.float()


class NetworkLayers(nn.Module):
    """``TrainedNetwork``: (B, S, S, 3) uint8 -> (B, C) log-probabilities."""

    def __init__(self, network: TrainedNetwork) -> None:
        super().__init__()
        self.net = network.net
        self.six_views = network.six_views
        self.mean, self.std = network.mean, network.std

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        batch = normalise(images.permute(0, 3, 1, 2), self.mean, self.std)
        of_views = list(views(batch)) if self.six_views else [batch]
        logits = self.net(torch.cat(of_views)).unflatten(0, (len(of_views), -1))
        mean = torch.softmax(logits, dim=2).mean(dim=0)
        return mean.clamp(min=kept.LEAST).log()


class ModelLayers(nn.Module):
    """Encoders side by side, classifier and temperature: inputs -> (B, C) probabilities.

    Args:
        lengths: of each encoder's columns, see ``Joined.lengths``; none: as they come.
    """

    def __init__(
        self,
        encoders: Sequence[nn.Module],
        classifier: nn.Module,
        temperature: float,
        lengths: Sequence[float | None] = (),
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.lengths = tuple(lengths) or (None,) * len(encoders)
        self.classifier = classifier
        self.temperature = temperature

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        features = inputs[0]
        if len(self.encoders):
            parts = [
                _of_length(encoder(x), length)
                for encoder, x, length in zip(self.encoders, inputs, self.lengths, strict=True)
            ]
            features = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        log_probabilities = self.classifier(features).clamp(min=math.log(kept.LEAST))
        return torch.softmax(log_probabilities / self.temperature, dim=-1)


def _of_length(embeddings: torch.Tensor, length: float | None) -> torch.Tensor:
    """(B, D) rows of this length; as they come where it is None."""
    if length is None:
        return embeddings
    return length * embeddings / embeddings.norm(dim=1, keepdim=True).clamp(min=1e-12)


def whole_graph(model: KeptModel, encoder: Encoder | None) -> Graph:
    """From images.

    Args:
        encoder: whose embeddings the model takes; None for a network.

    Raises:
        CannotBeExported: an encoder that looks embeddings up, or one that others wrote.
    """
    temperature = model.about.temperature
    if isinstance(model.classifier, TrainedNetwork):
        layers = ModelLayers([], NetworkLayers(model.classifier), temperature)
        return Graph(layers, (of_network(model.classifier, "images"),), 0)
    assert encoder is not None
    parts = encoder.parts if isinstance(encoder, Joined) else (encoder,)
    images = []
    for number, part in enumerate(parts, 1):
        preprocessing = of_encoder(part, "images" if len(parts) == 1 else f"images_{number}")
        if preprocessing is None:
            raise CannotBeExported(
                f"the encoder {part.digest} has no form in ONNX"
                + ("" if part.looks else ": it looks embeddings up by the names of images")
            )
        images.append(preprocessing)
    lengths = encoder.lengths if isinstance(encoder, Joined) else ()
    by_part = [_encoder_layers(part) for part in parts]
    layers = ModelLayers(by_part, _classifier_layers(model.classifier), temperature, lengths)
    return Graph(layers, tuple(images), encoder.dim)


def head_graph(model: KeptModel) -> Graph:
    """From embeddings, of a model that takes them."""
    classifier = model.classifier
    assert isinstance(classifier, Probe | NamedProbe)
    layers = ModelLayers([], _classifier_layers(classifier), model.about.temperature)
    return Graph(layers, (), classifier.dim)


def _encoder_layers(encoder: Encoder) -> nn.Module:
    if isinstance(encoder, Pixels):
        return PixelLayers()
    assert isinstance(encoder, TorchEncoder)
    return EncoderLayers(encoder)


def write_graph(graph: Graph, file: Path) -> str:
    """Exports with float32 weights inside, or beside it where they are too many.

    Returns:
        Name of the file of weights beside it; empty where they are inside.

    Raises:
        CannotBeExported: torch has no translation of a layer.
    """
    import onnx

    layers = graph.layers.to("cpu").eval()
    example = graph.example()
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                layers,
                example,
                dynamo=True,
                verbose=False,
                input_names=graph.input_names,
                output_names=["probabilities"],
                dynamic_shapes=(tuple({0: batch} for _ in example),),
                opset_version=OPSET,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error.__cause__ or error).strip().split("\n")[0]
            raise CannotBeExported(f"torch.onnx.export gave up: {reason[:300]}") from None
    assert program is not None
    proto = program.model_proto
    _forget_source(proto.graph)
    apart = sum(tensor.nbytes for tensor in layers.state_dict().values()) > LARGEST
    onnx.save_model(proto, file, save_as_external_data=apart, location=WEIGHTS)
    return WEIGHTS if apart else ""


def _forget_source(graph: Any) -> None:
    """Takes out what the exporter notes of the Python code behind each node, with its paths."""
    for part in (*graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.metadata_props[:]
