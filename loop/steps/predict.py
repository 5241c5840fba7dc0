"""predict: what the kept model says of the pool's images that nobody labelled, or of others."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sqlalchemy.orm import Session

from connectors.base import Prediction, Predicts, Source, SourceError, UnreadableFile
from connectors.folder import content_key
from db import queries
from db.state import log
from loop.config import PoolSection
from loop.encoders import shards
from loop.engine import LOCAL, Engine
from loop.errors import ConfigError, DataError, NotReady
from loop.export.folders import write_class_folders
from loop.export.predictions import TABLES, PredictedImages, write_predictions
from loop.files import draft_of
from loop.finish.model_encoder import ModelEncoder
from loop.project import Project
from loop.project.classes import exists, layout_of, place_of, pool_section
from loop.project.labeler import connect_labeler
from loop.project.labels import collect
from loop.project.model import Kept, encoder_of, model_of_names, newest_model, pool_predictions
from loop.project.source import source_of
from loop.wording import counted

FORMS = (*TABLES, "folders")
BLOCK = 4096
"""Images held in memory at once."""
Named = tuple[list[str], list[str]]
"""Uris and item keys of images, in one order."""


@dataclass(frozen=True)
class Asked:
    """How the answer is written.

    Attributes:
        form: of ``FORMS``; ``folders`` sorts copies of the images by class.
        top: classes named for each image, the likeliest first.
        min_confidence: images whose likeliest class has less are left out.
    """

    form: str = "csv"
    top: int = 1
    min_confidence: float = 0.0

    def check(self, classes: int) -> None:
        """Raises ConfigError for what cannot be."""
        if self.form not in FORMS:
            raise ConfigError(f"format {self.form!r} is unknown; one of {', '.join(FORMS)}")
        if not 1 <= self.top <= classes:
            raise ConfigError(f"--top is between 1 and the {classes} classes, got {self.top}")
        if not 0 <= self.min_confidence <= 1:
            raise ConfigError(f"--min-confidence is between 0 and 1, got {self.min_confidence}")


@dataclass
class Predicted:
    """What was written.

    Attributes:
        path: file or folder; None where predictions went to the labeler alone.
        images: written; ``left_out`` were less sure than asked for.
        unreadable: (uri, reason) of files that are no usable image.
        model: the round after which the model was trained; labels: that it learned. Both 0: the
            class names alone.
        shown: predictions that the labeler shows now.
    """

    path: Path | None
    images: int
    left_out: int
    model: int
    labels: int
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    shown: int = 0


def predict(
    project: Project,
    images: str | Path | None = None,
    out: Path | None = None,
    asked: Asked | None = None,
    on_begin: Callable[[str], None] = lambda text: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    where: Engine = LOCAL,
    *,
    column: str = "",
) -> Predicted:
    """Writes labels and calibrated probabilities by the model trained last; before the first
    training what the class names say, where training listens to them.

    Args:
        images: a folder, parquet files, a bucket, or a list of paths or addresses; None: the images
            of the pool that have no label. The work on others resumes at the shard.
        out: default ``predictions.csv`` and the like.
        where: the engine that other images are encoded on.
        column: of a list that is a table: where its paths stand.

    Raises:
        NotReady: no model is kept, or every image of the pool is labelled.
        ConfigError: ``out`` exists, or what is asked for cannot be.
        SourceError, DataError: the images cannot be read, or there is none.
    """
    asked = asked or Asked()
    path = out or Path("predictions" if asked.form == "folders" else f"predictions.{asked.form}")
    source = project.source if images is None else source_at(images, column)
    with project.records.read() as session:
        kept = _model(session, project)
        about = kept.model.about
        asked.check(len(about.classes))
        if path.exists():
            raise ConfigError(f"{path} exists; choose another --out")
        predicted = Predicted(path, 0, 0, about.round, about.labels)
        if images is None:
            blocks = _of_pool(session, project, kept, on_begin, on_progress)
            _write(blocks, source, about.classes, asked, predicted)
            return predicted
    with project.writing():
        named = _scanned(source, images, predicted, on_begin, on_progress)
        on_begin(f"predicting {counted(len(named[0]), 'image')} with {_named(kept)}")
        while True:
            try:
                with _encoded(project, kept, source, named, where, on_progress) as blocks:
                    _write(blocks, source, about.classes, asked, predicted)
                return predicted
            except SourceError as error:
                named = _without_gone(source, named, predicted, error)


def _without_gone(source: Source, named: Named, predicted: Predicted, error: SourceError) -> Named:
    """The images whose files are still there; the others are noted. What was computed of them all
    is computed again. Raises ``error`` if none has gone, DataError if all have."""
    gone = set(source.missing(named[0]))
    if not gone:
        raise error
    predicted.images = predicted.left_out = 0
    predicted.unreadable += [(uri, "it has gone since the scan") for uri in named[0] if uri in gone]
    left = [(uri, key) for uri, key in zip(*named, strict=True) if uri not in gone]
    if not left:
        raise DataError("every image has gone since the scan")
    return [uri for uri, _ in left], [key for _, key in left]


def _model(session: Session, project: Project) -> Kept:
    """The model trained last, or what the class names say before any training.

    Raises:
        NotReady: neither is there.
    """
    try:
        return newest_model(session, project)
    except NotReady:
        of_names = model_of_names(session, project)
        if of_names is None:
            raise
        return of_names


def _named(kept: Kept) -> str:
    """For people."""
    if not kept.model.about.labels:
        return "the class names alone"
    return f"the model of round {kept.model.about.round}"


def source_at(images: str | Path, column: str = "") -> Source:
    """Images as ``init`` takes them: a folder, parquet files, a list, a bucket, ... What is neither
    is read as a list of paths. Paths in a list may lead anywhere.

    Raises:
        ConfigError: there is no such place.
    """
    place = place_of(images)
    if not exists(place):
        raise ConfigError(f"there is no {images}; name a folder, a parquet file or a list of paths")
    if isinstance(place, Path) and place.is_file() and layout_of(place) in ("folder", "list"):
        from connectors.manifest import Manifest

        return Manifest(place, column=column)
    pool = PoolSection.model_validate({**pool_section(place), "splits": False})
    return source_of(pool, Path())


def _of_pool(
    session: Session,
    project: Project,
    kept: Kept,
    on_begin: Callable[[str], None],
    on_progress: Callable[[int, int], None],
) -> Iterator[PredictedImages]:
    """Blocks of the pool's images without a label."""
    pool = queries.the_pool(session)
    rows = queries.split_rows(session, pool.id, "pool")
    labels = collect(session, pool, project.config)
    rows = rows[labels.of(rows) < 0]
    if not len(rows):
        raise NotReady("every image of the pool has a label; name other images to predict")
    on_begin(f"predicting {counted(len(rows), 'image')} with {_named(kept)}")
    done = 0
    for block, probabilities in pool_predictions(session, project, kept, rows, BLOCK):
        names = sorted(queries.row_names(session, pool.id, block.tolist()))
        keys, uris = [key for _, key, _ in names], [uri for _, _, uri in names]
        yield PredictedImages(keys, uris, probabilities)
        done += len(block)
        on_progress(done, len(rows))


