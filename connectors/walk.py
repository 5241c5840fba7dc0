"""Which files below a folder are images, and which are passed over, counted by reason: nothing is
left out in silence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from connectors.base import PassedOver

SUFFIXES = frozenset(
    [".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"]
)
SYSTEM_FOLDERS = frozenset(
    [
        *("@eadir", ".@__thumb", "#recycle", "@recycle", "#snapshot", "$recycle.bin", "lost+found"),
        *("system volume information", "__macosx", "@tmp"),
    ]
)
"""Thumbnails, deleted files and the like of NAS and desktop systems; names in lower case."""
PROJECT, BACKUP = "coreloop.toml", "backup.json"
"""Files that make a folder one of ours."""

HIDDEN = "hidden"
SYSTEM = "thumbnails, deleted files and the like"
LINKED = "linked folder (give its own path instead)"
OURS = "of a coreloop project or backup"
SUFFIX = "no suffix of an image that is read"


@dataclass
class Walk:
    """Image files below a folder in path order; what else is there is counted on the way.

    Attributes:
        root: the folder.
        closed: (path relative to it, why) of folders that could not be listed.
    """

    root: Path
    closed: list[tuple[str, str]] = field(default_factory=list)
    _passed: dict[tuple[str, str], PassedOver] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Path]:
        for folder, names, files in os.walk(self.root, onerror=self._closed):
            here = Path(folder)
            names[:] = sorted(name for name in names if self._enters(here, name))
            for name in sorted(files):
                suffix = Path(name).suffix.lower()
                if name.startswith("."):
                    self._pass(HIDDEN, here / name)
                elif suffix not in SUFFIXES:
                    self._pass(SUFFIX, here / name, suffix)
                else:
                    yield here / name

    @property
    def passed_over(self) -> list[PassedOver]:
        """By reason, the most first; whole once all images were walked over."""
        return sorted(
            self._passed.values(), key=lambda each: (-each.count, each.reason, each.suffix)
        )

    def _enters(self, folder: Path, name: str) -> bool:
        """Whether a folder is looked into; what lies in another is counted."""
        path = folder / name
        if path.is_symlink():
            self._pass(LINKED, path)
            return False
        reason = _not_the_pools(path)
        for below, _, files in os.walk(path) if reason else ():
            for file in files:
                self._pass(reason, Path(below) / file)
        return not reason

    def _closed(self, error: OSError) -> None:
        path = Path(str(error.filename)).relative_to(self.root).as_posix()
        self.closed.append((path, f"this folder cannot be listed: {error.strerror}"))

    def _pass(self, reason: str, path: Path, suffix: str = "") -> None:
        before = self._passed.get((reason, suffix))
        example = before.example if before else path.relative_to(self.root).as_posix()
        count = (before.count if before else 0) + 1
        self._passed[reason, suffix] = PassedOver(reason, suffix, count, example)


def _not_the_pools(folder: Path) -> str:
    """Why a folder's images are none of the pool; empty if they are."""
    if folder.name.lower() in SYSTEM_FOLDERS:
        return SYSTEM
    if folder.name.startswith("."):
        return HIDDEN
    if any(os.path.isfile(folder / name) for name in (PROJECT, BACKUP)):  # False where closed
        return OURS
    return ""
