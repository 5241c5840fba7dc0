"""The pool's near-duplicates: found once for a pool and an encoder, and kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from connectors.base import SourceError
from db import arrays, queries
from db.state import Records, log
from loop import encoders
from loop.encoders import shards
from loop.encoders.base import Encoder
from loop.errors import DataError
from loop.images import decode
from loop.near_duplicates import (
    COPIES,
    FIXED,
    NearDuplicates,
    group_numbers,
    measured_cosine,
    near_duplicates,
    slightly_changed,
)
from loop.project.embeddings import embeddings
from loop.project.problem import read_scanned
from loop.project.project import Project
from loop.seeds import generator
from loop.wording import counted

KIND = "near-duplicates"
"""Of the array that keeps each image's group, by array row; its name is the encoder's digest."""
KEY = "near_duplicates"
"""Of ``Pool.source``: the cosine, and which array it belongs to."""


@dataclass(frozen=True)
class FoundDuplicates:
    """The groups of a pool.

    Attributes:
        cosine: from which on two images are near-duplicates.
        numbers: (n,) int64 group of each image by array row; -1 where it has none, as images have
            that were added since.
    """

    cosine: float
    numbers: NDArray[np.int64]

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(R,) groups of these array rows."""
        numbers = np.full(len(rows), -1, np.int64)
        known = rows < len(self.numbers)
        numbers[known] = self.numbers[rows[known]]
        return numbers

    @property
    def groups(self) -> list[NDArray[np.int64]]:
        """Array rows of each group, the largest first."""
        rows = np.flatnonzero(self.numbers >= 0)
        rows = rows[np.argsort(self.numbers[rows], kind="stable")]
        ends = np.flatnonzero(np.diff(self.numbers[rows])) + 1
        return sorted((part for part in np.split(rows, ends) if len(part)), key=lambda g: -len(g))


def kept_duplicates(session: Session, project: Project) -> FoundDuplicates | None:
    """Those found last with the config's encoder; None where nobody asked."""
    pool = queries.the_pool(session)
    encoder = encoders.get(project.config.encoder)
    about = pool.source.get(KEY)
    if about is None or about["encoder"] != encoder.digest:
        return None
    row = arrays.find(session, pool_id=pool.id, kind=KIND, name=encoder.digest, of=about["of"])
    if row is None:
        return None
    return FoundDuplicates(about["cosine"], np.asarray(arrays.load(row, project.arrays)))


def find_duplicates(
    project: Project,
    records: Records,
    wanted: float = 0.0,
    on_begin: Callable[[], None] = lambda: None,
) -> FoundDuplicates:
    """The groups of the pool as it is; computed if that has not been done with this cosine.

    Args:
        wanted: the cosine from which on images are near-duplicates; 0: measured, once for an
            encoder.
        on_begin: called if there is anything to compute.

    Raises:
        NotReady: the pool is not embedded.
        Full: the disk has no room.
    """
    encoder = encoders.get(project.config.encoder)
    with records.read() as session:
        pool = queries.the_pool(session)
        about = pool.source.get(KEY, {})
        same = about.get("encoder") == encoder.digest and about.get("wanted") == wanted
        kept = kept_duplicates(session, project)
        if same and kept is not None and about.get("of") == pool.digest:
            return kept
        embedded = embeddings(session, project)
        rows = queries.split_rows(session, pool.id, "pool")
        count = queries.item_count(session, pool.id)
    on_begin()
    rows = rows[~np.isnan(np.asarray(embedded[rows, 0]))]
    vectors = np.asarray(embedded[rows])
    cosine = wanted or (about["cosine"] if same else _cosine(project, records, encoder, rows))
    groups = [
        NearDuplicates(rows[group.rows], group.cosine) for group in near_duplicates(vectors, cosine)
    ]
    numbers = group_numbers(groups, count)
    path = arrays.write_file(numbers, project.arrays)
    with records.write("near-duplicates") as session:
        pool = queries.the_pool(session)
        arrays.record(
            session, path, pool_id=pool.id, kind=KIND, name=encoder.digest, of=pool.digest
        )
        found = {"encoder": encoder.digest, "of": pool.digest, "wanted": wanted, "cosine": cosine}
        pool.source = {**pool.source, KEY: found}
        text = f"{counted(len(groups), 'group')} of near-duplicates, cosine {cosine:.3f} or more"
        log(session, "near-duplicates", text)
    return FoundDuplicates(cosine, numbers)


def _cosine(project: Project, records: Records, encoder: Encoder, rows: NDArray[np.int64]) -> float:
    """What the encoder says of images and of slightly changed copies of them."""
    if not encoder.looks:
        return FIXED
    rng = generator(project.config.project.seed, "near-duplicates")
    with records.read() as session:
        pool_id = queries.the_pool(session).id
        chosen = np.sort(rng.permutation(rows)[:COPIES]).tolist()
        names = sorted(queries.row_names(session, pool_id, chosen))
        embedded = embeddings(session, project)
    copies: dict[str, bytes] = {}
    kept = []
    for row, key, uri in names:
        try:
            image = decode(read_scanned(project.source, uri, key), uri)
        except (SourceError, DataError):  # embed has named it, or will
            continue
        copies[uri] = slightly_changed(image, rng)
        kept.append((row, key, uri))
    if not kept:
        return FIXED
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "copies.npy"
        shards.encode(
            encoder,
            copies.__getitem__,
            [uri for _, _, uri in kept],
            [key for _, key, _ in kept],
            out,
            device=project.config.training.device,
        )
        encoded = np.load(out, allow_pickle=False)
    originals = np.asarray(embedded[[row for row, _, _ in kept]])
    return measured_cosine(originals, encoded, np.asarray(embedded[rows]))
