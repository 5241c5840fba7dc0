"""What every step opens first: the lock, the records, the source of images, the labeler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors.base import Labeler, Source
from db import arrays
from db.models import Array, Pool, Round
from db.queries import newest_round, the_pool
from db.state import Records, open_records
from loop.errors import ConfigError, NotReady, nearest
from loop.project import Project, lock_seconds

PACKAGES = (
    "coreloop",
    "numpy",
    "scipy",
    "scikit-learn",
    "torch",
    "torchvision",
    "timm",
    "open_clip_torch",
    "label-studio-sdk",
    "SQLAlchemy",
)


@contextmanager
def reading(project: Project) -> Iterator[Records]:
    """The records, for looking."""
    records = open_records(project.database)
    try:
        yield records
    finally:
        records.close()


@contextmanager
def writing(project: Project) -> Iterator[Records]:
    """The records, for a step that changes something; one command at a time. What a killed command
    left among the arrays is removed first: nobody else writes there now."""
    with (
        project.writing(),
        reading(project) as records,
        records.alone(lock_seconds()),
    ):
        with records.read() as session:
            arrays.sweep(project.arrays, session.scalars(select(Array.digest)))
        yield records


def versions() -> dict[str, Any]:
    """Versions of what a result depends on."""
    import platform

    found: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def source(project: Project) -> Source:
    """The source that the config names.

    Raises:
        SourceError: its path cannot be read.
    """
    pool = project.config.pool
    path = project.path(pool.path)
    test = project.path(pool.test_path) if pool.test_path else None
    if pool.source == "parquet":
        from connectors.parquet import Parquet

        return Parquet(path, labelled=pool.labelled)
    from connectors.folder import Folder

    return Folder(path, labelled=pool.labelled, test=test)


def current_round(session: Session, pool: Pool, *, after: str) -> Round:
    """The newest round, which must be in state ``after``.

    Raises:
        NotReady: there is none, or it is in another state; says what to type.
    """
    found = newest_round(session, pool.id)
    if found is None:
        raise NotReady("there is no round yet; 'coreloop run' starts the first")
    if found.state != after:
        raise NotReady(
            f"{found.name} is {found.state!r}, this step needs {after!r}; "
            f"next: {next_command(found)}"
        )
    return found


def next_command(found: Round) -> str:
    """What to type to move a round on."""
    return {
        "planned": "coreloop score",
        "scored": "coreloop select",
        "selected": "coreloop push",
        "pushed": "coreloop pull",
        "labeled": "coreloop train" if found.number else "coreloop run",
        "trained": "coreloop compare",
        "compared": "coreloop run",
    }[found.state]


def labeler(project: Project, session: Session) -> Labeler:
    """The labeler that the config names.

    Raises:
        ConfigError: the config lacks something it needs.
    """
    config, pool = project.config, the_pool(session)
    classes, settings = config.project.classes, config.labeler
    if settings.kind == "oracle":
        from connectors.oracle import Oracle
        from db.queries import known_labels

        labels = known_labels(session, pool.id)
        if not labels:
            raise ConfigError(
                "the oracle answers from known labels, and the images have none; "
                "set labelled = true under [pool] if folder names are the labels"
            )
        strange = sorted(set(labels.values()) - set(classes))
        if strange:
            raise ConfigError(
                f"images are labelled {strange[0]!r}, and 'classes' under [project] has no such "
                f"name{nearest(strange[0], classes)}"
            )
        return Oracle(
            project.root,
            labels,
            classes,
            error_rate=settings.error_rate,
            seed=config.project.seed,
        )
    if settings.kind == "csv":
        from connectors.csv_sheet import CsvSheet

        return CsvSheet(project.root / "sheets", classes, source(project).shown)
    return _label_studio(project, pool)


def _label_studio(project: Project, pool: Pool) -> Labeler:
    from connectors.label_studio import LabelStudio
    from loop.images import browsable
    from loop.secrets import label_studio_token

    settings = project.config.labeler
    images = source(project)
    return LabelStudio(
        label_studio_url(project),
        label_studio_token(project.root),
        title=project.config.project.name,
        marker=str(pool.source["marker"]),
        classes=project.config.project.classes,
        read=lambda uri: browsable(images.read(uri), uri),
        images=settings.images,
        local_root=settings.local_root or None,
        image_root=project.path(project.config.pool.path),
        url_base=settings.url_base,
        order=settings.order,
        overlap=settings.overlap,
        project_id=settings.project or None,
    )


def label_studio_url(project: Project) -> str:
    """Environment before file, as ``status`` prints.

    Raises:
        ConfigError: neither is set, it is no address, or it holds a password.
    """
    import os

    import httpx

    from loop.secrets import check_address

    url = os.environ.get("LABEL_STUDIO_URL") or project.config.labeler.url
    check_address(url, "the address in LABEL_STUDIO_URL")
    if not url:
        raise ConfigError(
            "no Label Studio address; set url under [labeler] or LABEL_STUDIO_URL in the "
            "environment, e.g. http://127.0.0.1:8080"
        )
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL()
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ConfigError(
            f"{url!r} is no Label Studio address; set url under [labeler] or LABEL_STUDIO_URL in "
            "the environment to one like http://127.0.0.1:8080"
        )
    return url
