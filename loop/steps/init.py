"""init: a project of images that exist, scanned at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.base import Mismatch, SourceError
from connectors.folder import first_level
from connectors.synsets import synset_names
from db import queries
from db.errors import Full
from loop import config as settings
from loop.class_spelling import check_distinct, hint, spelling
from loop.config import Config
from loop.errors import ConfigError, DataError, nearest
from loop.files import draft_of, expanded
from loop.project import Project, create, standing, withdraw
from loop.project.class_folders import clear_classes, labelled_classes
from loop.project.classes import (
    check_kind,
    exists,
    is_label_studio,
    place_of,
    pool_section,
    stated_classes,
)
from loop.project.source import manifest_of
from loop.steps.scan import Scanned, scan

ADVISED = "timm:vit_small_patch14_dinov2.lvd142m"
"""Encoder for photographs: small enough for a laptop, 88 MB to fetch."""
NAMED = 3
"""Images whose names are shown."""
LOOKED_AT = 24
"""Images that are looked at for an encoder's sake."""


def init(
    folder: str | Path,
    images: str | Path,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    **sections: Any,
) -> tuple[Project, Scanned]:
    """Makes a project in ``folder`` of images in a folder, parquet files or a bucket, and scans
    them.

    Args:
        sections: as in coreloop.toml, e.g. ``project={"classes": ["cat", "dog"]}``,
            ``labeler={"kind": "csv"}``, ``encoder="pixels:16"``. The project is called as its
            folder unless named; classes are those that the images state unless given.

    Raises:
        ConfigError: a value is wrong, or there is a project already.
        SourceError: there are no such images.
        UnclearClasses: no classes are given, and the images do not state them clearly.
        DataError: no image can be used.
        Full: the folder cannot be written. In each case nothing of a project is left behind.
    """
    root, place = expanded(folder), place_of(images)
    check_kind(place)
    config = _config(root, place, sections)
    check_names(config, root)
    tests = config.pool.test_path
    for location in [place, Path(tests)] if tests else [place]:
        if not exists(location):
            raise SourceError(f"there is no {location}; say where the images are")
    _check_labelled(place, config)
    before = standing(root)
    project: Project | None = None
    try:
        project = create(root, config)
        return project, scan(project, on_progress)
    except (SourceError, Mismatch, DataError, ConfigError, Full, OSError):
        if project is not None:
            project.close()
        if project is not None or not (root / settings.FILE).exists():  # else another made it
            withdraw(root, before)
        raise


@dataclass(frozen=True)
class Understood:
    """What ``init`` made of the images.

    Attributes:
        first: names of the first images.
        labels: class -> images with that known label, of a rehearsal or of test images.
        unlabelled: images of a rehearsal whose label is not known.
    """

    first: list[str]
    labels: dict[str, int]
    unlabelled: int


def understood(project: Project) -> Understood:
    """Of a scanned project."""
    with project.records.read() as session:
        pool = queries.the_pool(session)
        names = sorted(queries.row_names(session, pool.id, range(NAMED)))
        counts = Counter(queries.known_labels(session, pool.id).values())
        images = queries.item_count(session, pool.id)
    classes = project.config.project.classes
    return Understood(
        first=[uri for _, _, uri in names],
        labels={name: counts[name] for name in classes if counts[name]},
        unlabelled=images - counts.total() if project.config.pool.labelled else 0,
    )


def among_images(project: Project) -> str:
    """What to know where a project lies inside the folder of its images; empty where it does not.
    Its own files are never scanned."""
    images = project.images_at
    if project.config.pool.source in ("bucket", "label-studio") or not project.root.is_relative_to(
        images
    ):
        return ""
    return (
        f"the project lies inside {images}, the folder of its images; what coreloop writes there "
        "is never taken for an image of the pool"
    )


