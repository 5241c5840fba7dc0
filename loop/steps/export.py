"""export: what people said, for other tools; or the picks, before anyone labels."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from db import queries
from loop.errors import ConfigError, NotReady
from loop.export import FOLDERS, Exported, ExportedVote
from loop.export import export as write
from loop.project import Project
from loop.steps.labels import collected
from loop.steps.opened import reading, source


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
    with reading(project) as records, records.read() as session:
        pool = queries.the_pool(session)
        labels = collected(session, project, pool.id)
        votes: dict[str, list[ExportedVote]] = defaultdict(list)
        for note in queries.standing(session, pool.id):
            at = note.at.isoformat() if note.at else None
            votes[note.key].append(ExportedVote(note.annotator, note.label, note.seconds, at))
        rows = [
            Exported(
                pick.key,
                pick.uri,
                "test" if pick.arm == "test" else "train",
                pick.round,
                pick.rank,
                names[labels[pick.row]] if pick.row in labels else None,
                tuple(votes[pick.key]),
            )
            for pick in queries.picks(session, pool.id)
            if all_picks or pick.row in labels
        ]
    if not rows:
        raise NotReady(
            "nothing was picked yet; next: coreloop run"
            if all_picks
            else "no image has a label yet; 'coreloop export --picks' lists those picked"
        )
    path = out or Path(default_name(form, all_picks=all_picks))
    return write(rows, form, path, source(project).read, names), len(rows)


def default_name(form: str, *, all_picks: bool) -> str:
    """Where an export goes when nobody says."""
    if form in FOLDERS:
        return f"dataset-{form}" if form != "folders" else "dataset"
    stem = form if form in ("votes", "annotations") else "picks" if all_picks else "labels"
    return f"{stem}.{form if form in ('jsonl', 'parquet') else 'csv'}"
