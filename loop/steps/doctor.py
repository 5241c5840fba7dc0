"""doctor: is everything there that the next command needs? Says what to do if not."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select, text

from connectors.base import Image
from db import arrays
from db.models import Array
from loop import encoders
from loop.device import resolve
from loop.project import Project, find
from loop.steps.init import check_names
from loop.steps.opened import reading, source


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    ok: bool
    detail: str


def doctor(folder: Path, *, deep: bool = False, mend: bool = False) -> list[Check]:
    """Runs every check; a check that fails does not stop the others.

    Args:
        deep: also read every array and compare the records with each other.
        mend: first compute again what can be.
    """
    checks = [_check("python", lambda: platform.python_version()), _check("device", _device)]
    try:
        project = find(folder)
    except Exception as error:  # whatever is wrong with it, the person is told
        return [*checks, Check("project", False, str(error))]
    checks.append(_check("project", lambda: str(project.root)))
    if mend:
        checks.append(_check("repair", lambda: _repair(project)))
    checks += [
        _check("names", lambda: _names(project)),
        _check("training", lambda: f"on {resolve(project.config.training.device)}"),
        _check("database", lambda: _database(project)),
        _check("images", lambda: _images(project)),
        _check("encoder", lambda: _encoder(project)),
        _check("labeler", lambda: _labeler(project)),
        _check("arrays", lambda: _arrays(project)),
    ]
    return checks + _deep(project) if deep or mend else checks


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except Exception as error:  # a failing check is a finding, of whatever kind
        return Check(name, False, str(error) or type(error).__name__)


def _names(project: Project) -> str:
    check_names(project.config, project.root)
    return "scorer, trainer and baselines exist"


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}"
    return f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _database(project: Project) -> str:
    with reading(project) as records, records.read() as session:
        dialect = records.engine.dialect.name
        if dialect == "sqlite":
            said = session.execute(text("PRAGMA quick_check")).scalar()
            if said != "ok":
                raise RuntimeError(
                    f"{said}; make a new folder of your newest backup: 'coreloop restore'"
                )
        return f"{dialect} opens"


def _images(project: Project) -> str:
    images = source(project)
    first = next((one for one in images.scan() if isinstance(one, Image)), None)
    if first is None:
        raise RuntimeError(f"no usable image at {project.config.pool.path}")
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


def _arrays(project: Project) -> str:
    """Every recorded array is there."""
    with reading(project) as records, records.read() as session:
        rows = session.scalars(select(Array)).all()
        for row in rows:
            arrays.load(row, project.arrays)
    return f"{len(rows)} there (contents not compared; use --deep)"


def _repair(project: Project) -> str:
    from loop.steps.repair import repair, verify

    return "; ".join(repair(project, verify(project)[1])) or "not needed"


def _deep(project: Project) -> list[Check]:
    """Contents and constraints."""
    from loop.steps.repair import verify

    try:
        wrong, damaged = verify(project)
    except Exception as error:  # a failing check is a finding, of whatever kind
        return [Check("records", False, str(error))]
    lost = ", ".join(f"{one.kind} {one.name} of {one.of}" for one in damaged)
    text = f"damaged: {lost}; 'coreloop doctor --repair' computes them again"
    return [
        Check("records", not wrong, "; ".join(wrong) or "agree with each other"),
        Check("contents", not damaged, text if damaged else "every digest is right"),
    ]
