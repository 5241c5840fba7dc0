"""Where the newest model comes from, as its card says it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from sqlalchemy.orm import Session

from db import queries
from loop.encoders import spec
from loop.encoders.licence import licence_notes
from loop.export.card import Origin
from loop.export.model import NEEDS
from loop.measuring.by_sample import SAMPLE
from loop.measuring.runs import CALIBRATION
from loop.project.digests import rows_digest
from loop.project.labels import collect
from loop.project.model import Kept
from loop.project.project import Project
from loop.project.versions import versions
from loop.train.metrics import Metrics


def origin_of(session: Session, project: Project, kept: Kept) -> Origin:
    """Of a kept model."""
    model = kept.model
    pool = queries.the_pool(session)
    runs = queries.runs(session, pool.id, "all")
    run = next((run for number, run in reversed(runs) if number == model.about.round), None)
    labels = collect(session, pool, project.config)
    known = labels.of(queries.split_rows(session, pool.id, "pool"))
    counts = Counter(known[known >= 0].tolist())
    checkpoint = "" if model.about.encoder else project.config.training.params.get("checkpoint", "")
    metrics = Metrics.from_json(run.metrics) if run else None
    return Origin(
        project=project.config.project.name,
        encoder=spec.short(model.about.encoder) if model.about.encoder else "",
        licences=licence_notes(model.about.encoder) if model.about.encoder else {},
        start=Path(str(checkpoint)).name,
        counts={name: counts[number] for number, name in enumerate(model.about.classes)},
        counts_of_training=run is not None and run.rows_digest == rows_digest(known),
        rounds=len({number for number, _ in runs}),
        labeler=project.config.labeler.kind,
        annotators=len({annotator for _, annotator, _ in labels.votes}),
        metrics=metrics,
        sample=run is not None and SAMPLE in run.notes,
        calibration=run.notes.get(CALIBRATION) if run else None,
        trained_at=_moment(run.created_at if run else kept.at),
        exported_at=_moment(datetime.now(UTC)),
        versions=versions() | {name: version(name) for name in NEEDS},
    )


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
