"""Every image of a project at one moment, in columns, and which of them a person asks to see."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db import arrays, queries
from db.answers import Answer
from db.errors import Damaged, Missing
from loop.project.evidence import Evidence
from loop.project.labels import pick_states
from loop.project.placed import known
from loop.project.project import Project
from loop.project.promise import model_labels

STATES = {
    "unasked": "nobody was asked",
    "waiting": "waiting for people",
    "skipped": "skipped",
    "answered": "labelled by people",
    "model": "labelled by the model",
    "gone": "its file has gone",
    "excluded": "taken out",
}
"""State of an image -> in words."""
PASSED_OVER = ("gone", "excluded")
"""States of images that are shown to who asks for them."""
ORDERS = {"pool": "as scanned", "picked": "as picked", "unsure": "least sure first"}
OPEN = ("planned", "scored", "selected", "pushed")
"""States of a round whose images people still label."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """Images in array rows, n of them.

    What would sway people is left out while their round is open: of an image that waits for them
    neither the model's guess nor why it was picked is here.

    Attributes:
        classes: names, in the order of class indices.
        keys, uris: (n,) of items.
        rounds: (n,) int64 number of the round that picked it, -1: none did.
        arms: (n,) why it was picked (``db.models.ARMS``); empty: not picked, or not told yet.
        ranks: (n,) int64 place in its round, -1 likewise.
        states: (n,) of ``STATES``.
        labels: (n,) int64 class by people, or by the model of a promise, -1: none.
        predicted: (n,) int64 class by the newest model, -1: unknown.
        confidence: (n,) float64 of that class, NaN: unknown.
        answers: array row -> what each person says of it.
        tasks: item key -> remote id.
        unreadable: (uri, reason) of files that are no usable image.
    """

    classes: list[str]
    keys: list[str]
    uris: list[str]
    rounds: NDArray[np.int64]
    arms: NDArray[np.str_]
    ranks: NDArray[np.int64]
    states: NDArray[np.str_]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]
    answers: dict[int, list[Answer]]
    tasks: dict[str, str]
    unreadable: list[tuple[str, str]]

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Item key -> array row."""
        return {key: row for row, key in enumerate(self.keys)}

    @cached_property
    def people(self) -> list[str]:
        """Everyone who answered, by name."""
        return sorted({answer.annotator for given in self.answers.values() for answer in given})

    @cached_property
    def folded_uris(self) -> NDArray[np.str_]:
        """(n,) lower-case uris, for searches."""
        return np.array([uri.casefold() for uri in self.uris], dtype=np.str_)

    @property
    def numbers(self) -> list[int]:
        """Rounds that picked images, ascending."""
        return [int(number) for number in np.unique(self.rounds) if number >= 0]

    def class_name(self, index: int) -> str | None:
        """None for -1."""
        return self.classes[index] if 0 <= index < len(self.classes) else None


