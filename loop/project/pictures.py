"""The pictures of a report: thumbnails of picks, and where they lie among all images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from connectors.base import Source, SourceError
from db.queries import Picked
from loop.errors import DataError
from loop.label_issues import LabelIssue
from loop.project.problem import read_scanned
from loop.quality import Quality
from loop.reports.facts import MapPoint, PickShown
from loop.select import strata_budgets

THUMBNAILS = 200
MAP_POINTS = 2000
GROUPS, OF_GROUP = 12, 6
"""Groups of near-duplicates that are shown, and images of each."""


def contact_sheet(
    source: Source,
    classes: Sequence[str],
    picks: Sequence[Picked],
    labels: Mapping[int, int],
    predicted: Mapping[int, int],
    issue_keys: Collection[str],
    skipped: Collection[int] = (),
) -> list[PickShown]:
    """The first picks of each round, at most ``THUMBNAILS`` in all, shared evenly.

    Args:
        labels, predicted: array row -> class index.
        issue_keys: of the images whose label is a label issue.
        skipped: array rows that people gave no label.
    """
    sheet = []
    for pick in _first_of_each_round(picks, THUMBNAILS):
        picture = _picture(source, pick.uri, pick.key)
        if picture is None:
            continue
        sheet.append(
            PickShown(
                key=pick.key,
                uri=pick.uri,
                round=pick.round,
                arm=pick.arm,
                rank=pick.rank,
                label=classes[labels[pick.row]] if pick.row in labels else None,
                predicted=classes[predicted[pick.row]] if pick.row in predicted else None,
                label_issue=pick.key in issue_keys,
                skipped=pick.row in skipped,
                thumbnail=picture,
            )
        )
    return sheet


def issue_pictures(source: Source, issues: Sequence[LabelIssue]) -> dict[str, bytes]:
    """Item key -> JPEG of the images of label issues that are there."""
    pictures = {issue.key: _picture(source, issue.uri, issue.key) for issue in issues}
    return {key: picture for key, picture in pictures.items() if picture is not None}


def group_pictures(source: Source, looked_at: Quality | None) -> list[list[bytes]]:
    """JPEGs of the first images of the largest groups of near-duplicates."""
    from loop.images import thumbnail

    groups = []
    for group in looked_at.groups[:GROUPS] if looked_at else ():
        pictures = []
        for uri in group[:OF_GROUP]:
            with suppress(SourceError, DataError):
                pictures.append(thumbnail(source.read(uri), name=uri))
        groups.append(pictures)
    return groups


def _picture(source: Source, uri: str, key: str) -> bytes | None:
    """A thumbnail; None for an image that has gone or was replaced, which is no reason to have no
    report."""
    from loop.images import thumbnail

    try:
        return thumbnail(read_scanned(source, uri, key), name=uri)
    except (SourceError, DataError):
        return None


def encoded_images(source: Source, uris: Sequence[str]) -> list[bytes]:
    """Files of images; those that have gone are left out."""
    images = []
    for uri in uris:
        with suppress(SourceError):
            images.append(source.read(uri))
    return images


def _first_of_each_round(picks: Sequence[Picked], count: int) -> list[Picked]:
    sizes = Counter(pick.round for pick in picks)
    numbers = sorted(sizes)
    budgets = strata_budgets(np.array([sizes[n] for n in numbers], dtype=np.int64), count)
    left = dict(zip(numbers, budgets.tolist(), strict=True))
    chosen = []
    for pick in picks:
        if left[pick.round] > 0:
            left[pick.round] -= 1
            chosen.append(pick)
    return chosen


def embedding_map(
    embedded: NDArray[np.float32] | None,
    pool_rows: NDArray[np.int64],
    classes: Sequence[str],
    picks: Sequence[Picked],
    labels: Mapping[int, int],
    issue_keys: Collection[str],
    skipped: Collection[int] = (),
) -> list[MapPoint]:
    """Picks and a sample of the pool on the first two principal components of the embeddings.

    Args:
        embedded: (all items, D), in array rows; None: there is nothing to show.
        pool_rows: (N,) array rows of the pool.
        labels: array row -> class index.
        issue_keys: of the images whose label is a label issue.
        skipped: array rows that people gave no label.
    """
    if embedded is None:
        return []
    step = max(1, len(pool_rows) // MAP_POINTS)
    picked = {pick.row: pick for pick in picks[:MAP_POINTS]}
    rows = np.array(sorted({int(row) for row in pool_rows[::step]} | set(picked)), dtype=np.int64)
    if len(rows) < 3:
        return []
    positions = _plane(np.asarray(embedded[rows], dtype=np.float64))
    points = []
    for row, (x, y) in zip(rows.tolist(), positions.tolist(), strict=True):
        pick = picked.get(row)
        if pick is None:
            points.append(MapPoint(x, y))
        elif row not in labels and row in skipped:
            points.append(MapPoint(x, y, "skipped", f"{pick.uri} (skipped)", pick.key))
        elif row not in labels:
            points.append(MapPoint(x, y, "picked", f"{pick.uri} (no label yet)", pick.key))
        else:
            state = "issue" if pick.key in issue_keys else "labelled"
            text = f"{pick.uri} ({classes[labels[row]]})"
            points.append(MapPoint(x, y, state, text, pick.key))
    return points


def _plane(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M, 2) first two principal components of (M, D) rows, each scaled to [0, 1]."""
    from sklearn.decomposition import PCA

    if x.shape[1] == 1:
        x = np.hstack([x, np.zeros_like(x)])
    flat = PCA(n_components=2, svd_solver="covariance_eigh").fit_transform(x)
    span = np.maximum(np.ptp(flat, axis=0), 1e-12)
    scaled: NDArray[np.float64] = (flat - flat.min(axis=0)) / span
    return scaled
