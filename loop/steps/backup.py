"""backup and restore: the records, the arrays and what the labeler keeps here, in a folder.

The images stay where they are. ``backup.json`` names each file and its digest; it is read first by
``restore``, which takes nothing else. Both folders appear whole or not at all, and their database
was opened and checked before they do.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import stat
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from sqlalchemy import func, select

from connectors.base import SourceError
from connectors.folder import content_key
from db.arrays import BLOCK, file_digest
from db.copies import copy_database, unsound
from db.errors import Damaged, Full, Missing, mapped
from db.models import Item
from db.passwords import without_passwords
from loop import config as settings
from loop.errors import ConfigError
from loop.files import to_disk
from loop.project import Project, ProjectBusy, find
from loop.project.project import BACKUP_LIST as LIST

DATABASE = "coreloop.db"
LABELER_FILES = ("oracle.jsonl", "sheets")
"""What a labeler keeps in the project folder. Tokens are not copied, reports are written again."""
FOLDERS = ("arrays", "sheets")
"""The only folders that a backup has."""


@dataclass(frozen=True)
class Copied:
    """What was copied and where to; ``note`` says what is left to do, if anything is."""

    folder: Path
    files: int
    bytes: int
    note: str = ""


def backup(
    project: Project, target: Path, on_progress: Callable[[int, int], None] = lambda done, all: None
) -> Copied:
    """Copies a project into a new folder while other commands may go on.

    Raises:
        ConfigError: the folder exists.
        ProjectBusy: another command is making this folder.
        Damaged, Missing: the records are unsound, or an array is not what its row says.
        Full: there is no room, or no right to write there.
    """
    with _draft(target, "choose another name") as draft:
        array_files = copy_database(project.records, draft / DATABASE)
        _check_database(draft / DATABASE)
        names = [
            settings.FILE,
            *_labeler_files(project),
            *(f"arrays/{file}" for file in array_files),
        ]
        digests = {DATABASE: file_digest(draft / DATABASE)}
        for done, name in enumerate(names, 1):
            digests[name] = _copy(project.root / name, draft / name)
            _check_array(name, digests[name])
            on_progress(done, len(names))
        _own_database(draft)
        digests[settings.FILE] = file_digest(draft / settings.FILE)
        listed = {
            "name": project.config.project.name,
            "folder": str(project.root),
            "made_at": datetime.now(UTC).isoformat(),
            "files": digests,
        }
        (draft / LIST).write_text(json.dumps(listed, indent=1), encoding="utf-8")
        to_disk(draft / LIST)
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
        ProjectBusy: another command is making this folder.
        Damaged: a file of the backup is not what it was; nothing is made.
        Full: there is no room, or no right to write there.
    """
    listed = _read_list(source)
    target = (target or Path(_folder_name(str(listed["name"])))).resolve()
    size = 0
    with _draft(target, "restore into an empty folder") as draft:
        for done, (name, digest) in enumerate(listed["files"].items(), 1):
            if _copy(source / name, draft / name) != digest:
                raise Damaged(f"{source / name} is damaged; nothing was restored")
            size += (draft / name).stat().st_size
            on_progress(done, len(listed["files"]))
        _check_database(draft / DATABASE)
        for folder in ("arrays", "reports"):
            (draft / folder).mkdir(exist_ok=True)
        notes = [_forget_password(draft, target)]
        _own_database(draft)
        notes.append(_find_images(draft, target, str(listed["folder"])))
    return Copied(target, len(listed["files"]), size, "; ".join(filter(None, notes)))


def _check_database(file: Path) -> None:
    """Raises Damaged if SQLite finds anything wrong with a copied database."""
    with mapped(), closing(sqlite3.connect(file)) as raw:
        if wrong := unsound(raw):
            raise Damaged(
                f"{file.name}: {wrong[0]}; nothing was copied. 'coreloop doctor --deep' says more"
            )


def _own_database(root: Path) -> None:
    """The records are in this folder, wherever they were before; an address may hold secrets."""
    config = find(root).written
    if config.project.database:
        section = config.project.model_copy(update={"database": ""})
        _write_config(root, config.model_copy(update={"project": section}))


def _forget_password(root: Path, target: Path) -> str:
    """Takes a password out of the labeler's addresses, where earlier versions let it stand; says
    so if there was one."""
    file = root / settings.FILE
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except ValueError:  # opening the project says what is wrong with it
        return ""
    kept = {**values, "labeler": without_passwords(values.get("labeler", {}))}
    if kept == values:
        return ""
    _write_config(root, settings.check(kept, str(file)))
    return (
        f"the password in an address under [labeler] was not put into {target / settings.FILE}; "
        "change it, for the backup still holds it"
    )


def _write_config(root: Path, config: settings.Config) -> None:
    (root / settings.FILE).write_text(settings.dump(config), encoding="utf-8")
    to_disk(root / settings.FILE)


