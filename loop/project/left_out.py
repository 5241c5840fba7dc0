"""Each label so far, and what a model of all other labels predicts for its image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from db.queries import Picked
from loop.errors import NotReady
from loop.label_issues import (
    MIN_LABELS,
    LabelIssue,
    find_label_issues,
    label_margin,
    left_out_probabilities,
    self_confidence,
)
from loop.wording import counted


@dataclass(frozen=True)
class LeftOut:
    """Leave-one-out predictions of k labelled images.

    Attributes:
        rows: (k,) int64 array rows.
        given: (k,) int64 their classes as people gave them.
        probabilities: (k, C) float64 by a model that never saw the row.
    """

    rows: NDArray[np.int64]
    given: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    @property
    def predicted(self) -> dict[int, int]:
        """Array row -> class index."""
        classes = self.probabilities.argmax(axis=1)
        return dict(zip(self.rows.tolist(), classes.tolist(), strict=True))


def predict_left_out(
    embedded: NDArray[np.float32], labels: Mapping[int, int], n_classes: int
) -> LeftOut:
    """Leave-one-out predictions of ``labels``, array row -> class index.

    Raises:
        NotReady: too few are labelled.
    """
    rows = np.array(sorted(labels), dtype=np.int64)
    given = np.array([labels[int(row)] for row in rows], dtype=np.int64)
    seen = len(np.unique(given))
    if len(rows) < MIN_LABELS or seen < 2:
        raise NotReady(
            f"{counted(len(rows), 'label')} of {seen} classes are too few to judge them by each "
            f"other; label at least {MIN_LABELS} images of two classes"
        )
    return LeftOut(rows, given, left_out_probabilities(embedded[rows], given, n_classes))


def nothing_left_out(n_classes: int) -> LeftOut:
    """Of no label."""
    nothing = np.empty(0, np.int64)
    return LeftOut(nothing, nothing, np.empty((0, n_classes)))


@dataclass(frozen=True)
class LabelledImage:
    """An image whose label is judged, and whose label it is: people or model."""

    key: str
    uri: str
    split: str
    by: str = "people"


def labelled_images(picks: Iterable[Picked]) -> dict[int, LabelledImage]:
    """Array row -> its image, of picks of every split."""
    return {
        pick.row: LabelledImage(pick.key, pick.uri, "test" if pick.arm == "test" else "train")
        for pick in picks
    }


def issues_among(
    images: Mapping[int, LabelledImage], classes: Sequence[str], left_out: LeftOut
) -> list[LabelIssue]:
    """Label issues among the labels, the largest label margin first.

    Args:
        images: by array row, every labelled one, the test split's too.
        classes: class names.
    """
    given, probabilities = left_out.given, left_out.probabilities
    margins = label_margin(given, probabilities)
    confidences = self_confidence(given, probabilities)
    issues = []
    for i in find_label_issues(given, probabilities):
        image = images[int(left_out.rows[i])]
        issues.append(
            LabelIssue(
                key=image.key,
                uri=image.uri,
                split=image.split,
                by=image.by,
                label=classes[given[i]],
                predicted=classes[probabilities[i].argmax()],
                confidence=float(probabilities[i].max()),
                self_confidence=float(confidences[i]),
                label_margin=float(margins[i]),
            )
        )
    return issues