def advised_encoder(project: Project) -> str:
    """The encoder to take in place of raw pixels, where the pool's images look like photographs;
    empty where they do not, or another encoder is chosen."""
    from loop.images import decode
    from loop.photographs import mostly_photographs

    if project.config.encoder.partition(":")[0] != "pixels":
        return ""
    with project.records.read() as session:
        names = queries.row_names(session, queries.the_pool(session).id)
    looked_at = []
    for _, _, uri in names[:: max(1, len(names) // LOOKED_AT)][:LOOKED_AT]:
        with suppress(SourceError, DataError):
            looked_at.append(decode(project.source.read(uri), uri))
    return ADVISED if mostly_photographs(looked_at) else ""


def change_encoder(project: Project, encoder: str) -> Project:
    """The project with another encoder, written into its config file.

    Raises:
        ConfigError: there is no such encoder.
        OSError: the folder cannot be written.
    """
    from loop import encoders

    encoders.check(encoder)
    config = project.written.model_copy(update={"encoder": encoder})
    with draft_of(project.root / settings.FILE) as draft:
        draft.write_text(settings.dump(config), encoding="utf-8")
    project.close()
    return Project(project.root, config)


def _config(root: Path, images: str | Path, sections: dict[str, Any]) -> Config:
    """The config of these sections; paths are whole, so that they mean the same in any folder."""
    values = {name: dict(v) if isinstance(v, dict) else v for name, v in sections.items()}
    project = {"name": root.resolve().name, **values.get("project", {})}
    given = dict(values.get("pool", {}))
    for key in ("test_path", "image_root"):
        if given.get(key):
            given[key] = str(expanded(given[key]).resolve())
    if not project.get("classes") and is_label_studio(images):
        project["classes"] = _offered(root, str(images), values.get("labeler", {}))
    if not project.get("classes"):
        stated = labelled_classes if given.get("labelled") else clear_classes
        project["classes"] = stated(images, given)
    pool = pool_section(images, given)
    values |= {"project": project, "pool": pool}
    config = settings.check(values, "init")
    check_distinct(config.project.classes)
    return config


def _offered(root: Path, images: str, labeler: dict[str, Any]) -> list[str]:
    """Classes that a Label Studio project offers.

    Raises:
        ConfigError: no address, or no token.
        ConnectorError: see ``connectors.label_studio.task_images.offered_classes``.
    """
    from connectors.label_studio.task_images import offered_classes, project_of
    from loop.project.servers import label_studio_url
    from loop.secrets import label_studio_token

    url = label_studio_url(str(labeler.get("url", "")))
    token, control = label_studio_token(root), str(labeler.get("control", ""))
    return offered_classes(url, token, project_of(images), control)


def _check_labelled(path: str | Path, config: Config) -> None:
    """Raises ConfigError if images are labelled by more classes than the config names."""
    if config.pool.source == "list":
        stated = manifest_of(config.pool, Path()).classes()
    elif config.pool.labelled:
        stated = stated_classes(path, config.pool.model_dump())
    else:
        return
    classes = config.project.classes
    spelled = spelling(classes) if config.pool.labelled else str
    if unnamed := sorted({spelled(label) for label in stated} - set(classes)):
        hinted = hint(unnamed[0], classes) if len(unnamed) == 1 else ""
        named = ", ".join(unnamed)
        raise ConfigError(f"images are labelled {named} too{hinted}; add that to --classes")


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
    for spec in (config.encoder, *config.encoder_candidates):
        encoders.check(spec)
    for name in config.compare.baselines:
        scorers.load(name)
    if config.pool.test_path and config.pool.source == "folder":
        _check_tests(
            root / expanded(config.pool.test_path),
            config.project.classes,
            synset_names(root / expanded(config.pool.path)),
        )


def _check_tests(tests: Path, classes: list[str], called: Mapping[str, str]) -> None:
    """A folder without sub-folders is unlabelled, and people label it.

    Args:
        called: folder -> class name, where it differs.
    """
    folders, beside = first_level(tests)
    strange = [name for name in folders if called.get(name, name) not in classes]
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
