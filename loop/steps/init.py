"""init: a folder with records, then its config file, so that a killed ``init`` can be repeated."""

from __future__ import annotations

from pathlib import Path

from connectors.folder import first_level
from db.state import open_records
from loop.config import Config
from loop.errors import ConfigError, nearest
from loop.project import Project, prepare, publish


def check_names(config: Config, root: Path) -> None:
    """Scorer, trainer, encoder and baselines exist, and the folders of test images are classes.

    Args:
        root: the project's folder, which ``test_path`` is relative to.

    Raises:
        ConfigError: with the nearest name.
    """
    from loop import encoders, scorers, train

    scorers.get(config.selection.scorer, **config.selection.params)
    train.get(config.training.trainer, **config.training.params)
    encoders.check(config.encoder)
    for name in config.compare.baselines:
        scorers.load(name)
    if config.pool.test_path and config.pool.source == "folder":
        _check_tests(root / Path(config.pool.test_path).expanduser(), config.project.classes)


def _check_tests(tests: Path, classes: list[str]) -> None:
    """A folder without sub-folders is unlabelled, and people label it."""
    folders, beside = first_level(tests)
    strange = [name for name in folders if name not in classes]
    if strange:
        raise ConfigError(
            f"the folder {strange[0]!r} in {tests} is none of the classes"
            f"{nearest(strange[0], classes)}; give it a class's name or take it away"
        )
    if folders and beside:
        raise ConfigError(
            f"the image {beside[0]!r} in {tests} is in no class's folder, and others are; "
            "move it to its class or take it away"
        )


def init(root: Path, config: Config) -> Project:
    """Makes a project. Files that the encoder names relative to here are written in full.

    Raises:
        ConfigError: there is one already.
        Full: the folder cannot be written.
    """
    from loop.encoders.spec import located

    config = config.model_copy(update={"encoder": located(config.encoder)})
    project = prepare(root, config)
    open_records(project.database, create=True).close()
    publish(project)
    return project
