"""A project is a folder: ``coreloop.toml``, ``coreloop.db``, ``arrays/``, ``reports/``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loop import config as settings
from loop.config import Config
from loop.errors import ConfigError, NotReady

if TYPE_CHECKING:
    from sqlalchemy.engine import URL


class ProjectBusy(NotReady):
    """Another coreloop command is writing to the project."""

    exit_code = 5


@dataclass(frozen=True)
class Project:
    """Paths and settings of one project; touches neither images nor database."""

    root: Path
    config: Config

    @property
    def database(self) -> str | URL:
        """SQLAlchemy url of the records."""
        from sqlalchemy.engine import URL

        file = str(self.root / "coreloop.db")
        return self.config.project.database or URL.create("sqlite", database=file)

    @property
    def arrays(self) -> Path:
        """Folder of the ``.npy`` files."""
        return self.root / "arrays"

    @property
    def reports(self) -> Path:
        """Folder of the written reports."""
        return self.root / "reports"

    def path(self, text: str) -> Path:
        """A path from the config: relative ones start at the project folder."""
        return (self.root / Path(text).expanduser()).resolve()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the project's lock; it falls with the process, however that ends.

        Raises:
            ProjectBusy: another command holds it.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.root / ".coreloop.lock", is_singleton=True)
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


def prepare(root: Path, config: Config) -> Project:
    """Makes the folders of a new project; it counts as one only after ``publish``.

    Raises:
        ConfigError: there is a project already, or a file where a folder should be.
    """
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
    return Project(root.resolve(), config)


def publish(project: Project) -> None:
    """Writes the config file, whole or not at all."""
    file = project.root / settings.FILE
    draft = file.with_suffix(".draft")
    draft.write_text(settings.dump(project.config), encoding="utf-8")
    draft.replace(file)


def withdraw(project: Project) -> None:
    """Takes the config file away again: ``init`` may be repeated."""
    (project.root / settings.FILE).unlink(missing_ok=True)


def find(start: Path) -> Project:
    """The project in ``start`` or the nearest folder above it.

    Raises:
        ConfigError: there is none, not even the folder, or its config is wrong.
    """
    start = start.resolve()
    if not start.exists():
        raise ConfigError(f"there is no folder {start}")
    for folder in (start, *start.parents):
        if (folder / settings.FILE).is_file():
            return Project(folder, settings.load(folder / settings.FILE))
    raise ConfigError(
        f"no {settings.FILE} in {start} or above it; make a project with 'coreloop init', "
        "or name one with --project FOLDER"
    )
