"""backup and restore: the records, the arrays and what the labeler keeps here, in a folder.

The images stay where they are. ``backup.json`` names each file and its digest; it is read first by
``restore``, which takes nothing else. Both folders appear whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from db.arrays import BLOCK, file_digest
from db.copies import copy_database, unsound
from db.errors import Damaged, Missing
from loop import config as settings
from loop.errors import ConfigError
from loop.project import Project, find

LIST = "backup.json"
DATABASE = "coreloop.db"
LABELER_FILES = ("oracle.jsonl", "sheets")
"""What a labeler keeps in the project folder. Tokens are not copied, reports are written again."""
FOLDERS = ("arrays", "sheets")
"""The only folders that a backup has."""


@dataclass(frozen=True)
class Copied:
    """What was copied and where to."""

    folder: Path
    files: int
    bytes: int


def backup(
    project: Project, target: Path, on_progress: Callable[[int, int], None] = lambda done, all: None
) -> Copied:
    """Copies a project into a new folder while other commands may go on.

    Raises:
        ConfigError: the folder exists.
        Damaged, Missing: an array is not what its row says.
    """
    with _draft(target, "choose another name") as draft:
        named = copy_database(project.records, draft / DATABASE)
        names = [settings.FILE, *_labeler_files(project), *(f"arrays/{one}.npy" for one in named)]
        digests = {DATABASE: file_digest(draft / DATABASE)}
        for done, name in enumerate(names, 1):
            digests[name] = _copy(project.root / name, draft / name)
            _check_array(name, digests[name])
            on_progress(done, len(names))
        _own_database(draft)
        digests[settings.FILE] = file_digest(draft / settings.FILE)
        listed = {
            "name": project.config.project.name,
            "made_at": datetime.now(UTC).isoformat(),
            "files": digests,
        }
        (draft / LIST).write_text(json.dumps(listed, indent=1), encoding="utf-8")
        size = sum(path.stat().st_size for path in draft.rglob("*") if path.is_file())
    return Copied(target.resolve(), len(digests), size)


def restore(
    source: Path,
    target: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, all: None,
) -> Copied:
    """Makes a project folder of a backup; by default it gets the project's name.

    Raises:
        ConfigError: not a backup, or the folder is not empty.
        Damaged: a file of the backup is not what it was; nothing is made.
    """
    listed = _read_list(source)
    target = target or Path(_folder_name(str(listed["name"])))
    size = 0
    with _draft(target, "restore into an empty folder") as draft:
        for done, (name, digest) in enumerate(listed["files"].items(), 1):
            if _copy(source / name, draft / name) != digest:
                raise Damaged(f"{source / name} is damaged; nothing was restored")
            size += (draft / name).stat().st_size
            on_progress(done, len(listed["files"]))
        with closing(sqlite3.connect(draft / DATABASE)) as raw:
            if wrong := unsound(raw):
                raise Damaged(f"{source / DATABASE}: {wrong[0]}; nothing was restored")
        for folder in ("arrays", "reports"):
            (draft / folder).mkdir(exist_ok=True)
        _own_database(draft)
    return Copied(target.resolve(), len(listed["files"]), size)


def _own_database(root: Path) -> None:
    """The records are in this folder, wherever they were before; an address may hold secrets."""
    project = find(root)
    if project.config.project.database:
        section = project.config.project.model_copy(update={"database": ""})
        config = project.config.model_copy(update={"project": section})
        (root / settings.FILE).write_text(settings.dump(config), encoding="utf-8")


@contextmanager
def _draft(target: Path, advice: str) -> Iterator[Path]:
    """A folder beside ``target`` that takes its name when all went well, and is removed if not."""
    target = target.resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} exists and is not empty; {advice}")
    folder = target.with_name(f".{target.name}.coreloop-draft")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
        folder.replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _labeler_files(project: Project) -> Iterator[str]:
    for name in LABELER_FILES:
        place = project.root / name
        for path in sorted(place.iterdir()) if place.is_dir() else [place]:
            if path.is_file():
                yield path.relative_to(project.root).as_posix()


def _check_array(name: str, digest: str) -> None:
    if name.startswith("arrays/") and PurePosixPath(name).stem != digest:
        raise Damaged(f"{name} is damaged; 'coreloop doctor --deep --repair' computes it again")


def _read_list(source: Path) -> dict[str, Any]:
    """The list of a backup; every name in it is a plain file at a place that backups have."""
    try:
        listed = json.loads((source / LIST).read_text(encoding="utf-8"))
        files = dict(listed["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{source} is not a backup: it has no readable {LIST}; 'coreloop backup' makes one"
        ) from None
    for name in files:
        parts = PurePosixPath(name).parts
        fits = len(parts) == 1 or (len(parts) == 2 and parts[0] in FOLDERS)
        if not fits or ".." in parts or "/" in parts or name.startswith("."):
            raise ConfigError(f"{source / LIST} names {name!r}, which no backup has; not restored")
    if not {settings.FILE, DATABASE} <= files.keys():
        raise ConfigError(f"{source} is not a backup: no {settings.FILE} or no {DATABASE}")
    return {"name": listed.get("name", ""), "files": files}


def _folder_name(name: str) -> str:
    """A project's name as the name of a folder."""
    plain = "".join(c if c.isalnum() or c in "-_. " else "-" for c in name).strip(". ")
    return plain or "restored"


def _copy(source: Path, target: Path) -> str:
    """Copies a file, safe on disk before it returns; the digest of what was written."""
    target.parent.mkdir(exist_ok=True)
    state = hashlib.blake2b(digest_size=16)
    try:
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise Missing(f"cannot read {source} ({error.strerror}); nothing was copied") from None
    with os.fdopen(handle, "rb") as read, target.open("xb") as write:
        while block := read.read(BLOCK):
            state.update(block)
            write.write(block)
        write.flush()
        os.fsync(write.fileno())
    return state.hexdigest()
