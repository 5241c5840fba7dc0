"""Images fetched from afar, kept here up to a size; the least recently read goes first."""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

LIMIT = 20_000_000_000
"""Bytes that are kept."""
LEFT = 0.8
"""Share of the limit that is left once it was reached."""
LOOKED_AT = 0.02
"""Share of the limit that is written between two looks at what is kept."""


def default_folder() -> Path:
    """``coreloop/images`` where this user's caches are."""
    above = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(above).expanduser() / "coreloop" / "images"


@dataclass
class ImageCache:
    """Encoded images by their address. What cannot be written is not kept; nothing else changes.

    Attributes:
        folder: only this user may look into it.
        limit: bytes; 0: nothing is kept.
    """

    folder: Path
    limit: int = LIMIT
    _written: float = field(default=float("inf"), repr=False)

    def read(self, address: str) -> bytes | None:
        """The bytes, or None where they are not kept."""
        path = self._path(address)
        with suppress(OSError):
            data = path.read_bytes()
            os.utime(path)  # the least recently read goes first
            return data
        return None

    def write(self, address: str, data: bytes) -> None:
        """Keeps the bytes, and lets others go where there are too many."""
        if len(data) > self.limit * LOOKED_AT:
            return
        path = self._path(address)
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, draft = tempfile.mkstemp(dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                os.replace(draft, path)
            except BaseException:
                Path(draft).unlink(missing_ok=True)
                raise
            self._written += len(data)
        if self._written > self.limit * LOOKED_AT:
            self._let_go()

    def forget(self, address: str) -> None:
        """The bytes are not what is there now."""
        with suppress(OSError):
            self._path(address).unlink()

    def _path(self, address: str) -> Path:
        name = hashlib.blake2b(address.encode(), digest_size=20).hexdigest()
        return self.folder / name[:2] / name

    def _let_go(self) -> None:
        self._written = 0
        kept = []
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with suppress(OSError):
                    status = (Path(folder) / name).stat()
                    kept.append((status.st_mtime, status.st_size, Path(folder) / name))
        size = sum(each for _, each, _ in kept)
        if size <= self.limit:
            return
        for _, each, path in sorted(kept):
            if size <= LEFT * self.limit:
                return
            with suppress(OSError):
                path.unlink()
                size -= each
