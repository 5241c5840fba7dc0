"""export: what people said, for other tools; the picks, before anyone labels; or the model."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from db import queries
from db.answers import standing_answers
from loop.errors import ConfigError, NotReady
from loop.export import FOLDERS, MODEL, Exported, ExportedVote
from loop.export import export as write
from loop.project import Project
from loop.project.labels import collect
from loop.project.pictures import readable_images

if TYPE_CHECKING:
    from loop.export.model import ModelFolder


def export(
    project: Project, form: str, out: Path | None = None, *, all_picks: bool = False
) -> tuple[Path, int]:
    """Writes labelled images (with ``all_picks``: unlabelled picks too); (path, images).

    Raises:
        ConfigError: see loop.export; unlabelled picks in a format of image folders.
        NotReady: there is nothing to write; a file of an earlier export stays as it is.
    """
    names = project.config.project.classes
    if all_picks and form in FOLDERS:
        raise ConfigError(
            f"--picks lists images nobody has labelled yet, and {form!r} sorts images by label; "
            "use --format csv, jsonl or parquet"
        )
    with project.records.read() as session:
        pool = queries.the_pool(session)
        labels = collect(session, pool, project.config)
        picks = queries.picks(session, pool.id)
        standing = standing_answers(session, pool.id)
    votes: dict[str, list[ExportedVote]] = defaultdict(list)
    for answer in standing:
        at = answer.at.isoformat() if answer.at else None
        votes[answer.key].append(ExportedVote(answer.annotator, answer.label, answer.seconds, at))
    rows = [
        Exported(
            pick.key,
            pick.uri,
            "test" if pick.arm == "test" else "train",
            pick.round,
            pick.rank,
            names[labels.by_row[pick.row]] if pick.row in labels.by_row else None,
            tuple(votes[pick.key]),
        )
        for pick in picks
        if all_picks or pick.row in labels.by_row
    ]
    if not rows:
        raise NotReady(
            "nothing was picked yet; next: coreloop run"
            if all_picks
            else "no image has a label yet; 'coreloop export --picks' lists those picked"
        )
    path = out or Path(default_name(form, all_picks=all_picks))
    return write(rows, form, path, project.source.read, names), len(rows)


def export_model(project: Project, out: Path | None = None) -> ModelFolder:
    """Writes the newest model as a folder that works without coreloop.

    Raises:
        ConfigError: the folder exists; a package is missing, or the encoder's weights are; ONNX has
            no form for a network.
        NotReady: there is no model yet.
        DataError: the encoder is another than the model's; the graph answers otherwise.
    """
    from loop.export.model import check_packages, write_model_folder
    from loop.project.model import encoder_of, examples, newest_model
    from loop.project.origin import origin_of

    check_packages()
    with project.records.read() as session:
        kept = newest_model(session, project)
        model, origin = kept.model, origin_of(session, project, kept)
        uris, embeddings = examples(session, project, model)
    images = readable_images(project.source, uris)
    path = out or Path(MODEL)
    return write_model_folder(path, model, encoder_of(model), origin, images, embeddings)


def default_name(form: str, *, all_picks: bool) -> str:
    """Where an export goes when nobody says."""
    if form in FOLDERS:
        return f"dataset-{form}" if form != "folders" else "dataset"
    stem = form if form in ("votes", "annotations") else "picks" if all_picks else "labels"
    return f"{stem}.{form if form in ('jsonl', 'parquet') else 'csv'}"
