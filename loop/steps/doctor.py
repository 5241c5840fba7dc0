"""doctor: is everything there that the next command needs? Says what to do if not."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select, text

from db import arrays
from db.models import Array
from loop import encoders
from loop.device import resolve
from loop.project import Project, find
from loop.steps.opened import reading, source


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    ok: bool
    detail: str


def doctor(folder: Path, *, deep: bool = False) -> list[Check]:
    """Runs every check; a check that fails does not stop the others."""
    checks = [_check("python", lambda: platform.python_version()), _check("device", _device)]
    try:
        project = find(folder)
    except Exception as error:  # whatever is wrong with it, the person is told
        return [*checks, Check("project", False, str(error))]
    checks += [
        _check("project", lambda: str(project.root)),
        _check("database", lambda: _database(project)),
        _check("images", lambda: _images(project)),
        _check("encoder", lambda: _encoder(project)),
        _check("labeler", lambda: _labeler(project)),
        _check("arrays", lambda: _arrays(project, deep)),
    ]
    return checks


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except Exception as error:  # a failing check is a finding, of whatever kind
        return Check(name, False, str(error) or type(error).__name__)


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}"
    return f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _database(project: Project) -> str:
    with reading(project) as records, records.read() as session:
        if records.engine.dialect.name == "sqlite":
            said = session.execute(text("PRAGMA integrity_check")).scalar()
            if said != "ok":
                raise RuntimeError(f"integrity check: {said}; restore the file from a copy")
            return "sound"
        return records.engine.dialect.name


def _images(project: Project) -> str:
    images = source(project)
    first = next(iter(images.scan()), None)
    if first is None:
        raise RuntimeError(f"no image at {project.config.pool.path}")
    images.read(first.uri)
    return f"readable at {project.config.pool.path}"


def _encoder(project: Project) -> str:
    encoder = encoders.get(project.config.encoder)
    return f"{project.config.encoder}, on {resolve(project.config.training.device)}: {encoder.dim}"


def _labeler(project: Project) -> str:
    config = project.config.labeler
    if config.kind != "label-studio":
        return config.kind
    from connectors.label_studio.client import Client
    from loop.secrets import label_studio_token
    from loop.steps.opened import label_studio_url

    url = label_studio_url(project)
    client = Client(url, label_studio_token(project.root), attempts=1)
    who = client.get("/api/current-user/whoami")
    return f"{url} accepts the token of {who.get('email')}"


def _arrays(project: Project, deep: bool) -> str:
    """Every recorded array is there; with ``deep`` its bytes are compared and orphans removed."""
    with reading(project) as records, records.read() as session:
        rows = session.scalars(select(Array)).all()
        for row in rows:
            arrays.load(row, project.arrays)
            path = project.arrays / f"{row.digest}.npy"
            if deep and arrays.file_digest(path) != row.digest:
                raise RuntimeError(f"{path.name} ({row.kind}) is damaged; remove it")
    if not deep:
        return f"{len(rows)} there (contents not compared; use --deep)"
    with project.writing():
        gone = arrays.sweep(project.arrays, [row.digest for row in rows])
    return f"{len(rows)} whole, {len(gone)} leftovers of killed commands removed"
