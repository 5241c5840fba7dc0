"""Encoders by name: images -> (N, D) float32. Importing this package imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from loop.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from loop.encoders.base import Encoder

KINDS: dict[str, tuple[str, str]] = {
    "pixels": ("loop.encoders.pixels", "pixels[:SIDE]: grey values, no model needed"),
    "timm": ("loop.encoders.timm", "timm:MODEL[:CHECKPOINT][?size=&mean=&std=&classes=&pad=]"),
}


def check(spec: str) -> None:
    """Looks at the names in ``spec`` without loading a model. Raises ConfigError."""
    for part in spec.split("+"):
        kind = part.partition(":")[0]
        if kind not in KINDS:
            raise ConfigError(
                f"unknown encoder {kind!r}{nearest(kind, KINDS)}; 'coreloop encoders' lists all"
            )


def get(spec: str) -> Encoder:
    """The encoder of a spec such as ``pixels:16``; several joined by ``+`` are concatenated.

    Raises:
        ConfigError: unknown name, wrong option, or weights that are not there.
    """
    check(spec)
    parts = [_one(part) for part in spec.split("+")]
    if len(parts) == 1:
        return parts[0]
    from loop.encoders.joined import Joined

    return Joined(tuple(parts))


def _one(spec: str) -> Encoder:
    kind, _, rest = spec.partition(":")
    return import_module(KINDS[kind][0]).make(rest)  # type: ignore[no-any-return]


def encode(
    encoder: Encoder,
    read: Callable[[str], bytes],
    uris: Sequence[str],
    keys: Sequence[str],
    out: Path,
    *,
    device: str = "cpu",
    workers: int = 0,
    on_progress: Callable[[int], None] = lambda count: None,
) -> None:
    """Writes (N, D) float32 to ``out``; finished shards of a killed run are kept and reused.

    Args:
        read: uri -> encoded bytes.
        keys: item keys in the same order; for encoders that look embeddings up.
        workers: decoding threads besides this one (Pillow decodes outside the GIL).
        on_progress: told the number of newly finished rows.

    Raises:
        DataError: an image cannot be decoded, or the model answers something not finite.
    """
    import shutil

    import numpy as np

    from loop.encoders.base import join, shards

    folder = out.with_suffix(".parts")
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for start, stop in shards(len(uris)):
        part = folder / f"{start:09d}.npy"
        parts.append(part)
        if not part.exists():
            block = _block(encoder, read, uris[start:stop], keys[start:stop], device, workers)
            draft = part.with_suffix(".draft")
            with draft.open("wb") as file:
                np.save(file, block, allow_pickle=False)
            draft.replace(part)
        on_progress(stop - start)
    join(parts, (len(uris), encoder.dim), out)
    shutil.rmtree(folder)


def _block(
    encoder: Encoder,
    read: Callable[[str], bytes],
    uris: Sequence[str],
    keys: Sequence[str],
    device: str,
    workers: int,
) -> NDArray[np.float32]:
    """One shard; images are decoded ahead of the forward pass."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    from loop.images import decode

    size = 64
    with ThreadPoolExecutor(max(1, workers)) as pool:
        prepared = pool.map(lambda uri: encoder.prepare(decode(read(uri), uri)), uris)
        rows = []
        batch = []
        for one in prepared:
            batch.append(one)
            if len(batch) == size:
                rows.append(encoder.forward(np.stack(batch), device))
                batch = []
        if batch:
            rows.append(encoder.forward(np.stack(batch), device))
    block = np.concatenate(rows).astype(np.float32, copy=False)
    good = np.isfinite(block).all(axis=1)
    if not good.all():
        raise DataError(f"{uris[int(np.argmin(good))]}: the encoder's answer is not a number")
    return block
