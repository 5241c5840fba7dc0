"""init: a folder with records, then its config file, so that a killed ``init`` can be repeated."""

from __future__ import annotations

from pathlib import Path

from db.state import open_records
from loop.config import Config
from loop.project import Project, prepare, publish


def init(root: Path, config: Config) -> Project:
    """Makes a project.

    Raises:
        ConfigError: there is one already.
        Full: the folder cannot be written.
    """
    project = prepare(root, config)
    open_records(project.database, create=True).close()
    publish(project)
    return project
