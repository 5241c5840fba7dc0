"""begin: the next round, once the one before is over, with its config frozen."""

from __future__ import annotations

from sqlalchemy.orm import Session

from db import queries
from db.models import Round
from db.state import log
from loop.errors import DataError, NotReady
from loop.project import Project
from loop.steps.opened import versions, writing


def begin_round(project: Project, budget: int | None = None) -> int | None:
    """Starts the next round once the one before is over; None when all budgets are spent.

    Raises:
        NotReady: the round before is not over.
        DataError: fewer images are left than the budget.
    """
    with writing(project) as records, records.write("begin") as session:
        pool = queries.the_pool(session)
        last = queries.newest_round(session, pool.id)
        if (
            last is None
            or (last.number and last.state != "compared")
            or (not last.number and last.state != "labeled")
        ):
            where = f"{last.name} is {last.state!r}" if last else "there is no test split"
            raise NotReady(f"{where}; 'coreloop run' finishes it first")
        number = last.number + 1
        budgets = project.config.selection.budgets
        remedy = "give a smaller --budget"
        if budget is None:
            if number > len(budgets):
                return None
            budget = budgets[number - 1]
            remedy = "lower its number in 'budgets' under [selection]"
        left = _left(session, pool.id)
        if budget > left:
            raise DataError(
                f"round {number} asks for {budget} images, only {left} are left to pick; {remedy}"
            )
        session.add(
            Round(
                pool_id=pool.id,
                number=number,
                seed=project.config.project.seed + number,
                budget=budget,
                config=project.config.public(),
                versions=versions(),
            )
        )
        log(session, "plan", f"{budget} images to label", round=number)
        return number


def one_more(session: Session, project: Project, pool_id: int) -> str:
    """What to type for a round beyond the planned ones, of the last one's size; nothing once every
    image of the pool is picked."""
    size = min(project.config.selection.budgets[-1], _left(session, pool_id))
    return f"for one more round: coreloop run --budget {size}" if size else ""


def _left(session: Session, pool_id: int) -> int:
    """Images of the pool that no round has picked."""
    return queries.item_count(session, pool_id, "pool") - len(queries.picked_rows(session, pool_id))
