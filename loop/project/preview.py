"""The picks of the current round, before anybody is asked: pictures, reasons, and the map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from connectors.base import Source, SourceError
from db import arrays, queries
from db.models import Round
from db.queries import Picked
from loop.errors import DataError, NotReady
from loop.images import thumbnail
from loop.project.embeddings import embeddings
from loop.project.labels import collect
from loop.project.pictures import embedding_map
from loop.project.placed import known
from loop.project.problem import read_scanned
from loop.project.project import Project
from loop.project.rounds import current_round
from loop.reports.facts import MapPoint
from loop.reports.preview import Preview, PreviewedPick
from loop.surroundings import surroundings

MOST_PICTURES = 400
"""Of one page, some 4 MB; the rest of the picks is described without a picture."""
SIDE = 160
"""Pixels of a thumbnail."""
RANDOM = {
    "test": "held out at random: it measures the model and nothing learns it",
    "sample": "drawn at random: it measures the model",
    "control": "drawn at random, to compare the picks with",
    "calibration": "drawn at random among what nobody labelled: it calibrates the promise",
    "rest": "the model is not sure enough: it is among the last that people label",
    "before": "people had labelled it before",
}
"""Arm -> why a pick is one that no scorer chose."""

WAYS_ON = [
    ("send these picks to people", "coreloop push"),
    ("send them, and go on as far as people are not needed", "coreloop run"),
    ("take images out for good; others are picked in their place", "coreloop exclude FILES"),
    ("take the whole round back", "coreloop undo"),
]
"""(what for, what to type) once the picks were looked at."""


@dataclass(frozen=True)
class ScoredPool:
    """Scores of the round by pool row, and which rows could be picked."""

    scores: NDArray[np.float64]
    rows: NDArray[np.int64]
    available: NDArray[np.bool_]

    def of(self, row: int) -> tuple[float, int]:
        """(score, images that could be picked and score higher) of an array row."""
        score = self.scores[np.searchsorted(self.rows, row)]
        return float(score), int((self.scores[self.available] > score).sum())


def preview(project: Project) -> Preview:
    """Reads only.

    Raises:
        NotReady: the newest round has no picks yet, or they are sent already.
        ConfigError: see ``loop.project.labels.collect``.
    """
    config = project.config
    with project.records.read() as session:
        pool = queries.the_pool(session)
        round_ = current_round(session, pool, after="selected")
        all_picks = queries.picks(session, pool.id)
        picks = [pick for pick in all_picks if pick.round == round_.number]
        pool_rows = queries.split_rows(session, pool.id, "pool")
        labels = collect(session, pool, config).by_row
        scored = _scored(session, project, round_)
        uris = queries.row_uris(session, pool.id, list(labels))
        embedded = _embedded(session, project)
    named = {row: (uri, config.project.classes[labels[row]]) for row, uri in uris.items()}
    described = [_described(pick, place, scored) for place, pick in enumerate(picks, 1)]
    if embedded is not None:
        described = _placed(described, picks, embedded, pool_rows, named)
    earlier = [pick for pick in all_picks if pick.arm != "test" or pick.round == round_.number]
    points = embedding_map(embedded, pool_rows, config.project.classes, earlier, labels, ())
    shown, troubles = _with_pictures(project.source, described, picks)
    return Preview(
        project=config.project.name,
        round=round_.number,
        name=round_.name,
        chosen_by=_explained(round_) if scored else "",
        labeler=config.labeler.kind,
        pool=len(pool_rows),
        picks=shown,
        points=_marked(points, {pick.key for pick in picks if pick.arm in RANDOM}),
        troubles=troubles,
        ways_on=WAYS_ON,
    )


def _embedded(session: Session, project: Project) -> NDArray[np.float32] | None:
    """None where the images are not embedded, as a test round's need not be."""
    try:
        return embeddings(session, project)
    except NotReady:
        return None


def _scored(session: Session, project: Project, round_: Round) -> ScoredPool | None:
    """None where no scorer chose anything in this round."""
    name = f"round-{round_.number}"
    array = arrays.find(session, pool_id=round_.pool_id, kind="scores", name="coreset", of=name)
    if array is None:
        return None
    rows, scores = known(session, round_.pool_id, arrays.load(array, project.arrays))
    before = queries.picked_rows(session, round_.pool_id, before=round_.number)
    taken = np.concatenate([before, queries.sample_rows(session, round_.pool_id)])
    return ScoredPool(scores, rows, ~np.isin(rows, taken))


def _explained(round_: Round) -> str:
    """``auto: kmedoids (8.3 labels per class: ...)``"""
    explained = round_.explanation
    scorer = str(explained.get("scorer", "?"))
    choice, reason = explained.get("choice"), explained.get("reason")
    text = f"{scorer}: {choice}" if choice else scorer
    return f"{text} ({reason})" if reason else text


def _described(pick: Picked, place: int, scored: ScoredPool | None) -> PreviewedPick:
    """How a pick came to be one."""
    described = PreviewedPick(
        pick.key, pick.uri, place, pick.arm, RANDOM.get(pick.arm, "picked by hand")
    )
    if pick.arm != "coreset" or scored is None:
        return described
    score, higher = scored.of(pick.row)
    chosen = f"{_ordinal(higher + 1)} of {int(scored.available.sum())}"
    if score != -higher:  # many methods only put images in order
        chosen += f", score {score:.4g}"
    return replace(described, chosen=chosen, score=score, higher=higher)


def _ordinal(number: int) -> str:
    """1 -> 1st, 12 -> 12th, 23 -> 23rd."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{ending or 'th'}"


def _placed(
    described: list[PreviewedPick],
    picks: Sequence[Picked],
    embedded: NDArray[np.float32],
    pool_rows: NDArray[np.int64],
    labelled: Mapping[int, tuple[str, str]],
) -> list[PreviewedPick]:
    """With what surrounds each; ``labelled``: array row -> (uri, class)."""
    rows = np.array([pick.row for pick in picks], dtype=np.int64)
    marked = np.setdiff1d(np.array(sorted(labelled), dtype=np.int64), rows)
    around = surroundings(embedded, pool_rows, rows, marked)
    return [
        replace(
            pick,
            density=float(around.density[i]),
            stands_for=max(1, round(float(around.stands_for[i]) * len(pool_rows))),
            nearest=labelled[int(marked[around.nearest[i]])] if len(marked) else None,
        )
        for i, pick in enumerate(described)
    ]


def _marked(points: list[MapPoint], drawn: set[str]) -> list[MapPoint]:
    """The map with what was drawn at random told from picks."""
    return [
        replace(point, state="drawn") if point.state == "picked" and point.key in drawn else point
        for point in points
    ]


def _with_pictures(
    source: Source, described: list[PreviewedPick], picks: Sequence[Picked]
) -> tuple[list[PreviewedPick], list[str]]:
    """(the picks, the first of each arm with pictures; what cannot be read)"""
    shown: list[PreviewedPick] = []
    troubles = []
    for pick, record in zip(described, picks, strict=True):
        try:
            data = read_scanned(source, record.uri, record.key)
            picture = thumbnail(data, SIDE, record.uri) if len(shown) < MOST_PICTURES else None
        except (SourceError, DataError) as error:
            troubles.append(str(error))
            picture = None
        shown.append(replace(pick, thumbnail=picture))
    return shown, troubles
