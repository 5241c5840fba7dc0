"""A folder tree of images. Sub-folders may be labels; a second folder may be the test split."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from connectors.base import Image, SourceError, Unreadable

SUFFIXES = frozenset([".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"])
MAX_BYTES = 500_000_000
TEST = "test:"
"""Prefix of uris below the test folder."""


def content_key(data: bytes) -> str:
    """32 hex digits, blake2b-128 of the encoded bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def check_image(data: bytes) -> str | None:
    """Why these bytes are no usable image, or None. Decodes them wholly, so that a truncated file
    is found now and not in the middle of training."""
    import io

    from PIL import Image as Pillow

    if not data:
        return "empty file"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Pillow.DecompressionBombWarning)
            with Pillow.open(io.BytesIO(data)) as image:
                image.load()
    except Exception as error:  # decoders fail in many ways on hostile bytes; each is one bad file
        return f"{type(error).__name__}: {error}"[:200].replace("<_io.BytesIO object", "<file")
    return None


@dataclass(frozen=True)
class Folder:
    """Source over a folder.

    Attributes:
        root: where the pool's images are, at any depth.
        labelled: the first folder level below ``root`` is each image's true label.
        test: a labelled folder whose images are the test split.
    """

    root: Path
    labelled: bool = False
    test: Path | None = None

    def scan(self) -> Iterator[Image | Unreadable]:
        """Every image once per path, sorted by path; the test folder last.

        Raises:
            SourceError: a folder is missing or cannot be listed.
        """
        yield from self._scan(self.root, "", self.labelled, "pool")
        if self.test is not None:
            yield from self._scan(self.test, TEST, True, "test")

    def read(self, uri: str) -> bytes:
        """Encoded bytes of one image.

        Raises:
            SourceError: it is gone, or its path leaves the folder.
        """
        root = self.root
        if uri.startswith(TEST) and self.test is not None:
            root, uri = self.test, uri.removeprefix(TEST)
        path = root / uri
        if not path.resolve().is_relative_to(root.resolve()):
            raise SourceError(f"{uri} leads out of {root}; it is not read")
        try:
            return path.read_bytes()
        except OSError as error:
            raise SourceError(
                f"cannot read {path} ({error.strerror}); put the file back, the project needs it"
            ) from None

    def _scan(
        self, root: Path, prefix: str, labelled: bool, split: str
    ) -> Iterator[Image | Unreadable]:
        if not root.is_dir():
            raise SourceError(f"no folder {root}; check 'path' under [pool] in coreloop.toml")
        inside = root.resolve()
        for path in _files(root):
            relative = path.relative_to(root).as_posix()
            uri = prefix + relative
            if not path.resolve().is_relative_to(inside):
                yield Unreadable(uri, "symbolic link that leaves the folder")
                continue
            try:
                if path.stat().st_size > MAX_BYTES:
                    yield Unreadable(uri, f"larger than {MAX_BYTES // 1_000_000} MB")
                    continue
                data = path.read_bytes()
            except OSError as error:
                yield Unreadable(uri, error.strerror or str(error))
                continue
            reason = check_image(data)
            if reason is not None:
                yield Unreadable(uri, reason)
                continue
            label = relative.split("/")[0] if labelled and "/" in relative else None
            yield Image(content_key(data), uri, label, split)


def _files(root: Path) -> Iterator[Path]:
    """Image files below a folder in path order; hidden files and folders are passed over."""
    for folder, names, files in os.walk(root, followlinks=False):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(folder) / name
