"""Arrays beside the database: ``.npy`` files named by their content, and models (``.safetensors``).

A file appears under its final name by one rename after it is complete and on disk, and its row is
committed after that: a row without a file cannot happen. A file without a row was left by a killed
command, or belongs to records that are not here now: only ``coreloop doctor --prune`` removes it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.errors import Damaged, Full, Missing
from db.faults import reached
from db.models import Array

BLOCK = 1 << 22


def file_digest(path: Path) -> str:
    """32 hex digits, blake2b-128 of the file's bytes."""
    state = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            state.update(block)
    return state.hexdigest()


def write_file(array: NDArray[np.generic], folder: Path) -> Path:
    """Stores an array as ``<digest>.npy`` and returns its path.

    Raises:
        Full: it cannot be written.
    """

    def save(file: BinaryIO) -> None:
        # given the file itself, numpy writes through a copy of it whose close nobody checks
        np.save(SimpleNamespace(write=file.write), array, allow_pickle=False)

    return _write(save, array.nbytes, ".npy", folder)


def write_model(model: bytes, folder: Path) -> Path:
    """Stores a safetensors file as ``<digest>.safetensors`` and returns its path.

    Raises:
        Full: it cannot be written.
    """
    return _write(lambda file: file.write(model), len(model), ".safetensors", folder)


def _write(write: Callable[[BinaryIO], object], size: int, suffix: str, folder: Path) -> Path:
    draft = folder / f"draft-{os.getpid()}-{os.urandom(4).hex()}{suffix}"
    try:
        with draft.open("wb") as file:
            write(file)
        return adopt_file(draft, folder)
    except OSError as error:
        draft.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
            missing = max(0, size - shutil.disk_usage(folder).free) / 1e6
            raise Full(
                f"cannot write {size / 1e6:.1f} MB to {folder} ({error.strerror}, "
                f"{missing:.1f} MB are missing); nothing was changed. Free some space or check "
                "permissions, then repeat the command"
            ) from error
        raise


def adopt_file(draft: Path, folder: Path) -> Path:
    """Moves a finished file under its content's name, after it is safely on disk."""
    with draft.open("rb+") as file:
        os.fsync(file.fileno())
    final = folder / f"{file_digest(draft)}{draft.suffix}"
    reached("before-array")
    draft.replace(final)
    reached("after-array")
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return final


def record(session: Session, path: Path, *, pool_id: int, kind: str, name: str, of: str) -> None:
    """Adds the row of a file that ``write_file`` or ``adopt_file`` made; replaces an older one."""
    shape, dtype = [], "safetensors"
    if path.suffix == ".npy":
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        shape, dtype = list(array.shape), str(array.dtype)
    row = find(session, pool_id=pool_id, kind=kind, name=name, of=of)
    if row is None:
        row = Array(pool_id=pool_id, kind=kind, name=name, of=of)
        session.add(row)
    row.digest, row.shape, row.dtype = path.stem, shape, dtype


def record_all(
    session: Session, paths: Mapping[str, Path], *, pool_id: int, kind: str, of: str
) -> None:
    """``record`` for several files of a kind. ``paths``: name -> file."""
    for name, path in paths.items():
        record(session, path, pool_id=pool_id, kind=kind, name=name, of=of)


def find(session: Session, *, pool_id: int, kind: str, name: str, of: str) -> Array | None:
    """The row of an array, or None."""
    return session.scalar(
        select(Array).where(
            Array.pool_id == pool_id, Array.kind == kind, Array.name == name, Array.of == of
        )
    )


def existing(row: Array, folder: Path) -> Path:
    """The file of a row. Raises Missing: it has gone."""
    path = folder / row.file
    if not path.is_file():
        raise Missing(f"array {path.name} ({row.kind}) is gone; {_remedy(row)}")
    return path


def _remedy(row: Array) -> str:
    return f"'coreloop doctor --repair' computes {row.kind} again where it can"


def load(row: Array, folder: Path) -> NDArray[np.generic]:
    """The array, memory-mapped.

    Raises:
        Missing: the file has gone.
        Damaged: it does not have the recorded shape (a truncated copy, say).
    """
    path, remedy = existing(row, folder), _remedy(row)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise Damaged(f"array {path.name} ({row.kind}) cannot be read: {error}; {remedy}") from None
    if list(array.shape) != row.shape or str(array.dtype) != row.dtype:
        raise Damaged(
            f"array {path.name} is {array.shape} {array.dtype}, recorded {row.shape} {row.dtype}; "
            f"{remedy}"
        )
    return array  # type: ignore[no-any-return]


def remove_drafts(folder: Path) -> None:
    """Removes files that a killed command had begun; nobody else may be writing arrays."""
    for draft in folder.glob("draft-*.*"):
        draft.unlink(missing_ok=True)


def unnamed(session: Session, folder: Path) -> list[Path]:
    """Files that no row names, sorted."""
    named = set(session.scalars(select(Array.digest)))
    files = sorted([*folder.glob("*.npy"), *folder.glob("*.safetensors")])
    return [path for path in files if path.stem not in named]
