"""The kept model, asked about one task after another: images of the pool by what is stored, others
embedded when they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors.base import ConnectorError, Prediction
from connectors.folder import content_key
from db import arrays, queries
from db.models import Absence, Item, Pick
from loop.device import resolve
from loop.errors import LoopError
from loop.project.model import Kept, encoder_of, newest_model, newest_row, pool_predictions
from loop.project.placed import known
from loop.project.project import Project
from loop.train.kept import tempered

if TYPE_CHECKING:
    from loop.encoders.base import Encoder

MEASURING = ("test", "sample", "calibration")
"""Arms of picks that are never guessed at: a guess draws people towards it."""
UNTRAINED = ""
"""Version while no model is kept."""
PATIENCE = 60.0
"""Seconds after which further images of a request are not fetched; the server waits for 100."""


@dataclass(frozen=True)
class TaskImage:
    """A task that a guess is asked for.

    Attributes:
        key: the item key in its data, if it has one of ours.
        uris: what the pool may call its image.
        read: gets the image's bytes.
    """

    key: str | None
    uris: tuple[str, ...]
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Guess:
    """What is answered for a task.

    Attributes:
        prediction: None: nothing is said.
        how: ``stored``, ``embedded``; ``silent`` where nothing may be said, ``failed`` where
            nothing could; ``reason`` then.
    """

    prediction: Prediction | None
    how: str
    reason: str = ""


class TaskPredictor:
    """Answers by the model that was trained last. Any number of threads may ask; each question is a
    short session.

    Args:
        project: stays open as long as this is used.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._lock, self._embedding = Lock(), Lock()
        self._kept: Kept | None = None
        self._encoder: tuple[str, Encoder | None] | None = None
        self._stored: tuple[str, NDArray[np.int64], NDArray[np.float64]] | None = None

    def versions(self) -> list[str]:
        """What the newest model is called, first; empty while none is kept."""
        version = self.version()
        return [version] if version else []

    def version(self) -> str:
        """``round-3`` of the model trained after round 3; ``UNTRAINED`` while none is kept."""
        with self._project.records.read() as session:
            row = newest_row(session)
            return UNTRAINED if row is None else row.of

    def predict(self, tasks: Sequence[TaskImage]) -> tuple[str, list[Guess]]:
        """What the model is called, and a guess for each task, in order.

        Raises:
            DbError, DataError: the records or the model cannot be read.
        """
        if not self._project.config.labeler.predictions:
            unwanted = Guess(None, "silent", "predictions = false under [labeler]")
            return self.version(), [unwanted] * len(tasks)
        with self._project.records.read() as session:
            kept = self._newest(session)
            if kept is None:
                return UNTRAINED, [Guess(None, "silent", "nothing is trained yet")] * len(tasks)
            items = _items(session, tasks)
            guesses = self._of_items(session, kept, [item for item in items if item is not None])
        ends = time.monotonic() + PATIENCE
        version = f"round-{kept.model.about.round}"
        return version, [
            guesses[item.key] if item is not None else self._of_other(kept, task, ends)
            for task, item in zip(tasks, items, strict=True)
        ]

    def _newest(self, session: Session) -> Kept | None:
        """The model trained last, read when it is another one than before."""
        row = newest_row(session)
        if row is None:
            return None
        with self._lock:
            if self._kept is None or self._kept.digest != row.digest:
                self._kept = newest_model(session, self._project)
            return self._kept

    def _of_items(self, session: Session, kept: Kept, items: Sequence[Item]) -> dict[str, Guess]:
        """Item key -> guess, of images of the pool."""
        quiet = _quiet(session, items)
        guesses = {item.key: Guess(None, "silent", quiet.get(item.id, "")) for item in items}
        told = [item for item in items if item.id not in quiet]
        if not told:
            return guesses
        rows = np.unique(np.array([item.row for item in told], dtype=np.int64))
        try:
            probabilities = self._probabilities(session, kept, rows)
        except (ConnectorError, LoopError) as error:
            failed = {item.key: Guess(None, "failed", str(error)) for item in told}
            return guesses | failed
        by_row = dict(zip(rows.tolist(), probabilities, strict=True))
        guesses |= {item.key: _guess(kept, by_row[item.row], "stored") for item in told}
        return guesses

    def _probabilities(
        self, session: Session, kept: Kept, rows: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """(M, C) of ascending array rows: by their embeddings, or, of a network, as it said when it
        was trained."""
        if kept.model.classifier.wants != "embeddings":
            places, stored = self._said_when_trained(session, kept)
            at = np.searchsorted(places, rows)
            if len(places) and (places[np.minimum(at, len(places) - 1)] == rows).all():
                return stored[at]
        blocks = pool_predictions(session, self._project, kept, rows, max(1, len(rows)))
        return np.concatenate([probabilities for _, probabilities in blocks])

    def _said_when_trained(
        self, session: Session, kept: Kept
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Array rows, ascending, and their calibrated probabilities; empty where they are not
        kept."""
        with self._lock:
            if self._stored is None or self._stored[0] != kept.digest:
                self._stored = (kept.digest, *self._read_stored(session, kept))
            return self._stored[1:]

    def _read_stored(
        self, session: Session, kept: Kept
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        pool_id, about = queries.the_pool(session).id, kept.model.about
        of = f"round-{about.round}"
        row = arrays.find(session, pool_id=pool_id, kind="probabilities", name="pool", of=of)
        if row is None:
            return np.empty(0, np.int64), np.zeros((0, len(about.classes)))
        rows, values = known(session, pool_id, arrays.load(row, self._project.arrays))
        return rows, tempered(np.asarray(values, dtype=np.float64), about.temperature)

    def _of_other(self, kept: Kept, task: TaskImage, ends: float) -> Guess:
        """A guess at an image that is fetched: one of the pool by its content, else embedded."""
        if time.monotonic() > ends:
            return Guess(None, "failed", f"no time: others took {PATIENCE:g} s")
        try:
            encoded = task.read()
            key = content_key(encoded)
            with self._project.records.read() as session:
                pool_id = queries.the_pool(session).id
                item = session.scalar(select(Item).where(Item.pool_id == pool_id, Item.key == key))
                if item is not None:
                    return self._of_items(session, kept, [item])[key]
            return _guess(kept, self._embedded(kept, encoded, key), "embedded")
        except (ConnectorError, LoopError) as error:
            return Guess(None, "failed", str(error))

    def _embedded(self, kept: Kept, encoded: bytes, key: str) -> NDArray[np.float64]:
        """(C,) calibrated probabilities of an image, one at a time."""
        from loop.finish.model_encoder import ModelEncoder
        from loop.images import decode

        with self._embedding:  # not the other lock: who asks for what is stored does not wait
            if self._encoder is None or self._encoder[0] != kept.digest:
                self._encoder = kept.digest, encoder_of(kept.model)
            encoder = ModelEncoder(kept.model, self._encoder[1], kept.digest)
            image = decode(encoded) if encoder.looks else None
            device = resolve(self._project.config.training.device) if encoder.on_device else "cpu"
            batch = encoder.take(image, key, key)[None]
            return np.asarray(encoder.forward(batch, device)[0], dtype=np.float64)


def _guess(kept: Kept, probabilities: NDArray[np.float64], how: str) -> Guess:
    about = kept.model.about
    if not np.isfinite(probabilities).all():
        return Guess(None, "failed", "the image is not embedded yet")
    best = int(probabilities.argmax())
    score = float(min(1.0, probabilities[best]))
    return Guess(Prediction(about.classes[best], score, f"round-{about.round}"), how)


def _items(session: Session, tasks: Sequence[TaskImage]) -> list[Item | None]:
    """The pool's image of each task, by our key or by what the pool calls it."""
    pool_id = queries.the_pool(session).id
    keys = {task.key for task in tasks if task.key}
    uris = {uri for task in tasks if not task.key for uri in task.uris}
    by_key = {item.key: item for item in _of(session, pool_id, Item.key, keys)}
    by_uri = {item.uri: item for item in _of(session, pool_id, Item.uri, uris)}
    items: list[Item | None] = []
    for task in tasks:
        named = (by_uri[uri] for uri in task.uris if uri in by_uri)
        items.append(by_key.get(task.key) if task.key else next(named, None))
    return items


def _of(session: Session, pool_id: int, column: object, values: set[str]) -> list[Item]:
    """Items with one of these values in a column, in requests that a database takes."""
    items: list[Item] = []
    wanted = sorted(values)
    for start in range(0, len(wanted), 500):
        part = wanted[start : start + 500]
        chosen = select(Item).where(Item.pool_id == pool_id, column.in_(part))  # type: ignore[attr-defined]
        items += session.scalars(chosen)
    return items


def _quiet(session: Session, items: Sequence[Item]) -> Mapping[int, str]:
    """Item id -> why nothing is said of it: it measures, or goes to people beside images that do,
    which it would be told from; or it is passed over."""
    quiet = {item.id: "it measures" for item in items if item.split == "test"}
    ids = [item.id for item in items]
    measuring = select(Pick.round_id).where(Pick.arm.in_(MEASURING))
    for start in range(0, len(ids), 500):
        part = ids[start : start + 500]
        picked = select(Pick.item_id).where(Pick.item_id.in_(part), Pick.round_id.in_(measuring))
        quiet |= dict.fromkeys(session.scalars(picked), "it goes out with images that measure")
        absent = select(Absence.item_id).where(Absence.item_id.in_(part))
        quiet |= dict.fromkeys(session.scalars(absent), "it is passed over")
    return quiet
