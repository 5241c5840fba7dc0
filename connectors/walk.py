"""Which files below a folder are images, and which are passed over, counted by reason: nothing is
left out in silence."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from connectors import heif
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
PROJECT, BACKUP, EXPORT = MARKS = "coreloop.toml", "backup.json", ".coreloop-export"
"""Files that make a folder one of ours; the last stands in folders of exported images."""

HIDDEN = "hidden"
SYSTEM = "thumbnails, deleted files and the like"
LINKED = "linked folder (give its own path, or init --follow-links)"
READ_ALREADY = "linked folder that leads to what is read at its own place"
OURS = "of a coreloop project, backup or export"
SUFFIX = "no suffix of an image that is read"
DANGLING = "link that leads nowhere"
NO_HEIF = "pip install 'coreloop[heic]' reads these"


@dataclass
class Passed:
    """What is passed over, counted by reason and suffix.

    Attributes:
        what: see ``PassedOver``.
    """

    what: str = "file"
    _by_kind: dict[tuple[str, str], PassedOver] = field(default_factory=dict)

    def add(self, reason: str, suffix: str, example: str, count: int = 1) -> None:
        """One more, or several; the first of a kind is its example."""
        before = self._by_kind.get((reason, suffix))
        if before is not None:
            example, count = before.example, before.count + count
        self._by_kind[reason, suffix] = PassedOver(reason, suffix, count, example, self.what)

    def clear(self) -> None:
        """Nothing is passed over yet."""
        self._by_kind.clear()

    @property
    def counted(self) -> list[PassedOver]:
        """By reason and suffix, the most first."""
        return sorted(
            self._by_kind.values(), key=lambda each: (-each.count, each.reason, each.suffix)
        )


@dataclass
class Walk:
    """Image files below a folder in path order; what else is there is counted on the way.

    Attributes:
        root: the folder.
        follow_links: whether linked folders are walked, each place once.
        closed: (path relative to it, why) of folders that could not be listed.
    """

    root: Path
    follow_links: bool = False
    closed: list[tuple[str, str]] = field(default_factory=list)
    _passed: Passed = field(default_factory=Passed)
    _followed: list[Path] = field(default_factory=list)

    def __iter__(self) -> Iterator[Path]:
        walked = os.walk(self.root, onerror=self._closed, followlinks=self.follow_links)
        for folder, names, files in walked:
            here = Path(folder)
            names[:] = [name for name in sorted(names) if self._enters(here, name)]
            for name in sorted(files):
                reason, suffix = reason_by_name(name)
                if reason == SUFFIX and not (here / name).exists():
                    reason, suffix = DANGLING, ""
                if reason:
                    self._pass(reason, here / name, suffix)
                else:
                    yield here / name

    @property
    def passed_over(self) -> list[PassedOver]:
        """By reason, the most first; whole once all images were walked over."""
        return self._passed.counted

    def _enters(self, folder: Path, name: str) -> bool:
        """Whether a folder is looked into; what lies in another is counted."""
        path = folder / name
        if path.is_symlink() and not self._follows(path):
            return False
        reason = folder_reason(name)
        if is_ours(path):
            reason = reason or OURS
        for below, _, files in os.walk(path) if reason else ():
            for file in files:
                self._pass(reason, Path(below) / file)
        return not reason

    def _follows(self, link: Path) -> bool:
        """Whether a linked folder is walked: not into, or around, one that is walked anyway."""
        if not self.follow_links:
            self._pass(LINKED, link)
            return False
        target = link.resolve()
        walked = [self.root.resolve(), *self._followed]
        if any(target.is_relative_to(each) or each.is_relative_to(target) for each in walked):
            self._pass(READ_ALREADY, link)
            return False
        self._followed.append(target)
        return True

    def _closed(self, error: OSError) -> None:
        path = Path(str(error.filename)).relative_to(self.root).as_posix()
        self.closed.append((path, f"this folder cannot be listed: {error.strerror}"))

    def _pass(self, reason: str, path: Path, suffix: str = "") -> None:
        self._passed.add(reason, suffix, path.relative_to(self.root).as_posix())


def is_ours(folder: Path) -> bool:
    """Whether a folder is a project, a backup or an export; False where it is closed."""
    return any(os.path.isfile(folder / mark) for mark in MARKS)


def reason_to_pass(path: str, all_paths: Container[str]) -> tuple[str, str]:
    """(why an object is no image of the pool, its suffix if that is why); empty if it is one.

    Args:
        all_paths: of everything that was listed, relative to the same root.
    """
    *above, name = path.split("/")
    for depth, folder in enumerate(above, 1):
        inside = "/".join(above[:depth])
        marked = any(f"{inside}/{mark}" in all_paths for mark in MARKS)
        if reason := folder_reason(folder) or (OURS if marked else ""):
            return reason, ""
    return reason_by_name(name)


def folder_reason(name: str) -> str:
    """Why the images of a folder of this name are none of the pool; empty if they are."""
    if name.lower() in SYSTEM_FOLDERS:
        return SYSTEM
    return HIDDEN if name.startswith(".") else ""


def reason_by_name(name: str) -> tuple[str, str]:
    """(why a file of this name is no image, its suffix if that is why); empty if it is one."""
    if name.startswith("."):
        return HIDDEN, ""
    suffix = Path(name).suffix.lower()
    if suffix in SUFFIXES or (suffix in heif.SUFFIXES and heif.can_be_read()):
        return "", ""
    return (NO_HEIF if suffix in heif.SUFFIXES else SUFFIX), suffix