def _scanned(
    source: Source,
    images: str | Path,
    predicted: Predicted,
    on_begin: Callable[[str], None],
    on_progress: Callable[[int, int], None],
) -> Named:
    """Uris and keys of the usable images; the others are noted. Raises DataError: there is none."""
    on_begin(f"looking at {images}")
    uris, keys = [], []
    for done, file in enumerate(source.scan(workers=os.cpu_count() or 1), 1):
        if isinstance(file, UnreadableFile):
            predicted.unreadable.append((file.uri, file.reason))
        else:
            uris.append(file.uri)
            keys.append(file.key)
        on_progress(done, 0)
    if not uris:
        found = "; ".join(f"{uri} ({reason})" for uri, reason in predicted.unreadable[:3])
        raise DataError(f"no usable image in {images}" + (f": {found}" if found else ""))
    return uris, keys


@contextmanager
def _encoded(
    project: Project,
    kept: Kept,
    source: Source,
    named: Named,
    where: Engine,
    on_progress: Callable[[int, int], None],
) -> Iterator[Iterator[PredictedImages]]:
    """Blocks of images, predicted shard by shard; what was computed stays until the block ends
    well."""
    uris, keys = named
    done = 0

    def progress(count: int) -> None:
        nonlocal done
        done += count
        on_progress(done, len(uris))

    content = "".join([*uris, *keys, kept.digest]).encode()
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    draft = project.arrays / "drafts" / f"{digest}-predicted.npy"
    draft.parent.mkdir(parents=True, exist_ok=True)
    shards.encode(
        ModelEncoder(kept.model, encoder_of(kept.model), kept.digest),
        source.read,
        uris,
        keys,
        draft,
        content_key=content_key,
        device=project.config.training.device,
        engine=where,
        on_progress=progress,
    )
    probabilities = np.load(draft, mmap_mode="r", allow_pickle=False)
    blocks = [slice(start, start + BLOCK) for start in range(0, len(uris), BLOCK)]
    yield (PredictedImages(keys[b], uris[b], np.asarray(probabilities[b])) for b in blocks)
    draft.unlink()
    shards.forget(draft)


