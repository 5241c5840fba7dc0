"""Whether the files of an exported model answer as the kept model does."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loop.encoders.base import Encoder
from loop.errors import DataError
from loop.images import decode
from loop.train.kept import KeptModel
from loop.wording import counted

if TYPE_CHECKING:
    from loop.export.script import Predictor

TOLERANCE = 1e-4
"""Difference of a probability above which a graph is not the kept model."""


@dataclass(frozen=True)
class Agreement:
    """How far the exported graph and the kept model are apart.

    Attributes:
        images: that both answered; 0: none could be read.
        largest: difference of a probability.
    """

    images: int
    largest: float


def compare(
    folder: Path,
    model: KeptModel,
    encoder: Encoder | None,
    images: Sequence[bytes],
    embeddings: NDArray[np.float32],
) -> Agreement:
    """Of what predict.py in the folder says and what the model does, in float32 on the CPU.

    Args:
        encoder: see ``write_model_folder``.
        images: encoded; those that cannot be decoded do not count.
        embeddings: (n, D), for a graph that takes them.

    Raises:
        DataError: they are further apart than ``TOLERANCE``.
    """
    from loop.export.script import Predictor

    predictor = Predictor(folder)
    if predictor.takes_images:
        answers, expected = _of_images(predictor, model, encoder, images)
    else:
        answers, expected = _of_embeddings(predictor, model, embeddings)
    largest = float(np.abs(answers - expected).max(initial=0))
    if not largest <= TOLERANCE:
        raise DataError(
            f"the exported graph is not the model: a probability differs by {largest:.2g} on "
            f"{counted(len(answers), 'image')} of the pool (at most {TOLERANCE:g} is allowed); "
            "nothing was written"
        )
    return Agreement(len(answers), largest)


def _of_images(
    predictor: Predictor, model: KeptModel, encoder: Encoder | None, images: Sequence[bytes]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """(n, C) answers of the predictor and of the model, each with its own decoding."""
    from loop.export import script

    prepared, rows = [], []
    for encoded in images:
        with suppress(DataError):
            image = decode(encoded)
            rows.append(_square(model, image) if encoder is None else encoder.prepare(image))
            prepared.append(predictor.prepare(script.decode(encoded)))
    if not rows:
        return np.empty((0, 0)), np.empty((0, 0))
    batch = np.stack(rows)
    taken = batch if encoder is None else encoder.forward(batch, "cpu")
    return predictor.probabilities(prepared), model.probabilities(taken)


def _square(model: KeptModel, image: Image.Image) -> NDArray[np.uint8]:
    """An image as a network takes it, see ``loop.images.squares``."""
    side = int(model.classifier.settings()["side"])
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))


def _of_embeddings(
    predictor: Predictor, model: KeptModel, embeddings: NDArray[np.float32]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """(n, C) answers of the predictor and of the model."""
    if not len(embeddings):
        return np.empty((0, 0)), np.empty((0, 0))
    answers = predictor.probabilities_of_embeddings(embeddings)
    return answers, model.probabilities(embeddings)
