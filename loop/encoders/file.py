"""Your own embeddings: ``file:<array.npy>`` with the images' names beside it in ``<array.keys>``.

Line i of the keys file names the image of row i: its path relative to the pool's folder (or
``row/<number>`` of a parquet file), or its content key (blake2b-128 of the file's bytes, 32 hex
digits). Rows may be in any order and more than the pool has; no image is read. Where no line is an
image's name to the letter, one counts that differs in what systems write differently: ``./`` before
it, ``\\`` for ``/``, accents composed or not.
"""

from __future__ import annotations

import codecs
import hashlib
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loop.encoders.base import Encoder
from loop.errors import ConfigError, DataError
from loop.files import expanded
from loop.wording import counted

MAGIC, ZIP = b"\x93NUMPY", b"PK"
"""How files of an array, and archives, begin."""
CHECKED = 100_000
"""Rows that are looked at for differences."""


@dataclass(frozen=True)
class File(Encoder):
    """Rows of a memory-mapped (M, D) array, looked up by name.

    Attributes:
        path: the ``.npy`` file.
    """

    path: Path
    looks = False

    @cached_property
    def digest(self) -> str:  # type: ignore[override]
        """Name of the array, and a hash of the bytes of array and keys."""
        digest = hashlib.blake2b(digest_size=8)
        for path in (self.path, keys_of(self.path)):
            with path.open("rb") as file:
                while chunk := file.read(1 << 24):
                    digest.update(chunk)
        return f"file-{self.path.stem}-{digest.hexdigest()}"

    @property
    def dim(self) -> int:
        return int(self._array.shape[1])

    def take(self, image: Image.Image | None, key: str, uri: str) -> NDArray[Any]:
        """The embedding of this image, (D,) float32.

        Raises:
            DataError: the keys name neither its path nor its content key.
        """
        row = self._rows.get(key, self._rows.get(uri))
        if row is None:
            row = self._alike.get(alike(uri))
        if row is None:
            raise DataError(
                f"{uri}: no row for it in {self.path}; add its path or its key {key} to "
                f"{self._names_at}"
            )
        return np.asarray(self._array[row], dtype=np.float32)

    def prepare(self, image: Image.Image) -> NDArray[Any]:
        raise DataError(f"{self.path} holds embeddings by name; it cannot encode a new picture")

    def forward(self, batch: NDArray[Any], device: str) -> NDArray[np.float32]:
        return batch

    @property
    def _names_at(self) -> str:
        """Where the names stand."""
        return keys_of(self.path).name

    @cached_property
    def _array(self) -> NDArray[Any]:
        return mapped(self.path)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self._names())}

    def _names(self) -> list[str]:
        """Of the rows, in order."""
        return read_keys(keys_of(self.path))

    @cached_property
    def _alike(self) -> dict[str, int]:
        """Names without what systems write differently; none that two names share."""
        shared = Counter(alike(name) for name in self._rows)
        return {alike(name): row for name, row in self._rows.items() if shared[alike(name)] == 1}


def mapped(path: Path) -> NDArray[Any]:
    """The array of a ``.npy`` file, mapped into memory. Pickled objects are never loaded.

    Raises:
        ValueError: it holds something else, or is cut short.
    """
    with path.open("rb") as file:
        head = file.read(len(MAGIC))
    if head.startswith(ZIP):
        raise ValueError("it is an archive, as np.savez and torch.save write, and no single array")
    if head != MAGIC:
        raise ValueError("it is no .npy file, or an empty one, and nothing else is read")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except EOFError:
        raise ValueError("it is cut short") from None
    except ValueError as error:
        objects = "objects in dtype" in str(error)
        raise ValueError("it holds objects, not numbers" if objects else str(error)) from None


def alike(name: str) -> str:
    """A path as one system would write it: accents composed, ``/``, no ``./`` before it."""
    return unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./")


def keys_of(path: Path) -> Path:
    """The file of names beside an array."""
    return path.with_suffix(".keys")


def read_keys(path: Path) -> list[str]:
    """Names of the array's rows in order, one per line of the file. Only a line feed ends a line,
    with or without a carriage return: names may hold any other sign. Empty lines at the end are
    none.

    Raises:
        ValueError: the file is neither UTF-8 nor UTF-16 with a byte-order mark.
    """
    data = path.read_bytes()
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # PowerShell 5
    text = data.decode("utf-16" if marked else "utf-8-sig")
    return [line.removesuffix("\r") for line in text.rstrip("\r\n").split("\n")]


def make(options: str) -> File:
    """The encoder of ``file:ARRAY``.

    Raises:
        ConfigError: a file is missing or unreadable, or array and keys do not fit together.
    """
    if not options:
        raise ConfigError("file: needs an array, e.g. file:/path/to/embeddings.npy")
    path = expanded(options).absolute()
    for needed in (path, keys_of(path)):
        if not needed.is_file():
            raise ConfigError(
                f"no file {needed}; {path.name} holds one row per image, "
                f"{keys_of(path).name} one path or key per line"
            )
    encoder = File(path)
    try:
        array = encoder._array
    except (ValueError, OSError) as error:
        raise ConfigError(
            f"cannot read {path}: {error}; write floats of shape (N, D) with np.save('x.npy', rows)"
        ) from None
    try:
        names = read_keys(keys_of(path))
    except (ValueError, OSError) as error:
        raise ConfigError(f"cannot read {keys_of(path)}: {error}; save it as UTF-8") from None
    if array.ndim != 2 or array.dtype.kind != "f" or not array.shape[1]:
        raise ConfigError(f"{path} is {array.dtype} {array.shape}; floats of shape (N, D) wanted")
    _check_names(path, names, array.shape)
    if len(array) > 1 and (array[:CHECKED] == array[0]).all():
        raise ConfigError(f"the rows of {path} are all alike; they tell no image from another")
    return encoder


def _check_names(path: Path, names: list[str], shape: tuple[int, ...]) -> None:
    """Raises ConfigError: there are not as many names as rows, or two are the same."""
    if len(names) != shape[0]:
        hint = "; the array may be transposed" if len(names) == shape[1] else ""
        raise ConfigError(
            f"{path} has {counted(shape[0], 'row')}, {keys_of(path).name} "
            f"{counted(len(names), 'line')}; one name per row is wanted{hint}"
        )
    name, count = Counter(names).most_common(1)[0] if names else ("", 0)
    if count > 1:
        raise ConfigError(
            f"{keys_of(path)} names {name!r} {count} times ({len(set(names))} of {len(names)} "
            "names are distinct); each image has one row"
        )
