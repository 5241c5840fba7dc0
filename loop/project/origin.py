"""Where the newest model comes from, as its card says it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from db import queries
from db.models import Round
from loop.encoders import spec
from loop.encoders.licence import licence_notes
from loop.export.card import Origin
from loop.export.model import NEEDS
from loop.measuring.by_sample import SAMPLE
from loop.measuring.runs import CALIBRATION
from loop.project.corrections import outdated_rounds
from loop.project.labels import collect
from loop.project.project import Project
from loop.project.versions import versions
from loop.train import FINE_TUNING
from loop.train.kept import KeptModel
from loop.train.metrics import Metrics


def origin_of(session: Session, project: Project, model: KeptModel) -> Origin:
    """Of a kept model, see ``newest_model``."""
    pool = queries.the_pool(session)
    runs = queries.runs(session, pool.id, "all")
    run = [run for number, run in runs if number == model.about.round][-1]
    labels = collect(session, pool, project.config)
    learned = [
        labels.by_row[pick.row]
        for pick in queries.picks(session, pool.id)
        if pick.arm != "test" and pick.round <= model.about.round and pick.row in labels.by_row
    ]
    counts = Counter(learned)
    encoder, training = model.about.encoder, _training(session.get_one(Round, run.round_id))
    tuned = _fine_tuned(training["trainer"])
    return Origin(
        project=project.config.project.name,
        encoder=spec.short(encoder) if encoder else "",
        licences=licence_notes(encoder or tuned) if encoder or tuned else {},
        start="" if encoder else _start(training, tuned),
        counts={name: counts[number] for number, name in enumerate(model.about.classes)},
        counts_of_training=model.about.round not in outdated_rounds(session, project, labels),
        rounds=len({number for number, _ in runs}),
        labeler=project.config.labeler.kind,
        annotators=len({annotator for _, annotator, _ in labels.votes}),
        metrics=Metrics.from_json(run.metrics),
        sample=SAMPLE in run.notes,
        calibration=run.notes.get(CALIBRATION),
        trained_at=_moment(run.created_at),
        exported_at=_moment(datetime.now(UTC)),
        versions=versions() | {name: version(name) for name in NEEDS},
    )


def _training(round_: Round) -> dict[str, Any]:
    """The settings that the round was trained by."""
    settings: dict[str, Any] = round_.config["training"]
    return settings


def _fine_tuned(trainer: str) -> str:
    """Spec of the encoder that a trainer starts from; empty of others."""
    return trainer.removeprefix(FINE_TUNING) if trainer.startswith(FINE_TUNING) else ""


def _start(training: dict[str, Any], tuned: str) -> str:
    """Name of the weights that the round's network started from, or empty."""
    return spec.short(tuned) if tuned else Path(training["params"].get("checkpoint", "")).name


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
