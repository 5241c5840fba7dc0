"""init: a project of images that exist, scanned at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from connectors.base import SourceError
from connectors.folder import first_level
from loop import config as settings
from loop.config import Config
from loop.errors import ConfigError, DataError, nearest
from loop.files import expanded
from loop.project import Project, create, withdraw
from loop.project.classes import pool_section, stated_classes
from loop.steps.scan import Scanned, scan


def init(
    folder: str | Path,
    images: str | Path,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    **sections: Any,
) -> tuple[Project, Scanned]:
    """Makes a project in ``folder`` of the images in a folder or parquet file, and scans them.

    Args:
        sections: as in coreloop.toml, e.g. ``project={"classes": ["cat", "dog"]}``,
            ``labeler={"kind": "csv"}``, ``encoder="pixels:16"``. The project is called as its
            folder unless named; classes are those that the images state unless given.

    Raises:
        ConfigError: a value is wrong, or there is a project already.
        SourceError: there are no such images.
        DataError: no image can be used. In each case no project is left behind.
        Full: the folder cannot be written.
    """
    root, path = expanded(folder), expanded(images).resolve()
    config = _config(root, path, sections)
    check_names(config, root)
    tests = config.pool.test_path
    for location in [path, Path(tests)] if tests else [path]:
        if not location.exists():
            raise SourceError(f"there is no {location}; say where the images are")
    _check_labelled(path, config)
    project = create(root, config)
    try:
        return project, scan(project, on_progress)
    except (SourceError, DataError):
        withdraw(project)
        raise


def _config(root: Path, images: Path, sections: dict[str, Any]) -> Config:
    """The config of these sections; paths are whole, so that they mean the same in any folder."""
    values = {name: dict(v) if isinstance(v, dict) else v for name, v in sections.items()}
    project = {"name": root.resolve().name, **values.get("project", {})}
    if not project.get("classes"):
        project["classes"] = stated_classes(images)
    pool = {**pool_section(images), **values.get("pool", {})}
    if pool.get("test_path"):
        pool["test_path"] = str(expanded(pool["test_path"]).resolve())
    values |= {"project": project, "pool": pool}
    return settings.check(values, "init")


def _check_labelled(path: Path, config: Config) -> None:
    """Raises ConfigError if images are labelled by more classes than the config names."""
    if not config.pool.labelled:
        return
    if unnamed := sorted(set(stated_classes(path)) - set(config.project.classes)):
        raise ConfigError(f"images are labelled {', '.join(unnamed)} too; add that to --classes")


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
        _check_tests(root / expanded(config.pool.test_path), config.project.classes)


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
