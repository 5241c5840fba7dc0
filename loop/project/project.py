"""A project is a folder: ``coreloop.toml``, ``coreloop.db``, ``arrays/``, ``reports/``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from loop import config as settings
from loop.config import Config
from loop.errors import ConfigError, NotReady
from loop.files import expanded
from loop.project.source import path_from, source_of

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from connectors.base import Source
    from connectors.label_studio.task_images import TaskImages
    from db.state import Records


LOCK = ".coreloop.lock"
WATERMARK = ".coreloop.mark"
"""File that says how far the records had come; see db.watermark."""
ENCODER = "encoder_choice"
"""Of ``Pool.source``: the encoder that labels chose, and ``among`` which."""
BACKUP_LIST = "backup.json"
"""File that makes a folder a backup."""
OWN = (
    *("arrays", "reports", "coreloop.db", "coreloop.db-wal", "coreloop.db-shm"),
    *("coreloop.draft", LOCK, WATERMARK),
)
"""What making a project leaves in its folder besides the config file."""


class ProjectBusy(NotReady):
    """Another coreloop command is writing to the project."""

    exit_code = 5


@dataclass(frozen=True, eq=False)
class Project:
    """One project, opened once per command and handed down.

    ``records`` and ``source`` are opened at first use and kept until ``close``. Transactions are
    short: no session stays open while something is computed, decoded or asked of a server.

    Attributes:
        root: the project's folder.
        written: its ``coreloop.toml``, checked.
    """

    root: Path
    written: Config

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def config(self) -> Config:
        """What is in force: ``written``, with the encoder that labels have chosen among these
        candidates."""
        if not self.written.encoder_candidates:
            return self.written
        encoder = self._chosen_encoder() or self.written.encoder
        return self.written.model_copy(update={"encoder": encoder})

    def _chosen_encoder(self) -> str:
        """Empty where labels have chosen none, or among others than are written now."""
        from db import queries
        from db.errors import DbError

        try:
            with self.records.read() as session:
                choice = queries.the_pool(session).source.get(ENCODER, {})
        except DbError:  # whatever needs the records says what is wrong with them
            return ""
        among = [self.written.encoder, *self.written.encoder_candidates]
        return str(choice["encoder"]) if choice.get("among") == among else ""

    def read_config_again(self) -> None:
        """Has the next look at ``config`` ask the records again."""
        self.__dict__.pop("config", None)

    @cached_property
    def records(self) -> Records:
        """The database.

        Raises:
            Missing, TooNew, Busy, Full, Damaged, Unavailable: see db.errors.
        """
        from db.state import open_records

        return open_records(self.database, create=self._may_begin, mark=self.root / WATERMARK)

    @cached_property
    def source(self) -> Source:
        """Where the images are.

        Raises:
            SourceError: its path cannot be read.
        """
        if self.config.pool.source == "label-studio":
            return self._tasks()
        return source_of(self.config.pool, self.root)

    def _tasks(self) -> TaskImages:
        """The images of a Label Studio project. Raises ConfigError: no address, or no token."""
        from connectors.label_studio.task_images import TaskImages, project_of
        from loop.project.servers import label_studio_url
        from loop.secrets import label_studio_token

        labeler = self.config.labeler
        return TaskImages(
            label_studio_url(labeler.url).rstrip("/"),
            label_studio_token(self.root),
            project_of(self.config.pool.path),
            classes=tuple(self.config.project.classes),
            control=labeler.control,
        )

    def close(self) -> None:
        """Gives the database's connections back; the project may be used again."""
        self.read_config_again()
        if "records" in self.__dict__:
            self.__dict__.pop("records").close()

    @property
    def database(self) -> str | URL:
        """SQLAlchemy url of the records."""
        from sqlalchemy.engine import URL

        file = str(self.root / "coreloop.db")
        return self.written.project.database or URL.create("sqlite", database=file)

    @property
    def _may_begin(self) -> bool:
        """Whether an empty database is a new one: on a server, before anything was made."""
        if str(self.database).startswith("sqlite"):
            return False  # ``create`` has made it
        made = [*self.arrays.glob("*.*"), *self.root.glob("sheets/*"), *self.reports.glob("*")]
        return not made

    @property
    def arrays(self) -> Path:
        """Folder of the arrays and models."""
        return self.root / "arrays"

    @property
    def reports(self) -> Path:
        """Folder of the written reports."""
        return self.root / "reports"

    @property
    def images_at(self) -> str:
        """Where the images are, in full: a path or an address."""
        pool = self.config.pool
        by_address = pool.source in ("bucket", "label-studio")
        return pool.path if by_address else str(self.path(pool.path))

    @property
    def uris_start(self) -> Path:
        """Folder at which the uris of images that are files start."""
        pool = self.config.pool
        if pool.source == "list":
            return self.path(pool.image_root) if pool.image_root else self.path(pool.path).parent
        return self.path(pool.path)

    def path(self, text: str) -> Path:
        """A path from the config: relative ones start at the project folder."""
        return path_from(self.root, text)

    @contextmanager
    def writing(self) -> Iterator[Records]:
        """The records, for a step that changes something: one command at a time, on this machine
        by a lock file, on a database server by its lock. Both fall with the process. Drafts that a
        killed command left among the arrays are removed first: nobody else writes there now.

        Raises:
            ProjectBusy, Busy: another command holds the lock.
        """
        from db import arrays

        with self._locked(), self.records.alone(lock_seconds()):
            arrays.remove_drafts(self.arrays)
            yield self.records
            self.records.keep_watermark(self.root / WATERMARK)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        lock = FileLock(self.root / LOCK, is_singleton=True)
        try:
            lock.acquire(timeout=lock_seconds())
        except Timeout:
            raise ProjectBusy(
                f"another coreloop command is writing to {self.root}; nothing was changed. "
                "Wait for it to end ('coreloop status' may be used meanwhile)"
            ) from None
        try:
            yield
        finally:
            lock.release()


