"""export: what people said, for other tools; the picks, before anyone labels; or the model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from db import queries
from db.answers import standing_answers
from loop.errors import ConfigError, NotReady
from loop.export import FOLDERS, MODEL, TABLES, Exported, ExportedVote
from loop.export import export as write
from loop.project import Project
from loop.project.absence import named
from loop.project.labels import Labels, collect
from loop.project.pictures import encoded_images
from loop.project.promise import in_short, model_labels
from loop.wording import counted

if TYPE_CHECKING:
    from loop.export.model import ModelFolder


def export(
    project: Project,
    form: str,
    out: Path | None = None,
    *,
    all_picks: bool = False,
    everything: bool = False,
    on_note: Callable[[str], None] = lambda text: None,
) -> tuple[Path, int]:
    """Writes the images that people labelled; (path, images). Images that are passed over are left
    out, and those whose files have gone where the format has the images in it.

    Args:
        on_note: told what is left out.
        all_picks: unlabelled picks too.
        everything: those that the model of a kept promise labels too; tables also list those left.

    Raises:
        ConfigError: see loop.export; unlabelled picks in a format of image folders.
        NotReady: there is nothing to write; a file of an earlier export stays as it is.
    """
    if all_picks and form in FOLDERS:
        raise ConfigError(
            f"--picks lists images nobody has labelled yet, and {form!r} sorts images by label; "
            "use --format csv, jsonl or parquet"
        )
    rows = exported(project, all_picks=all_picks, everything=everything)
    if not rows:
        raise NotReady(
            "nothing was picked yet; next: coreloop run"
            if all_picks
            else "no image has a label yet; 'coreloop export --picks' lists those picked"
        )
    if form in FOLDERS:
        rows = _with_files(project, rows, on_note)
    absent = _absent(project)
    if absent:
        on_note(f"left out as gone or excluded: {counted(absent, 'labelled image')}")
    path = out or Path(default_name(form, all_picks=all_picks, everything=everything))
    names = project.config.project.classes
    write(rows, form, path, project.source.read, names)
    written = rows if form in TABLES else [row for row in rows if row.label is not None]
    return path, len(written)


def _with_files(
    project: Project, rows: list[Exported], on_note: Callable[[str], None]
) -> list[Exported]:
    """Rows whose images are there. Raises NotReady: none is."""
    missing = set(project.source.missing(row.uri for row in rows))
    if not missing:
        return rows
    on_note(f"left out, their files have gone: {named(sorted(missing))}; type: coreloop scan")
    if len(missing) == len({row.uri for row in rows}):
        raise NotReady("the files of all these images have gone; put them back, or: coreloop scan")
    return [row for row in rows if row.uri not in missing]


def _absent(project: Project) -> int:
    """Images with a label that are passed over."""
    with project.records.read() as session:
        pool = queries.the_pool(session)
        absent = queries.absences(session, pool.id)
        if not absent:
            return 0
        labels = collect(session, pool, project.config, absent=True)
    return len(absent.keys() & labels.by_row.keys())


def exported(
    project: Project, *, all_picks: bool = False, everything: bool = False
) -> list[Exported]:
    """What ``export`` writes."""
    with project.records.read() as session:
        labels = collect(session, queries.the_pool(session), project.config)
        rows = _by_people(session, project, labels, all_picks=all_picks or everything)
        return _completed(session, project, labels, rows) if everything else rows


def _by_people(
    session: Session, project: Project, labels: Labels, *, all_picks: bool
) -> list[Exported]:
    """Picks in labelling order, with what people said of them."""
    pool, names = queries.the_pool(session), project.config.project.classes
    votes: dict[str, list[ExportedVote]] = defaultdict(list)
    for answer in standing_answers(session, pool.id):
        at = answer.at.isoformat() if answer.at else None
        votes[answer.key].append(ExportedVote(answer.annotator, answer.label, answer.seconds, at))
    rows = []
    for pick in queries.picks(session, pool.id):
        label = labels.by_row.get(pick.row)
        if label is None and not all_picks:
            continue
        rows.append(
            Exported(
                key=pick.key,
                uri=pick.uri,
                split="test" if pick.arm == "test" else "train",
                round=pick.round,
                rank=pick.rank,
                label=None if label is None else names[label],
                votes=tuple(votes[pick.key]),
                by=None if label is None else "people",
            )
        )
    return rows


def _completed(
    session: Session, project: Project, labels: Labels, picked: list[Exported]
) -> list[Exported]:
    """Every image: the picks, then the others; where the model labels one, its label."""
    by_model = model_labels(session, project, labels)
    given: Mapping[int, tuple[int, float]] = by_model.by_row if by_model else {}
    promise = in_short(by_model.promise) if by_model else None
    names = project.config.project.classes
    rows = {row.key: row for row in picked}
    pool_id = queries.the_pool(session).id
    absent = queries.absences(session, pool_id)
    for row, key, uri in queries.row_names(session, pool_id):
        if row in absent:
            continue
        if key not in rows:
            rows[key] = Exported(key, uri, "train", None, None, None)
        if rows[key].label is None and row in given:
            label, confidence = given[row]
            rows[key] = replace(
                rows[key],
                label=names[label],
                by="model",
                confidence=confidence,
                promise=promise,
            )
    return list(rows.values())


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
        model = newest_model(session, project).model
        origin = origin_of(session, project, model)
        uris, embeddings = examples(session, project, model)
    images = encoded_images(project.source, uris)
    path = out or Path(MODEL)
    return write_model_folder(path, model, encoder_of(model), origin, images, embeddings)


def default_name(form: str, *, all_picks: bool, everything: bool) -> str:
    """Where an export goes when nobody says."""
    if form in FOLDERS:
        return f"dataset-{form}" if form != "folders" else "dataset"
    if everything and form not in ("votes", "annotations"):
        return f"all.{form}"
    stem = form if form in ("votes", "annotations") else "picks" if all_picks else "labels"
    return f"{stem}.{form if form in ('jsonl', 'parquet') else 'csv'}"
