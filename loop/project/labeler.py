"""The labeler that the config names, connected."""

from __future__ import annotations

import os
from collections.abc import Collection

from sqlalchemy.orm import Session

from connectors.base import Labeler
from db import queries
from db.models import Pool
from loop.errors import ConfigError, nearest
from loop.project.before import uri_keys
from loop.project.project import Project
from loop.project.remote import LOCATION
from loop.project.servers import label_studio_url
from loop.secrets import shown_address

PROJECTS = "projects"
"""Key in a location: see connectors.label_studio.labeler."""


def connect_labeler(session: Session, project: Project, *, reopen: bool = False) -> Labeler:
    """A labeler as the config says; what it caches of the other side is of now.

    Args:
        reopen: whether finished tasks may be opened again where ``overlap`` has grown.

    Raises:
        ConfigError: the config lacks something it needs.
    """
    kind = project.config.labeler.kind
    if kind == "oracle":
        return _oracle(session, project)
    if kind == "csv":
        return _sheets(project)
    if project.config.pool.source == "label-studio":
        return _of_pool(session, project)
    pool, batches = queries.the_pool(session), queries.sent_batches(session)
    return _label_studio(project, pool, batches, reopen=reopen)


def _oracle(session: Session, project: Project) -> Labeler:
    from connectors.oracle import Oracle

    config = project.config
    classes = config.project.classes
    labels = queries.known_labels(session, queries.the_pool(session).id)
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
    error_rate, seed = config.labeler.error_rate, config.project.seed
    return Oracle(project.root, labels, classes, error_rate=error_rate, seed=seed)


def _sheets(project: Project) -> Labeler:
    from connectors.csv_sheet import CsvSheet

    def uris(keys: Collection[str]) -> dict[str, str]:
        with project.records.read() as reading:
            return queries.key_uris(reading, queries.the_pool(reading).id, keys)

    classes = project.config.project.classes
    return CsvSheet(project.root / "sheets", classes, project.source.shown, uris)


def _of_pool(session: Session, project: Project) -> Labeler:
    """Of the Label Studio project that is the pool."""
    from connectors.label_studio.pool_labeler import PoolLabeler
    from connectors.label_studio.task_images import TaskImages

    source, pool = project.source, queries.the_pool(session)
    assert isinstance(source, TaskImages)
    newest = queries.newest_round(session, pool.id)

    def keys() -> dict[str, str]:
        with project.records.read() as reading:
            return uri_keys(reading)

    return PoolLabeler(
        source,
        marker=str(pool.source["marker"]),
        keys=keys,
        round_number=newest.number if newest else 0,
        overlap=project.config.labeler.overlap,
        assigned=project.config.labeler.people,
        location=pool.source.get(LOCATION),
    )


def _label_studio(project: Project, pool: Pool, batches: list[str], *, reopen: bool) -> Labeler:
    from connectors.label_studio import LabelStudio
    from loop.images import browsable
    from loop.secrets import label_studio_token

    settings = project.config.labeler
    source = project.source
    return LabelStudio(
        label_studio_url(settings.url),
        label_studio_token(project.root),
        title=project.config.project.name,
        marker=str(pool.source["marker"]),
        classes=project.config.project.classes,
        read=lambda uri: browsable(source.read(uri), uri),
        images=settings.images,
        local_root=settings.local_root or None,
        image_root=project.uris_start,
        url_base=settings.url_base or _bucket(project),
        order=settings.order,
        overlap=settings.overlap,
        reopen=reopen,
        project_id=settings.project or None,
        control=settings.control,
        location=pool.source.get(LOCATION),
        batches=batches,
    )


def _bucket(project: Project) -> str:
    """Address at which the images lie; empty where they are files."""
    pool = project.config.pool
    return pool.path if pool.source == "bucket" else ""


def labelling_url(session: Session, project: Project, pool: Pool) -> str | None:
    """Where people label, as the records have it: no server is asked. None before the first push,
    and where nobody is asked."""
    config = project.config.labeler
    if config.kind == "csv":
        return str(project.root / "sheets") if queries.sent_batches(session) else None
    if project.config.pool.source == "label-studio":
        return _tab_url(session, project, pool)
    homes = labelling_projects(project, pool)
    if config.kind != "label-studio" or not homes:
        return None
    return f"{_shown_url(project)}/projects/{homes[0]}/data"


def labelling_projects(project: Project, pool: Pool) -> list[int]:
    """Numbers of the Label Studio projects that people label in, as the records have them, the
    newest pushes' first; empty before the first push."""
    adopted = project.config.labeler.project
    return [adopted] if adopted else list(pool.source.get(LOCATION, {}).get(PROJECTS, []))


def _tab_url(session: Session, project: Project, pool: Pool) -> str | None:
    """The tab of the newest round, where it was made."""
    newest = queries.newest_round(session, pool.id)
    location = pool.source.get(LOCATION, {})
    tab = location.get("tabs", {}).get(f"round {newest.number}") if newest else None
    if tab is None:
        return None
    number = location[PROJECTS][0]
    return f"{_shown_url(project)}/projects/{number}/data?tab={tab}&labeling=1"


def _shown_url(project: Project) -> str:
    url = os.environ.get("LABEL_STUDIO_URL") or project.config.labeler.url
    return shown_address(url).rstrip("/")
