"""The model that a training delivers, as a safetensors file that says all that predicting takes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loop.errors import DataError
from loop.softmax import softmax
from loop.train.base import Classifier
from loop.train.named import NamedProbe
from loop.train.network import TrainedNetwork
from loop.train.probe import Probe

KINDS: dict[str, type[Classifier]] = {
    "probe": Probe,
    "named": NamedProbe,
    "network": TrainedNetwork,
}
DESCRIPTION = "coreloop"
"""Key in the metadata of the file."""
LEAST = 1e-12
"""Probability below which an answer counts as this, before the temperature."""


@dataclass(frozen=True)
class About:
    """Where a model comes from and what it needs.

    Attributes:
        classes: C names, in the order of its answers.
        temperature: that calibrates its probabilities, see ``tempered``.
        encoder: name of the encoder whose embeddings it takes; empty for a network.
        encoder_digest: see ``Encoder.digest``.
        trainer: that made it.
        round: after which; labels: that it learned.
    """

    classes: tuple[str, ...]
    temperature: float
    encoder: str
    encoder_digest: str
    trainer: str
    round: int
    labels: int


@dataclass(frozen=True)
class KeptModel:
    """A classifier with calibrated probabilities."""

    classifier: Classifier
    about: About

    def probabilities(self, rows: NDArray[Any], device: str = "cpu") -> NDArray[np.float64]:
        """(M, C) float64 of what the classifier takes; calibrated."""
        return tempered(self.classifier.probabilities(rows, device), self.about.temperature)

    def to_bytes(self) -> bytes:
        """A safetensors file; the same model gives the same bytes."""
        from safetensors.numpy import save

        kind = next(kind for kind, cls in KINDS.items() if isinstance(self.classifier, cls))
        described = {
            "kind": kind,
            "settings": self.classifier.settings(),
            "about": asdict(self.about),
        }
        tensors = {
            name: np.ascontiguousarray(each) for name, each in self.classifier.tensors().items()
        }
        return save(tensors, {DESCRIPTION: json.dumps(described, sort_keys=True)})


def read_model(file: Path) -> KeptModel:
    """Of a file that ``KeptModel.to_bytes`` made.

    Raises:
        DataError: it is something else, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as stored:
            described = json.loads((stored.metadata() or {})[DESCRIPTION])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        values = {each.name: described["about"][each.name] for each in fields(About)}
        about = About(**{**values, "classes": tuple(values["classes"])})
        kind = KINDS[described["kind"]]
        return KeptModel(kind.of_tensors(tensors, described["settings"]), about)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file} is no model of coreloop: {type(error).__name__} {error}") from None


def tempered(probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """(M, C) probabilities p -> softmax(log p / T): less sure for T > 1, the same order.

    Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017.
    """
    return softmax(np.log(np.maximum(probabilities, LEAST)) / temperature, axis=-1)
