"""export: what people said, for other tools; or the picks, before anyone labels."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from db import queries
from loop.export import Exported
from loop.export import export as write
from loop.project import Project
from loop.steps.labels import collected
from loop.steps.opened import reading, source


def export(project: Project, form: str, out: Path, *, all_picks: bool = False) -> tuple[Path, int]:
    """Writes labelled images (with ``all_picks``: unlabelled picks too); (path, images).

    Raises:
        ConfigError: see loop.export.
    """
    names = project.config.project.classes
    with reading(project) as records, records.read() as session:
        pool = queries.the_pool(session)
        labels = collected(session, project, pool.id)
        votes: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for answer in queries.answers(session, pool.id):
            if answer.label is not None:
                votes[answer.key].append((answer.annotator, answer.label))
        rows = [
            Exported(
                pick.key, pick.uri, "test" if pick.arm == "test" else "train", pick.round,
                pick.rank, names[labels[pick.row]] if pick.row in labels else None,
                tuple(votes[pick.key]),
            )
            for pick in queries.picks(session, pool.id)
            if all_picks or pick.row in labels
        ]  # fmt: skip
    return write(rows, form, out, source(project).read), len(rows)
