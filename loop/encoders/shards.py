"""A pool encoded shard by shard: a run killed at any time computes no finished shard twice."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loop.device import halving, resolve
from loop.encoders.base import Encoder
from loop.engine import LOCAL, Engine
from loop.errors import DataError
from loop.files import take_room
from loop.images import Replaced, decode

SHARD = 2048
"""Rows per shard: what a killed run computes again at most."""
BATCH = 64
"""Images per forward pass."""

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Shard:
    """Embeddings of the pool's rows ``start`` to ``stop`` (exclusive), kept in a ``.npy`` file."""

    start: int
    stop: int
    path: Path

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop)

    def is_finished(self, dim: int) -> bool:
        """Whether the file is whole; a power cut may leave half of one."""
        if not self.path.exists():
            return False
        try:
            shape = np.load(self.path, mmap_mode="r", allow_pickle=False).shape
        except (ValueError, OSError, EOFError):
            return False
        return bool(shape == (self.stop - self.start, dim))

    def save(self, embeddings: Matrix) -> None:
        """Writes the file; it appears whole under its name.

        Raises:
            NotReady: the disk has no room for it.
        """
        write_rows(self.path, embeddings.shape, [embeddings])


def encode(
    encoder: Encoder,
    read: Callable[[str], bytes],
    uris: Sequence[str],
    keys: Sequence[str],
    out: Path,
    *,
    content_key: Callable[[bytes], str] | None = None,
    device: str = "cpu",
    workers: int = 0,
    engine: Engine = LOCAL,
    on_progress: Callable[[int], None] = lambda count: None,
) -> None:
    """Writes (N, D) float32 to ``out``. Finished shards are kept beside it until ``forget``.

    Args:
        read: uri -> encoded bytes.
        keys: item keys in the same order; for encoders that look embeddings up.
        content_key: key of encoded bytes; each image that is decoded must then have its own.
        device: for encoders that use one; ``auto`` is resolved where a shard is computed.
        workers: decoding threads besides the forward pass (Pillow decodes and resizes outside
            the GIL); 0 chooses: one beside a CPU model, which needs the cores, all for a GPU.
        engine: maps the shards.
        on_progress: told the number of newly finished rows.

    Raises:
        DataError: an image cannot be decoded or was replaced, or an embedding is not finite.
        NotReady: the disk has no room for the embeddings.
    """
    shards = list(shards_of(len(uris), out))
    missing = [shard for shard in shards if not shard.is_finished(encoder.dim)]
    finished_rows = len(uris) - sum(shard.stop - shard.start for shard in missing)
    if finished_rows:
        on_progress(finished_rows)
    _folder(out).mkdir(parents=True, exist_ok=True)
    shared = encoder, read, content_key, device, workers
    pieces = [(uris[shard.rows], keys[shard.rows]) for shard in missing]
    for number, embeddings in engine.map(_encode_piece, shared, pieces):
        missing[number].save(embeddings)
        on_progress(len(embeddings))
    join(shards, (len(uris), encoder.dim), out)


def forget(out: Path) -> None:
    """Removes the shards of ``encode``, once what it wrote is safe."""
    shutil.rmtree(_folder(out), ignore_errors=True)


def shards_of(count: int, out: Path) -> Iterator[Shard]:
    """The shards of a pool of ``count`` rows, in order."""
    for start in range(0, count, SHARD):
        yield Shard(start, min(start + SHARD, count), _folder(out) / f"{start:09d}.npy")


def join(shards: Sequence[Shard], shape: tuple[int, int], out: Path) -> None:
    """Copies finished shards into one ``.npy`` file that appears whole under its name.

    Raises:
        NotReady: the disk has no room for it.
    """
    blocks = (np.load(shard.path, mmap_mode="r", allow_pickle=False) for shard in shards)
    write_rows(out, shape, blocks)


def write_rows(out: Path, shape: tuple[int, ...], blocks: Iterable[Matrix]) -> None:
    """Writes blocks of float32 rows one after the other as one ``.npy`` file of this shape."""
    draft = out.with_suffix(".draft")
    description = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with draft.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, description)
        take_room(file.fileno(), file.tell() + 4 * math.prod(shape), draft)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype="<f4").data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(out)


def _folder(out: Path) -> Path:
    return out.with_suffix(".parts")


def _encode_piece(
    shared: tuple[Encoder, Callable[[str], bytes], Callable[[bytes], str] | None, str, int],
    piece: tuple[Sequence[str], Sequence[str]],
) -> Matrix:
    """Embeddings of one shard; images are decoded while those before are in the forward pass."""
    encoder, read, content_key, device, workers = shared
    uris, keys = piece
    device = resolve(device) if encoder.on_device else "cpu"

    def prepare(uri: str, key: str) -> NDArray[Any]:
        if not encoder.looks:
            return encoder.take(None, key, uri)
        encoded = read(uri)
        if content_key is not None and content_key(encoded) != key:
            raise Replaced(uri)
        return encoder.take(decode(encoded, uri), key, uri)

    def forward(batch: NDArray[Any]) -> Matrix:
        return encoder.forward(batch, device)

    workers = workers or (1 if device == "cpu" else min(16, os.cpu_count() or 1))
    with ThreadPoolExecutor(workers) as pool:
        prepared = pool.map(prepare, uris, keys)
        blocks = [halving(forward, batch) for batch in _batches(prepared)]
    embeddings = np.concatenate(blocks).astype(np.float32, copy=False)
    finite = np.isfinite(embeddings).all(axis=1)
    if not finite.all():
        raise DataError(f"{uris[int(np.argmin(finite))]}: the encoder's answer is not a number")
    return embeddings


def _batches(prepared: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """(B, ...) arrays of ``BATCH`` inputs, the last one shorter."""
    batch: list[NDArray[Any]] = []
    for array in prepared:
        batch.append(array)
        if len(batch) == BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)
