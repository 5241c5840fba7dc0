"""How near images are to a class that people ask for more of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db import queries
from loop import geometry
from loop.errors import NotReady
from loop.project.embeddings import embeddings
from loop.project.labels import collect
from loop.project.names import name_head_of
from loop.project.project import Project


def likeness(
    session: Session, project: Project, name: str, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], str]:
    """(len(rows),) of array rows, larger: nearer; and what it goes by, in words.

    By labelled images: the largest cosine to one of the class, less that to one of another class,
    rows of the pool centred. Where the class has no label: what its name says. Labels of the random
    sample count only where there is neither: picks near images that measure flatter the accuracy.

    Raises:
        NotReady: the class has no label, and its name says nothing.
    """
    number, pool = project.config.project.classes.index(name), queries.the_pool(session)
    labels = collect(session, pool, project.config).by_row
    pictures = embeddings(session, project)
    head = name_head_of(project.config)
    every = queries.split_rows(session, pool.id, "pool")
    sample = set(queries.sample_rows(session, pool.id).tolist())
    labelled, own = _labelled(labels, every, number, without=sample)
    if not own.any() and head is None:  # picks near images that measure flatter the measurement
        labelled, own = _labelled(labels, every, number, without=set())
    if not own.any():
        if head is None:
            raise NotReady(
                f"class {name!r} has no label yet, and the encoder has no text side that knows "
                "its name; label one image of it, or add it to the pool by hand"
            )
        told = head.probabilities(np.asarray(pictures[rows], dtype=np.float32))
        return told[:, number], f"the name {name!r}"
    x = np.asarray(pictures[every], dtype=np.float32)
    x = geometry.transform(x if head is None else head.picture(x), "centred")
    index = {int(row): i for i, row in enumerate(every)}
    wanted, known = x[[index[int(row)] for row in rows]], x[[index[int(r)] for r in labelled]]
    near = (wanted @ known[own].T).max(axis=1).astype(np.float64)
    if not own.all():
        near -= (wanted @ known[~own].T).max(axis=1)
    count = int(own.sum())
    return near, f"{count} labelled image{'s' if count > 1 else ''} of {name!r}"


def _labelled(
    labels: dict[int, int], rows: NDArray[np.int64], number: int, without: set[int]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Labelled rows but those ``without``, and which are of this class."""
    labelled = [row for row in rows.tolist() if row in labels and row not in without]
    own = [labels[row] == number for row in labelled]
    return np.array(labelled, dtype=np.int64), np.array(own, dtype=bool)
