"""The pictures of a report: thumbnails of picks, and where they lie among all images."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from connectors.base import SourceError
from db import queries
from db.queries import Picked
from loop.errors import DataError, NotReady
from loop.project import Project
from loop.reports.facts import MapPoint, PickShown
from loop.select import strata_budgets
from loop.steps.embed import embeddings
from loop.steps.opened import source

THUMBNAILS = 200
MAP_POINTS = 2000


def contact_sheet(
    project: Project, picks: list[Picked], labels: dict[int, int], said: dict[int, int]
) -> list[PickShown]:
    """The first picks of each round, at most ``THUMBNAILS`` in all, shared evenly."""
    from loop.images import thumbnail

    images, names = source(project), project.config.project.classes
    sizes = Counter(p.round for p in picks)
    numbers = sorted(sizes)
    budgets = strata_budgets(np.array([sizes[n] for n in numbers], dtype=np.int64), THUMBNAILS)
    share = dict(zip(numbers, budgets, strict=True))
    taken: Counter[int] = Counter()
    shown = []
    for pick in picks:
        if taken[pick.round] >= share[pick.round]:
            continue
        taken[pick.round] += 1
        try:
            small = thumbnail(images.read(pick.uri), name=pick.uri)
        except (SourceError, DataError):
            continue  # a picture that has gone is no reason to have no report
        shown.append(
            PickShown(
                pick.key,
                pick.uri,
                pick.round,
                pick.arm,
                pick.rank,
                names[labels[pick.row]] if pick.row in labels else None,
                names[said[pick.row]] if pick.row in said else None,
                small,
            )
        )
    return shown


def embedding_map(
    session: Session,
    project: Project,
    picks: list[Picked],
    labels: dict[int, int],
    said: dict[int, int],
) -> list[MapPoint]:
    """Picks and a sample of the pool on the two main directions of the embeddings."""
    try:
        all_rows = embeddings(session, project)
    except NotReady:
        return []
    pool = queries.the_pool(session)
    rows = queries.split_rows(session, pool.id, "pool")
    step = max(1, len(rows) // MAP_POINTS)
    chosen = {p.row: p for p in picks[:MAP_POINTS]}
    shown = np.array(sorted({int(r) for r in rows[::step]} | set(chosen)), dtype=np.int64)
    if len(shown) < 3:
        return []
    places = _plane(np.asarray(all_rows[shown], dtype=np.float64))
    names = project.config.project.classes
    points = []
    for row, (x, y) in zip(shown.tolist(), places.tolist(), strict=True):
        pick = chosen.get(row)
        if pick is None:
            points.append(MapPoint(x, y))
        elif row not in labels:
            points.append(MapPoint(x, y, "picked", f"{pick.uri} (no label yet)", pick.key))
        else:
            state = "wrong" if said.get(row, labels[row]) != labels[row] else "labelled"
            text = f"{pick.uri} ({names[labels[row]]})"
            points.append(MapPoint(x, y, state, text, pick.key))
    return points


def _plane(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M, 2) first two principal directions, each scaled to [0, 1]."""
    x = x - x.mean(axis=0)
    if x.shape[1] == 1:
        x = np.hstack([x, np.zeros_like(x)])
    _, axes = np.linalg.eigh(x.T @ x)
    flat = x @ axes[:, :-3:-1]
    span = np.maximum(np.ptp(flat, axis=0), 1e-12)
    out: NDArray[np.float64] = (flat - flat.min(axis=0)) / span
    return out