def lock_seconds() -> float:
    """How long a command waits for another that writes."""
    return float(os.environ.get("CORELOOP_LOCK_SECONDS", "2"))


def create(root: Path, config: Config) -> Project:
    """A new project: its folders, its records, and at last its config file, so that what was killed
    on the way can be repeated. Files that the encoder names relative to here are written in full.

    Raises:
        ConfigError: there is a project already, or a file where a folder should be.
        Full: the folder cannot be written.
    """
    from db.state import open_records
    from loop.encoders.spec import located

    in_full = {
        "encoder": located(config.encoder),
        "encoder_candidates": [located(spec) for spec in config.encoder_candidates],
    }
    config = config.model_copy(update=in_full)
    file = root / settings.FILE
    if file.exists():
        raise ConfigError(f"{file} exists already; edit it, or choose another folder")
    for folder in (root, root / "arrays", root / "reports"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise ConfigError(
                f"{folder} cannot be a folder, a file is in its place; name another folder"
            ) from None
    project = Project(root.resolve(), config)
    open_records(project.database, create=True).close()
    draft = file.with_suffix(".draft")
    draft.write_text(settings.dump(config), encoding="utf-8")
    draft.replace(file)
    return project


def standing(root: Path) -> frozenset[Path]:
    """What of a project, and of the folders above it, stands there before it is made."""
    inside = [root / name for name in (settings.FILE, *OWN)]
    return frozenset(path for path in (root, *root.parents, *inside) if path.exists())


def withdraw(root: Path, before: frozenset[Path]) -> None:
    """Takes a project away that could not be made, so that ``create`` may be repeated: its files,
    and its folders if nothing else is in them. What stood there ``before`` stays."""
    if not root.is_dir():
        return
    if (root / settings.FILE) not in before:
        (root / settings.FILE).unlink(missing_ok=True)
    made = [path for path in OWN if (root / path) not in before]
    if "coreloop.db" in made:  # records from before stay, whatever else was added to them
        for name in made:
            path = root / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    for folder in (root, *root.parents):
        if folder in before or not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()


def find(start: str | Path = ".") -> Project:
    """The project in ``start`` or the nearest folder above it.

    Raises:
        ConfigError: there is none, not even the folder; it is a backup, which opening would change;
            or its config is wrong.
    """
    first = expanded(start).resolve()
    if not first.exists():
        raise ConfigError(f"there is no folder {first}")
    for folder in (first, *first.parents):
        if (folder / settings.FILE).is_file():
            if (folder / BACKUP_LIST).exists():
                raise ConfigError(
                    f"{folder} is a backup and stays as it is; 'coreloop restore {folder} NEW' "
                    "makes a project of it"
                )
            return Project(folder, settings.load(folder / settings.FILE))
    raise ConfigError(
        f"no {settings.FILE} in {first} or above it; make a project with 'coreloop init', "
        "or name one with --project FOLDER"
    )
