"""Your own zero-shot probabilities: ``prior:<file.npz>``, joined to the encoder of the pictures.

The file holds ``probabilities`` (M, C), ``keys`` (M,), names of images as in ``file:``, and
``classes`` (C,), the names of the columns in their order. As columns of the embeddings they are
log-probabilities; no selection and no trainer takes them for features (``NameHead.picture``).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from loop.encoders.file import ZIP, File
from loop.errors import ConfigError
from loop.files import expanded

LEAST = 1e-6
"""A probability below counts as this."""
ARRAYS = ("probabilities", "keys", "classes")


@dataclass(frozen=True)
class GivenPrior(File):
    """Log-probabilities of classes, looked up by name.

    Attributes:
        path: the ``.npz`` file.
    """

    @cached_property
    def digest(self) -> str:  # type: ignore[override]
        """Name of the file, and a hash of its bytes."""
        digest = hashlib.blake2b(self.path.read_bytes(), digest_size=8)
        return f"prior-{self.path.stem}-{digest.hexdigest()}"

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Of the columns, in order."""
        return tuple(map(str, self._arrays["classes"]))

    @cached_property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        with self.path.open("rb") as file:
            if not file.read(len(ZIP)).startswith(ZIP):
                raise ValueError("it is no archive")
        with np.load(self.path, allow_pickle=False) as stored:
            return {name: stored[name] for name in ARRAYS}

    @cached_property
    def _array(self) -> NDArray[Any]:
        shares = np.asarray(self._arrays["probabilities"], dtype=np.float64)
        return np.log(np.maximum(shares, LEAST)).astype(np.float32)

    def _names(self) -> list[str]:
        return [str(name) for name in self._arrays["keys"]]

    @property
    def _names_at(self) -> str:
        return "'keys' in it"


def make(options: str) -> GivenPrior:
    """The encoder of ``prior:FILE``.

    Raises:
        ConfigError: the file is missing or unreadable, or holds no probabilities.
    """
    if not options:
        raise ConfigError("prior: needs a file, e.g. prior:/path/to/zero_shot.npz")
    path = expanded(options).absolute()
    if not path.is_file():
        raise ConfigError(f"no file {path}; np.savez writes one with {', '.join(ARRAYS)}")
    encoder = GivenPrior(path)
    try:
        shares, keys = encoder._arrays["probabilities"], encoder._names()
        classes = encoder.classes
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ConfigError(
            f"cannot read {path}: {error}; np.savez writes one with {', '.join(ARRAYS)}"
        ) from None
    if shares.ndim != 2 or shares.dtype.kind != "f" or shares.shape != (len(keys), len(classes)):
        raise ConfigError(
            f"{path}: probabilities are {shares.dtype} {shares.shape}; floats of shape "
            f"({len(keys)} keys, {len(classes)} classes) wanted"
        )
    if len(set(keys)) != len(keys) or len(set(classes)) != len(classes):
        raise ConfigError(f"{path}: keys and classes must be distinct")
    sums = shares.sum(axis=1, dtype=np.float64)
    wrong = ~(np.isfinite(shares).all(axis=1) & (shares >= 0).all(axis=1) & (abs(sums - 1) < 1e-3))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ConfigError(
            f"{path}: row {row} ({keys[row]}) is no distribution over classes: numbers of at least "
            f"0 that add up to 1 are wanted, these add up to {sums[row]:g}"
        )
    return encoder
