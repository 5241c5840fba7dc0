"""Encoders by name: images -> (N, D) float32. Importing this package imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loop.engine import LOCAL, Engine
from loop.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from loop.encoders.base import Encoder

KINDS: dict[str, tuple[str, str]] = {
    "pixels": ("loop.encoders.pixels", "pixels[:SIDE]: grey values, no model needed"),
    "timm": ("loop.encoders.timm", "timm:MODEL[:CHECKPOINT][?size=&mean=&std=&classes=&pad=]"),
    "torchvision": (
        "loop.encoders.torchvision",
        "torchvision:MODEL[:WEIGHTS]: a name such as IMAGENET1K_V2, or a file",
    ),
    "open_clip": (
        "loop.encoders.open_clip",
        "open_clip:MODEL:TAG_OR_FILE: CLIP, also zero-shot class probabilities",
    ),
    "file": ("loop.encoders.file", "file:ARRAY.npy: your own, names of rows in ARRAY.keys"),
}


def check(spec: str) -> None:
    """Looks at the names in ``spec`` without loading a model. Raises ConfigError."""
    for part in _parts(spec):
        kind = part.partition(":")[0]
        if kind not in KINDS:
            raise ConfigError(
                f"unknown encoder {kind!r}{nearest(kind, KINDS)}; 'coreloop encoders' lists all"
            )


def located(spec: str) -> str:
    """The spec with its files by their whole paths, so that it means the same in any folder."""
    return "+".join(_located(part) for part in _parts(spec))


def get(spec: str) -> Encoder:
    """The encoder of a spec such as ``pixels:16``; several joined by ``+`` are concatenated.

    Raises:
        ConfigError: unknown name, wrong option, or weights that are not there.
    """
    check(spec)
    parts = [_one(part) for part in _parts(spec)]
    if len(parts) == 1:
        return parts[0]
    from loop.encoders.joined import Joined

    return Joined(tuple(parts))


def zero_shot(
    encoder: Encoder, embeddings: NDArray[np.float32], class_names: Sequence[str]
) -> NDArray[np.float64]:
    """(N, C) class probabilities from the class names alone; no label is used.

    Args:
        encoder: a CLIP-like encoder, or several of which one is.
        embeddings: (N, D) float32 that it made.

    Raises:
        ConfigError: the encoder has no text side.
        DataError: no class names, or embeddings of another encoder.
    """
    from loop.encoders.joined import Joined

    start = 0
    for part in encoder.parts if isinstance(encoder, Joined) else (encoder,):
        if hasattr(part, "probabilities"):
            stop = start + part.dim if isinstance(encoder, Joined) else embeddings.shape[1]
            return part.probabilities(embeddings[:, start:stop], class_names)  # type: ignore[no-any-return]
        start += part.dim
    raise ConfigError(
        f"{encoder.digest} knows no words; zero-shot needs a CLIP encoder, "
        "e.g. open_clip:ViT-B-32:laion2b_s34b_b79k"
    )


def _parts(spec: str) -> list[str]:
    """Splits at each ``+`` that a name follows, so that paths may hold one."""
    return re.split(r"\+(?=[a-z_]+(?:[:+]|$))", spec)


def _located(spec: str) -> str:
    kind, _, rest = spec.partition(":")
    if kind == "file" and rest:
        return f"file:{Path(rest).expanduser().absolute()}"
    model, _, rest = rest.partition(":")
    weights, mark, options = rest.partition("?")
    file = Path(weights).expanduser()
    if not weights or not file.is_file():
        return spec
    return f"{kind}:{model}:{file.absolute()}{mark}{options}"


def _one(spec: str) -> Encoder:
    kind, _, rest = spec.partition(":")
    return import_module(KINDS[kind][0]).make(rest)  # type: ignore[no-any-return]


def short(name: str) -> str:
    """An encoder's name for people: without folders and parameters."""
    parts = [part.partition("?")[0].rsplit(":", 1) for part in _parts(name)]
    return "+".join(":".join([*kind, Path(last).name]) for *kind, last in parts)


