"""The current model's guesses, sent along as pre-annotations from round 2 on."""

from __future__ import annotations

import numpy as np

from connectors.base import Prediction
from db import arrays, queries
from db.state import Records
from loop.project import Project


def predictions(records: Records, project: Project, number: int) -> dict[str, Prediction]:
    """Item key -> guess of the model trained in the round before; empty if there is none."""
    if number < 2 or not project.config.labeler.predictions:
        return {}
    with records.read() as session:
        pool = queries.the_pool(session)
        row = arrays.find(
            session, pool_id=pool.id, kind="probabilities", name="pool", of=f"round-{number - 1}"
        )
        if row is None:
            return {}
        rows = queries.split_rows(session, pool.id, "pool")
        place = {int(r): i for i, r in enumerate(rows)}
        probabilities = arrays.load(row, project.arrays)
        classes = project.config.project.classes
        guesses: dict[str, Prediction] = {}
        for pick in queries.picks(session, pool.id, number):
            if pick.row in place and place[pick.row] < len(probabilities):
                p = np.asarray(probabilities[place[pick.row]], dtype=np.float64)
                best = int(p.argmax())
                guesses[pick.key] = Prediction(classes[best], float(p[best]), f"round-{number - 1}")
        return guesses