@dataclass(frozen=True)
class Wanted:
    """Which images, in which order; a field that is empty or None asks for nothing.

    Attributes:
        label: class by people or the promised model; of other images the newest model's guess.
        least, most: confidence of the newest model, ends included.
        text: part of the file's name, upper or lower case.
    """

    round: int | None = None
    label: str = ""
    person: str = ""
    state: str = ""
    least: float | None = None
    most: float | None = None
    text: str = ""
    order: str = "pool"

    def rows(self, gallery: Gallery) -> NDArray[np.int64]:
        """(m,) array rows, in order."""
        keep = np.ones(len(gallery.keys), dtype=bool)
        if self.round is not None:
            keep &= gallery.rounds == self.round
        if self.label:
            keep &= self._of_class(gallery)
        if self.person:
            keep &= self._by_person(gallery)
        if self.state:
            keep &= gallery.states == self.state
        else:
            keep &= ~np.isin(gallery.states, PASSED_OVER)
        if self.least is not None:
            keep &= gallery.confidence >= self.least
        if self.most is not None:
            keep &= gallery.confidence <= self.most
        if self.text:
            keep &= np.char.find(gallery.folded_uris, self.text.casefold()) >= 0
        return self._ordered(gallery, np.flatnonzero(keep))

    def _of_class(self, gallery: Gallery) -> NDArray[np.bool_]:
        if self.label not in gallery.classes:
            return np.zeros(len(gallery.keys), dtype=bool)
        shown = np.where(gallery.labels >= 0, gallery.labels, gallery.predicted)
        return np.asarray(shown == gallery.classes.index(self.label))

    def _by_person(self, gallery: Gallery) -> NDArray[np.bool_]:
        answered = np.zeros(len(gallery.keys), dtype=bool)
        for row, answers in gallery.answers.items():
            answered[row] = any(answer.annotator == self.person for answer in answers)
        return answered

    def _ordered(self, gallery: Gallery, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.order == "unsure":
            return rows[np.argsort(gallery.confidence[rows], kind="stable")]  # NaN comes last
        if self.order == "picked":
            ranks, rounds = gallery.ranks[rows], gallery.rounds[rows]
            return rows[np.lexsort((ranks, rounds, rounds < 0))]
        return rows


def gallery(session: Session, project: Project, evidence: Evidence) -> Gallery:
    """The images as the records have them now.

    Args:
        evidence: of the same moment.
    """
    names = sorted(queries.row_names(session, evidence.pool.id))
    n = len(names)
    blank = Gallery(
        classes=evidence.classes,
        keys=[key for _, key, _ in names],
        uris=[uri for _, _, uri in names],
        rounds=np.full(n, -1, np.int64),
        arms=np.full(n, "", dtype="<U11"),
        ranks=np.full(n, -1, np.int64),
        states=np.full(n, "unasked", dtype="<U8"),
        labels=np.full(n, -1, np.int64),
        predicted=np.full(n, -1, np.int64),
        confidence=np.full(n, np.nan),
        answers=_answers_by_row(evidence.labels.answers),
        tasks=_tasks(session, evidence),
        unreadable=queries.unreadable_files(session, evidence.pool.id),
    )
    _fill_predictions(session, project, blank)
    _fill_picks(blank, evidence)
    _fill_labels(session, project, blank, evidence)
    for row, why in queries.absences(session, evidence.pool.id).items():
        blank.states[row] = why
    return blank


def _answers_by_row(answers: list[Answer]) -> dict[int, list[Answer]]:
    by_row: dict[int, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_row[answer.row].append(answer)
    return dict(by_row)


def _tasks(session: Session, evidence: Evidence) -> dict[str, str]:
    kind = evidence.config.labeler.kind
    connector = f"{kind}:{str(evidence.pool.source.get('marker', ''))[:12]}"
    return queries.remote_ids(session, connector) if kind == "label-studio" else {}


def _fill_predictions(session: Session, project: Project, made: Gallery) -> None:
    """What the model trained last says of the images that it knew."""
    pool_id = queries.the_pool(session).id
    for number, _ in reversed(queries.runs(session, pool_id, "all")):
        array = arrays.find(
            session, pool_id=pool_id, kind="probabilities", name="pool", of=f"round-{number}"
        )
        if array is None:
            continue
        with suppress(Missing, Damaged):  # 'coreloop doctor' says so
            rows, probabilities = known(session, pool_id, arrays.load(array, project.arrays))
            made.predicted[rows] = probabilities.argmax(axis=1)
            made.confidence[rows] = probabilities.max(axis=1)
        return


def _fill_picks(made: Gallery, evidence: Evidence) -> None:
    open_rounds = {round_.number for round_ in evidence.rounds if round_.state in OPEN}
    states = pick_states(evidence.rounds, evidence.picks, evidence.labels.answers, evidence.config)
    place: dict[int, int] = defaultdict(int)
    for pick, state in zip(evidence.picks, states, strict=True):
        row = pick.row
        made.rounds[row], made.states[row] = pick.round, state
        if pick.round not in open_rounds:
            made.arms[row], made.ranks[row] = pick.arm, place[pick.round]
            place[pick.round] += 1
        elif state == "waiting":
            made.predicted[row], made.confidence[row] = -1, np.nan


def _fill_labels(session: Session, project: Project, made: Gallery, evidence: Evidence) -> None:
    for row, label in evidence.labels.by_row.items():
        made.labels[row] = label
    try:
        by_model = model_labels(session, project, evidence.labels)
    except (Missing, Damaged):  # 'coreloop doctor' says so
        by_model = None
    for row, (label, _) in (by_model.by_row if by_model else {}).items():
        made.labels[row], made.states[row] = label, "model"
