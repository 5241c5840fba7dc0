"""What a round was compared with, as the records have it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import queries
from db.models import Comparison, Round, Simulation
from loop.frames import to_frame
from loop.goals import key_of, metric_name
from loop.project.cells import CellGrid, Method, StoredCell, stored_cells
from loop.project.project import Project
from loop.statistics import MethodRow, paired

if TYPE_CHECKING:
    import pandas

HINDSIGHT = "hindsight"
"""Mode where methods chose among the images labelled so far."""
SIMULATED = "simulated"
"""Mode where an oracle answered for the whole pool."""


@dataclass(frozen=True)
class Compared:
    """The newest comparison.

    Attributes:
        rows: by method and budget.
        cells: what the rows were made of.
        mode: simulated or hindsight; empty before the first comparison.
        metric: that the rows are in: accuracy, balanced accuracy or macro-F1.
        among: in hindsight, the images labelled, which is all that methods could choose from; None
            where they chose from the pool.
    """

    rows: list[MethodRow]
    cells: list[StoredCell]
    mode: str = ""
    among: int | None = None
    metric: str = "accuracy"

    @property
    def accuracies(self) -> dict[tuple[str, int, int], float]:
        """(method, budget, seed) -> accuracy."""
        return {(cell.method, cell.budget, cell.seed): cell.accuracy for cell in self.cells}

    def to_json(self) -> list[dict[str, Any]]:
        """A row each, with ``among`` and ``metric``."""
        shared = {"among": self.among, "metric": self.metric}
        return [{**asdict(row), **shared} for row in self.rows]

    def to_frame(self) -> pandas.DataFrame:
        """The rows as a table."""
        return to_frame(self.rows)


def compared(project: Project) -> Compared:
    """What has been compared last, by method and budget, in the metric of the goal; empty before
    the first comparison."""
    metric = metric_name(project.config.goal.metric)
    with project.records.read() as session:
        newest = _newest(session, queries.the_pool(session).id)
        if newest is None:
            return Compared([], [], metric=metric)
        comparison, config = newest
        methods = [Method(**method) for method in comparison.methods]
        grid = CellGrid(methods, comparison.budgets, comparison.seeds)
        cells = stored_cells(session, comparison.simulation_id, grid, key_of(metric))
    unpaired = Compared([], cells, str(config["mode"]), config.get("among"), metric)
    kinds = {method.name: method.kind for method in methods}
    rows = paired(unpaired.accuracies, kinds, one_pool=True)
    if unpaired.among is not None:  # more random labels would be other images than those at hand
        rows = [replace(row, saved=None) for row in rows]
    return replace(unpaired, rows=rows)


def _newest(session: Session, pool_id: int) -> tuple[Comparison, dict[str, Any]] | None:
    """The comparison of the newest round that has one, and the config of its simulation."""
    newest = session.execute(
        select(Comparison, Simulation.config)
        .join(Simulation, Simulation.id == Comparison.simulation_id)
        .join(Round, Round.id == Comparison.round_id)
        .where(Round.pool_id == pool_id)
        .order_by(Round.number.desc())
        .limit(1)
    ).first()
    return None if newest is None else (newest[0], newest[1])
