"""The labeler that the config names, connected."""

from __future__ import annotations

import os
import re

from sqlalchemy.orm import Session

from connectors.base import Labeler
from db import queries
from db.models import Pool
from loop.errors import ConfigError, nearest
from loop.project.project import Project
from loop.project.remote import LOCATION
from loop.secrets import shown_address

PAGE = (
    r"(https?://[^/?#]+[^?#]*?)/(projects(/\d+[^?#]*)?|user/(login|account|signup)[^?#]*|organization)"
    r"/?([?#].*)?$"
)
"""A page of Label Studio, behind the server's own address."""
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
        from connectors.csv_sheet import CsvSheet

        classes = project.config.project.classes
        return CsvSheet(project.root / "sheets", classes, project.source.shown)
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
        url_base=settings.url_base,
        order=settings.order,
        overlap=settings.overlap,
        reopen=reopen,
        project_id=settings.project or None,
        control=settings.control,
        location=pool.source.get(LOCATION),
        batches=batches,
    )


def labelling_url(session: Session, project: Project, pool: Pool) -> str | None:
    """Where people label, as the records have it: no server is asked. None before the first push,
    and where nobody is asked."""
    config = project.config.labeler
    if config.kind == "csv":
        return str(project.root / "sheets") if queries.sent_batches(session) else None
    homes = [config.project] if config.project else pool.source.get(LOCATION, {}).get(PROJECTS)
    if config.kind != "label-studio" or not homes:
        return None
    url = os.environ.get("LABEL_STUDIO_URL") or config.url
    return f"{shown_address(url).rstrip('/')}/projects/{homes[0]}/data"


def label_studio_url(configured: str) -> str:
    """The server's address: environment before file, as ``status`` prints.

    Raises:
        ConfigError: neither is set, it is no address, or it holds a password.
    """
    import httpx

    from loop.secrets import check_address

    url = os.environ.get("LABEL_STUDIO_URL") or configured
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
    if server := server_of_page(url):
        raise ConfigError(
            f"{url} is the address of a page; set url under [labeler] (or LABEL_STUDIO_URL) to "
            f"the server's own: {server}"
        )
    return url


def server_of_page(url: str) -> str:
    """The server's address where ``url`` is that of one of its pages; else empty."""
    page = re.match(PAGE, url)
    if page:
        return page[1]
    return re.split(r"[?#]", url)[0].rstrip("/") if re.search(r"[?#]", url) else ""
