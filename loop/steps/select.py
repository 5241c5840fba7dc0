"""select: scores -> picks, in labelling order; a share of the budget may be a random control."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from db import arrays, queries
from db.errors import Missing
from db.models import Item, Pick
from db.state import advance, log
from loop.errors import DataError
from loop.project import Project
from loop.seeds import generator
from loop.select import picks
from loop.steps.opened import current_round, writing


@dataclass(frozen=True)
class Selected:
    """How many picks a round got."""

    coreset: int
    control: int


def choose(project: Project) -> Selected:
    """Fixes the picks of the current round.

    Raises:
        NotReady: the round is not scored.
        DataError: fewer images are left than the budget asks for.
    """
    with writing(project) as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            found = current_round(session, pool, after="scored")
            row = arrays.find(
                session, pool_id=pool.id, kind="scores", name="coreset", of=f"round-{found.number}"
            )
            if row is None:
                raise Missing(f"the scores of round {found.number} are not recorded")
            scores = np.asarray(arrays.load(row, project.arrays), dtype=np.float64)
            rows = queries.split_rows(session, pool.id, "pool")[: len(scores)]
            available = ~np.isin(rows, queries.picked_rows(session, pool.id))
        if found.budget > available.sum():
            raise DataError(
                f"the budget is {found.budget}, but only {int(available.sum())} images are left; "
                "lower it in coreloop.toml, or stop here: everything is picked"
            )
        rng = generator(found.seed, "select")
        share = round(found.budget * float(found.config["selection"]["control"]))
        control = rng.choice(np.flatnonzero(available), size=share, replace=False)
        open_ = available.copy()
        open_[control] = False
        coreset = picks(
            project.config.selection.rule,
            scores,
            open_,
            found.budget - share,
            found.seed,
            skip=project.config.selection.skip,
        )
        with records.write("select") as session:
            advance(session, found.id, before="scored", after="selected")
            _save(session, found.id, rows, coreset, scores, "coreset")
            _save(session, found.id, rows, control, scores, "control")
            log(session, "select", f"{len(coreset)} picks, {share} control", round=found.number)
        return Selected(len(coreset), share)


def _save(
    session: Session,
    round_id: int,
    rows: NDArray[np.int64],
    chosen: NDArray[np.int64],
    scores: NDArray[np.float64],
    arm: str,
) -> None:
    if not len(chosen):
        return
    ids: dict[int, int] = {}
    wanted = [int(rows[i]) for i in chosen]
    for start in range(0, len(wanted), 500):
        found = session.execute(
            select(Item.row, Item.id).where(Item.row.in_(wanted[start : start + 500]))
        )
        ids.update((int(row), int(item_id)) for row, item_id in found)
    session.execute(
        insert(Pick),
        [
            {
                "round_id": round_id,
                "item_id": ids[int(rows[i])],
                "arm": arm,
                "rank": rank,
                "score": float(scores[i]),
            }
            for rank, i in enumerate(chosen)
        ],
    )