def _write(
    blocks: Iterable[PredictedImages],
    source: Source,
    classes: tuple[str, ...],
    asked: Asked,
    predicted: Predicted,
) -> None:
    """Writes what is sure enough, and counts."""

    def sure_enough() -> Iterator[PredictedImages]:
        for block in blocks:
            sure = block.at_least(asked.min_confidence)
            predicted.images += len(sure.keys)
            predicted.left_out += len(block.keys) - len(sure.keys)
            yield sure

    assert predicted.path is not None
    predicted.path.parent.mkdir(parents=True, exist_ok=True)
    with draft_of(predicted.path) as draft:
        if asked.form == "folders":
            write_class_folders(sure_enough(), draft, source.read, classes)
        else:
            write_predictions(sure_enough(), asked.form, draft, classes, asked.top)


def show(
    project: Project, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Predicted:
    """Shows the model's predictions on the tasks that wait for an answer in the labeler.

    Images that measure get none, nor do others of their rounds: a guess draws people towards it.

    Raises:
        ConfigError: the labeler shows no predictions.
        NotReady: no model is kept, or no such task waits.
        Unreachable, Unauthorized, Mismatch, Unknown: see connectors.base.
    """
    with project.writing() as records:
        with records.read() as session:
            kept = newest_model(session, project)
            labeler = connect_labeler(session, project)
            if not isinstance(labeler, Predicts):
                raise ConfigError(
                    f"the labeler {project.config.labeler.kind!r} shows no predictions; "
                    "'coreloop predict' without --to-label-studio writes them to a file"
                )
            tasks = queries.remote_ids(session, labeler.name)
            guesses = _guesses(session, project, kept, tasks, on_progress)
        if not guesses:
            raise NotReady(
                "no task waits for an answer that may show a prediction; images that measure, "
                "and those sent with them, get none"
            )
        labeler.predict(tasks, guesses)
        with records.write("predict") as session:
            log(session, "predict", f"{len(guesses)} predictions shown")
    about = kept.model.about
    return Predicted(None, 0, 0, about.round, about.labels, shown=len(guesses))


def _guesses(
    session: Session,
    project: Project,
    kept: Kept,
    tasks: dict[str, str],
    on_progress: Callable[[int, int], None],
) -> dict[str, Prediction]:
    """Item key -> what the model says of the images with a task and without a label."""
    pool = queries.the_pool(session)
    picks = queries.picks(session, pool.id)
    measuring = {pick.round for pick in picks if pick.arm in ("test", "sample", "calibration")}
    labels = collect(session, pool, project.config)
    waiting = {
        pick.row: pick.key
        for pick in picks
        if pick.key in tasks and pick.round not in measuring and pick.row not in labels.by_row
    }
    about = kept.model.about
    guesses: dict[str, Prediction] = {}
    rows = np.array(sorted(waiting), dtype=np.int64)
    for block, probabilities in pool_predictions(session, project, kept, rows, BLOCK):
        for row, p in zip(block.tolist(), probabilities, strict=True):
            guess = Prediction(
                about.classes[int(p.argmax())], float(p.max()), f"round-{about.round}"
            )
            guesses[waiting[row]] = guess
        on_progress(len(guesses), len(rows))
    return guesses