def encode(
    encoder: Encoder,
    read: Callable[[str], bytes],
    uris: Sequence[str],
    keys: Sequence[str],
    out: Path,
    *,
    device: str = "cpu",
    workers: int = 0,
    where: Engine = LOCAL,
    on_progress: Callable[[int], None] = lambda count: None,
) -> None:
    """Writes (N, D) float32 to ``out``; finished shards are kept beside it until ``forget``, so
    that a run killed at any time computes none of them twice.

    Args:
        read: uri -> encoded bytes.
        keys: item keys in the same order; for encoders that look embeddings up.
        device: for encoders that use one; ``auto`` is resolved where a shard is computed.
        workers: decoding threads besides the forward pass (Pillow decodes and resizes outside
            the GIL); 0 chooses: one beside a CPU model, which needs the cores, all for a GPU.
        where: the engine that maps the shards.
        on_progress: told the number of newly finished rows.

    Raises:
        DataError: an image cannot be decoded, or the model answers something not finite.
    """
    import os

    import numpy as np

    from loop.encoders.base import join, shards

    folder = out.with_suffix(".parts")
    folder.mkdir(parents=True, exist_ok=True)
    edges = list(shards(len(uris)))
    parts = [folder / f"{start:09d}.npy" for start, _ in edges]
    missing = [
        i
        for i, part in enumerate(parts)
        if not _whole(part, (edges[i][1] - edges[i][0], encoder.dim))
    ]
    kept = len(uris) - sum(edges[i][1] - edges[i][0] for i in missing)
    if kept:
        on_progress(kept)
    pieces = [(uris[slice(*edges[i])], keys[slice(*edges[i])]) for i in missing]
    for number, block in where.map(_shard, (encoder, read, device, workers), pieces):
        draft = parts[missing[number]].with_suffix(".draft")
        with draft.open("wb") as file:
            np.save(file, block, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(parts[missing[number]])
        on_progress(len(block))
    join(parts, (len(uris), encoder.dim), out)


def _whole(part: Path, shape: tuple[int, int]) -> bool:
    """Whether a finished shard is there; a power cut may have left half of one."""
    import numpy as np

    if not part.exists():
        return False
    try:
        return bool(np.load(part, mmap_mode="r", allow_pickle=False).shape == shape)
    except (ValueError, OSError, EOFError):
        return False


def forget(out: Path) -> None:
    """Removes the shards of ``encode``, once what it wrote is safe."""
    import shutil

    shutil.rmtree(out.with_suffix(".parts"), ignore_errors=True)


def _shard(
    shared: tuple[Encoder, Callable[[str], bytes], str, int],
    piece: tuple[Sequence[str], Sequence[str]],
) -> NDArray[np.float32]:
    """One shard; images are decoded while the forward pass of those before runs."""
    import os
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    from loop.device import halving, resolve
    from loop.images import decode

    encoder, read, device, workers = shared
    uris, keys = piece
    device = resolve(device) if encoder.on_device else "cpu"

    def prepare(uri: str, key: str) -> NDArray[Any]:
        return encoder.take(decode(read(uri), uri) if encoder.looks else None, key, uri)

    def forward(batch: NDArray[Any]) -> NDArray[np.float32]:
        return encoder.forward(batch, device)

    size = 64
    workers = workers or (1 if device == "cpu" else min(16, os.cpu_count() or 1))
    with ThreadPoolExecutor(workers) as pool:
        prepared = pool.map(prepare, uris, keys)
        rows = []
        batch = []
        for one in prepared:
            batch.append(one)
            if len(batch) == size:
                rows.append(halving(forward, np.stack(batch)))
                batch = []
        if batch:
            rows.append(halving(forward, np.stack(batch)))
    block = np.concatenate(rows).astype(np.float32, copy=False)
    good = np.isfinite(block).all(axis=1)
    if not good.all():
        raise DataError(f"{uris[int(np.argmin(good))]}: the encoder's answer is not a number")
    return block