def _find_images(draft: Path, target: Path, origin: str) -> str:
    """Makes the restored config lead to the images; what a person must do where it cannot.

    Args:
        target: the folder that the restored project will be, which its paths are relative to.
        origin: the folder that was backed up; empty where the backup does not say.
    """
    with find(draft) as project:
        with project.records.read() as session:
            last = session.scalar(select(func.max(Item.row)))
            sample = session.execute(
                select(Item.uri, Item.key).where(Item.row.in_({0, (last or 0) // 2, last}))
            ).all()
        config = project.written
    if not sample or _leads(Project(target, config), sample):
        return ""
    if origin:
        before = Project(Path(origin), config)
        paths = {"path": before.images_at}
        if config.pool.test_path:
            paths["test_path"] = str(before.path(config.pool.test_path))
        moved = config.model_copy(update={"pool": config.pool.model_copy(update=paths)})
        if _leads(Project(target, moved), sample):
            _write_config(draft, moved)
            return ""
    return (
        f"the images are not at {Project(target, config).images_at}; set 'path' under "
        f"[pool] in {target / settings.FILE} to where they are"
    )


def _leads(project: Project, sample: Any) -> bool:
    """Whether one of these (uri, key) is among the project's images."""
    for uri, key in sample:
        try:
            if content_key(project.source.read(uri)) == key:
                return True
        except SourceError:
            continue
    return False


@contextmanager
def _draft(target: Path, advice: str) -> Iterator[Path]:
    """A folder beside ``target`` that takes its name when all went well, and is removed if not.

    Raises:
        ConfigError: the target is not empty.
        ProjectBusy: another command is making the same target.
        Full: there is no room, or no right to write there.
    """
    target = target.resolve()
    draft = target.with_name(f".{target.name}.coreloop-draft")
    taken = ConfigError(f"{target} exists and is not empty; {advice}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise taken
    try:
        with _locked_folder(draft):
            try:
                yield draft
                for folder in [*draft.rglob("*/"), draft]:
                    to_disk(folder)
                _give_name(draft, target, taken)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
        to_disk(target.parent)
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        free = shutil.disk_usage(target.parent).free / 1e6
        raise Full(
            f"{target} cannot be written ({error.strerror}, {free:.1f} MB are free); nothing was "
            "copied. Free some space or check permissions, then repeat the command"
        ) from error


def _give_name(draft: Path, target: Path, taken: ConfigError) -> None:
    """Raises ``taken`` if somebody else made the target meanwhile."""
    try:
        draft.replace(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise taken from None
        raise


CANNOT_WRITE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
)


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    """A new, empty folder that no other command has; what a killed one left in it is removed.

    The lock is on the folder itself and falls with the process, so it leaves no file behind.

    Raises:
        ProjectBusy: another command has it.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue  # whoever made it has just given it its last name
        try:
            _lock(handle, folder)
            if _is_at(folder, handle):
                for left in folder.iterdir():
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
                yield
                return
        finally:
            os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ProjectBusy(
            f"another coreloop command is writing {folder}; nothing was changed. Wait for it to "
            "end, or name another folder"
        ) from None


def _is_at(folder: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(folder), os.fstat(handle))
    except FileNotFoundError:
        return False


def _labeler_files(project: Project) -> Iterator[str]:
    for name in LABELER_FILES:
        kept = project.root / name
        for path in sorted(kept.iterdir()) if kept.is_dir() else [kept]:
            if path.is_file():
                yield path.relative_to(project.root).as_posix()


def _check_array(name: str, digest: str) -> None:
    if name.startswith("arrays/") and PurePosixPath(name).stem != digest:
        raise Damaged(f"{name} is damaged; 'coreloop doctor --deep --repair' computes it again")


def _read_list(source: Path) -> dict[str, Any]:
    """The list of a backup; every name in it is a plain file at a place that backups have."""
    try:
        with _opened(source / LIST) as file:
            listed = json.loads(file.read())
        files = dict(listed["files"])
    except (Missing, OSError, ValueError, KeyError, TypeError, RecursionError):
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
    return {"name": listed.get("name", ""), "folder": listed.get("folder", ""), "files": files}


def _folder_name(name: str) -> str:
    """A project's name as the name of a folder."""
    plain = "".join(c if c.isalnum() or c in "-_. " else "-" for c in name).strip(". ")
    return plain or "restored"


def _copy(source: Path, target: Path) -> str:
    """Copies a file, safe on disk before it returns; the digest of what was written."""
    target.parent.mkdir(exist_ok=True)
    state = hashlib.blake2b(digest_size=16)
    with _opened(source) as read, target.open("xb") as write:
        while block := read.read(BLOCK):
            state.update(block)
            write.write(block)
        write.flush()
        os.fsync(write.fileno())
    return state.hexdigest()


def _opened(source: Path) -> Any:
    """An ordinary file, not a link, open for reading.

    Raises:
        Missing: it is none.
    """
    try:
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise Missing(f"cannot read {source} ({error.strerror}); nothing was copied") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Missing(f"{source} is no ordinary file; nothing was copied")
    return os.fdopen(handle, "rb")
