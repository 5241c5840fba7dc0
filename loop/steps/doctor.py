"""doctor: is everything there that the next command needs? Says what to do if not, and computes
again what can be."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session

from connectors.base import Foretells, Image
from db import arrays, queries
from db.errors import DbError, Missing
from db.models import Array, Pool, Round
from db.soundness import pool_digest
from db.state import log
from loop import encoders
from loop.device import resolve
from loop.errors import LoopError
from loop.project import Project, find
from loop.project.damage import Damage, verify
from loop.project.embeddings import encoders_of
from loop.project.labeler import connect_labeler
from loop.project.model import MODEL
from loop.project.promise import PREDICTED
from loop.project.remarks import passed_over
from loop.project.remote import check_config, named_odd
from loop.project.servers import label_studio_url
from loop.steps.autolabel import freeze_again
from loop.steps.embed import embed_all
from loop.steps.init import check_names
from loop.steps.score import score
from loop.steps.train import recompute
from loop.wording import agreeing, counted

FOR_CPUS = "https://download.pytorch.org/whl/cpu"
"""Where torch without CUDA is."""


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
    with project:
        if mend:
            checks.append(_check("repair", lambda: _repair(project)))
        checks += [
            _check("names", lambda: _names(project)),
            _check("training", lambda: f"on {resolve(project.config.training.device)}"),
            _check("database", lambda: _database(project)),
            _check("images", lambda: _images(project)),
            _check("encoder", lambda: _encoder(project)),
            _check("labeler", lambda: _labeler(project)),
            _check("annotations", lambda: _annotations(project)),
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
    device = f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"
    if torch.version.cuda is None:
        return device
    return (
        f"{device}; this torch carries CUDA, several GB that no GPU here uses. The one for CPUs: "
        f"pip install --force-reinstall torch torchvision --index-url {FOR_CPUS}"
    )


def _database(project: Project) -> str:
    with project.records.read() as session:
        dialect = session.get_bind().dialect.name
        if dialect == "sqlite":
            answer = session.execute(text("PRAGMA quick_check")).scalar()
            if answer != "ok":
                raise RuntimeError(
                    f"{answer}; make a new folder of your newest backup: 'coreloop restore'"
                )
        return f"{dialect} opens"


def _images(project: Project) -> str:
    source, path = project.source, project.config.pool.path
    for file in source.scan():
        if isinstance(file, Image):
            source.read(file.uri)
            return f"readable at {path}{_passed_over(project)}"
    raise RuntimeError(f"no usable image at {path}")


def _passed_over(project: Project) -> str:
    """``; 73 other files are passed over (30 .heic, 6 hidden)``."""
    try:
        with project.records.read() as session:
            remarked = passed_over(queries.the_pool(session))
    except Missing:  # not scanned yet
        return ""
    passed = [each for each in remarked if each.what != "label"]
    if not passed:
        return ""
    kinds = ", ".join(f"{each.count} {each.suffix or each.reason}" for each in passed)
    count = sum(each.count for each in passed)
    return f"; {counted(count, 'other file')} {agreeing(count, 'is')} passed over ({kinds})"


def _encoder(project: Project) -> str:
    """Those that the images are to be embedded with."""
    device = resolve(project.config.training.device)
    wanted = encoders_of(project)
    return "; ".join(f"{spec}, on {device}: {encoders.get(spec).dim}" for spec in wanted)


def _labeler(project: Project) -> str:
    config = project.config.labeler
    if config.kind != "label-studio":
        return config.kind
    from connectors.label_studio.client import Client
    from loop.secrets import label_studio_token

    url = label_studio_url(config.url)
    client = Client(url, label_studio_token(project.root), attempts=1)
    return f"{url} accepts the token of {client.whoami()}{_label_config(project)}"


def _label_config(project: Project) -> str:
    """What a push would change in the project there, looked at as a push does.

    Raises:
        Mismatch: the push would be refused.
    """
    with project.records.read() as session:
        try:
            pool = queries.the_pool(session)
        except Missing:  # not scanned yet
            return ""
        labeler = connect_labeler(session, project)
        if not isinstance(labeler, Foretells):
            return ""
        changes = labeler.foretell(project.config.project.classes, 0, [])
        if changes[0].before is None:
            return "; the first push makes a project"
        check_config(session, labeler, pool.id)
    return f"; its label config fits ({changes[0].before})"


def _annotations(project: Project) -> str:
    """Every annotation could be read."""
    with project.records.read() as session:
        try:
            odd = named_odd(session, queries.the_pool(session).id)
        except Missing:  # nothing was scanned
            odd = []
    if odd:
        raise RuntimeError("not read as an answer: " + "; ".join(odd))
    return "each could be read as an answer"


def _arrays(project: Project) -> str:
    """Every recorded array is there."""
    with project.records.read() as session:
        rows = session.scalars(select(Array)).all()
        for row in rows:
            read = arrays.existing if row.kind == MODEL else arrays.load
            read(row, project.arrays)
        unnamed = arrays.unnamed(session, project.arrays)
    detail = f"{len(rows)} there (contents not compared; use --deep)"
    if unnamed:
        size = sum(path.stat().st_size for path in unnamed) / 1e6
        detail += f"; {len(unnamed)} more ({size:.1f} MB) that no record names: see --prune"
    return detail


def unnamed_arrays(project: Project) -> list[Path]:
    """Array files that no record names, as ``prune`` would remove them."""
    with project.records.read() as session:
        return arrays.unnamed(session, project.arrays)


def prune(project: Project, listed: list[Path]) -> list[Path]:
    """Removes those of the ``listed`` files that no record names now; returns them."""
    with project.writing() as records, records.write("prune") as session:
        gone = [path for path in arrays.unnamed(session, project.arrays) if path in listed]
        for path in gone:
            path.unlink()
        if gone:
            log(session, "doctor", f"removed {len(gone)} arrays that no record named")
    return gone


def _repair(project: Project) -> str:
    return "; ".join(repair(project, verify(project)[1])) or "not needed"


def _deep(project: Project) -> list[Check]:
    """Contents and constraints."""
    try:
        wrong, damaged = verify(project)
    except Exception as error:  # a failing check is a finding, of whatever kind
        return [Check("records", False, str(error))]
    lost = ", ".join(map(str, damaged))
    advice = f"damaged: {lost}; 'coreloop doctor --repair' computes them again"
    return [
        Check("records", not wrong, "; ".join(wrong) or "agree with each other"),
        Check("contents", not damaged, advice if damaged else "every digest is right"),
    ]


def repair(project: Project, damaged: list[Damage]) -> list[str]:
    """Computes damaged arrays and the pool's digest again; what was done, in words.

    The annotations, picks and states of rounds are never touched, save that a round whose scores
    are gone is scored again before anything is picked.
    """
    with project.writing() as records, records.write("repair") as session:
        pool = queries.the_pool(session)
        done = _restate_digest(session, pool)
        for damage in damaged:
            (project.arrays / damage.file).unlink(missing_ok=True)
            session.execute(
                delete(Array).where(
                    Array.pool_id == pool.id,
                    Array.kind == damage.kind,
                    Array.name == damage.name,
                    Array.of == damage.of,
                )
            )
        unscored = [damage.of for damage in damaged if damage.kind == "scores"]
        newest = queries.newest_round(session, pool.id)
        rescore = newest and newest.state == "scored" and f"round-{newest.number}" in unscored
        if newest and rescore:
            session.execute(update(Round).where(Round.id == newest.id).values(state="planned"))
        for action in done + [f"removed {damage}" for damage in damaged]:
            log(session, "doctor", action, level="warning")
    used = {encoders.get(spec).digest for spec in encoders_of(project)}
    if any(damage.kind == "embeddings" and damage.name in used for damage in damaged):
        embed_all(project)
    if rescore:
        score(project)
    done += [f"{damage}: {_again(project, damage)}" for damage in damaged]
    return done + _missing_model(project)


def _missing_model(project: Project) -> list[str]:
    """Makes the model of the last training where none is kept: older versions kept none."""
    with project.records.read() as session:
        trained = queries.runs(session, queries.the_pool(session).id, "all")
        kept = session.scalar(select(Array.id).where(Array.kind == MODEL).limit(1))
    if kept is not None or not trained:
        return []
    number = trained[-1][0]
    try:
        recompute(project, f"round-{number}")
    except LoopError as error:
        return [f"the model of round {number} cannot be made: {error}"]
    return [f"the model of round {number} was made"]


def _restate_digest(session: Session, pool: Pool) -> list[str]:
    """States the pool's digest anew where it is not that of its images; what was done."""
    digest = pool_digest(session, pool.id)
    if not pool.digest or pool.digest == digest:
        return []
    session.execute(update(Pool).where(Pool.id == pool.id).values(digest=digest))
    return ["the pool's digest was stated anew"]


def _again(project: Project, damage: Damage) -> str:
    """What became of a damaged array."""
    try:
        if damage.kind in ("probabilities", MODEL):
            recompute(project, damage.of)
        if damage.kind == PREDICTED:
            freeze_again(project, damage.of, damage.rows)
    except (LoopError, DbError) as error:
        return f"removed ({error})"
    with project.records.read() as session:
        pool_id = queries.the_pool(session).id
        array = arrays.find(
            session, pool_id=pool_id, kind=damage.kind, name=damage.name, of=damage.of
        )
    if array is None:
        return "removed; nothing needs it any more"
    return "computed again" + (
        "" if array.digest == damage.digest else ", not bit for bit as before"
    )
