"""init: a folder with records, then its config file, so that a killed ``init`` can be repeated."""

from __future__ import annotations

from pathlib import Path

from db.state import open_records
from loop.config import Config
from loop.project import Project, prepare, publish


def check_names(config: Config) -> None:
    """Scorer, trainer, encoder and baselines exist. Raises ConfigError with the nearest name."""
    from loop import encoders, scorers, train

    scorers.get(config.selection.scorer, **config.selection.params)
    train.get(config.training.trainer, **config.training.params)
    encoders.check(config.encoder)
    for name in config.compare.baselines:
        scorers.load(name)


def init(root: Path, config: Config) -> Project:
    """Makes a project. Files that the encoder names relative to here are written in full.

    Raises:
        ConfigError: there is one already.
        Full: the folder cannot be written.
    """
    from loop.encoders import located

    config = config.model_copy(update={"encoder": located(config.encoder)})
    project = prepare(root, config)
    open_records(project.database, create=True).close()
    publish(project)
    return project
