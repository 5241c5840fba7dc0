"""Cells of comparisons and simulations in one place; a cell is known by its schedule

Runs whose arm was "compared" become cells of a simulation for each settings that decided them.
The newest of these is what the newest compared round was compared with.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
ROUND = sa.table(
    "round",
    sa.column("id", sa.Integer),
    sa.column("pool_id", sa.Integer),
    sa.column("number", sa.Integer),
    sa.column("state", sa.String),
    sa.column("versions", sa.JSON),
)
RUN = sa.Table(
    "run",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("round_id", sa.Integer, nullable=False),
    sa.Column("arm", sa.String(20), nullable=False),
    sa.Column("method", sa.String, nullable=False),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("mode", sa.String(10), nullable=False),
    sa.Column("labels", sa.Integer, nullable=False),
    sa.Column("rows_digest", sa.String(32), nullable=False),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.Column("notes", sa.JSON, nullable=False),
    sa.Column("created_at", MOMENT, nullable=False),
    sa.ForeignKeyConstraint(["round_id"], ["round.id"]),
    sa.UniqueConstraint("round_id", "arm", "method", "seed"),
)
"""Without the check of ``mode``, which goes with it."""
SIMULATION = sa.table(
    "simulation",
    sa.column("id", sa.Integer),
    sa.column("digest", sa.String),
    sa.column("config", sa.JSON),
    sa.column("versions", sa.JSON),
    sa.column("created_at", MOMENT),
)
CELL = sa.table(
    "cell",
    sa.column("simulation_id", sa.Integer),
    sa.column("method", sa.String),
    sa.column("budget", sa.Integer),
    sa.column("seed", sa.Integer),
    sa.column("outcome", sa.JSON),
    sa.column("seconds", sa.Double),
    sa.column("created_at", MOMENT),
)
COMPARISON = sa.table(
    "comparison",
    sa.column("round_id", sa.Integer),
    sa.column("simulation_id", sa.Integer),
    sa.column("methods", sa.JSON),
    sa.column("budgets", sa.JSON),
    sa.column("seeds", sa.Integer),
)
UNIQUE = "cell_simulation_id_method_budget_seed_key"
"""What PostgreSQL calls the constraint that 0001 did not name; SQLite is told to."""


def upgrade() -> None:
    op.create_table(
        "comparison",
        sa.Column("round_id", sa.Integer(), nullable=False),
        sa.Column("simulation_id", sa.Integer(), nullable=False),
        sa.Column("methods", sa.JSON(), nullable=False),
        sa.Column("budgets", sa.JSON(), nullable=False),
        sa.Column("seeds", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"]),
        sa.ForeignKeyConstraint(["simulation_id"], ["simulation.id"]),
        sa.PrimaryKeyConstraint("round_id"),
    )
    _move_compared_runs(op.get_bind())
    conventions = {"uq": "%(table_name)s_%(column_0_N_name)s_key"}
    with op.batch_alter_table("cell", naming_convention=conventions) as cell:
        cell.add_column(sa.Column("schedule", sa.String(), nullable=False, server_default=""))
        cell.drop_constraint(UNIQUE, type_="unique")
        cell.create_unique_constraint(
            "cell_schedule", ["simulation_id", "method", "schedule", "budget", "seed"]
        )
    with op.batch_alter_table("run", copy_from=RUN) as run:
        run.drop_column("mode")


def downgrade() -> None:
    raise NotImplementedError("an older coreloop reads a backup that it made itself")


def _move_compared_runs(connection: sa.Connection) -> None:
    compared = (
        sa.select(RUN, ROUND.c.pool_id, ROUND.c.versions)
        .join(ROUND, ROUND.c.id == RUN.c.round_id)
        .where(RUN.c.arm == "compared")
        .order_by(RUN.c.id)
    )
    by_settings: dict[tuple[int, str], list[Any]] = defaultdict(list)
    for run in connection.execute(compared):
        by_settings[run.pool_id, str(run.notes.get("settings", ""))].append(run)
    newest_last = sorted(by_settings, key=lambda key: max(run.id for run in by_settings[key]))
    newest = dict(newest_last)  # pool -> settings
    for pool_id, settings in newest_last:
        runs = by_settings[pool_id, settings]
        simulation_id = _add_simulation(connection, f"{pool_id} {settings}", runs)
        if newest[pool_id] == settings:
            _add_comparison(connection, pool_id, simulation_id, runs)
    connection.execute(sa.delete(RUN).where(RUN.c.arm == "compared"))


def _add_simulation(connection: sa.Connection, name: str, runs: Sequence[Any]) -> int:
    """Id of a simulation with a cell for each run."""
    newest = runs[-1]
    config = {"mode": newest.mode, "coreloop": newest.versions.get("coreloop")}
    if newest.mode == "hindsight":
        config["among"] = newest.notes.get("among", max(run.labels for run in runs))
    digest = hashlib.blake2b(f"compared {name}".encode(), digest_size=16).hexdigest()
    simulation = {
        "digest": digest,
        "config": config,
        "versions": newest.versions,
        "created_at": runs[0].created_at,
    }
    connection.execute(sa.insert(SIMULATION).values(simulation))
    same_digest = sa.select(SIMULATION.c.id).where(SIMULATION.c.digest == digest)
    simulation_id = int(connection.execute(same_digest).scalar_one())
    # rounds without images have the budget of the one before: the newer cell counts
    cells = {(run.method, run.labels, run.seed): _cell(simulation_id, run) for run in runs}
    connection.execute(sa.insert(CELL), list(cells.values()))
    return simulation_id


def _cell(simulation_id: int, run: Any) -> dict[str, Any]:
    told = ("settings", "seconds", "among")
    metrics = {key: run.metrics[key] for key in ("accuracy", "balanced_accuracy", "macro_f1")}
    notes = {key: value for key, value in run.notes.items() if key not in told}
    return {
        "simulation_id": simulation_id,
        "method": run.method,
        "budget": run.labels,
        "seed": run.seed,
        "outcome": {**metrics, "notes": notes, "rows_digest": run.rows_digest},
        "seconds": float(run.notes.get("seconds", 0.0)),
        "created_at": run.created_at,
    }


def _add_comparison(
    connection: sa.Connection, pool_id: int, simulation_id: int, runs: Sequence[Any]
) -> None:
    """Says what the newest round that was compared was compared with; where the first comparison
    was cut short, the newest round that its runs belong to."""
    finished = sa.select(sa.func.max(ROUND.c.number)).where(
        ROUND.c.pool_id == pool_id, ROUND.c.state == "compared"
    )
    begun = sa.select(sa.func.max(ROUND.c.number)).where(ROUND.c.id.in_([r.round_id for r in runs]))
    number = connection.execute(finished).scalar() or connection.execute(begun).scalar()
    round_id = connection.execute(
        sa.select(ROUND.c.id).where(ROUND.c.pool_id == pool_id, ROUND.c.number == number)
    ).scalar_one()
    methods = [
        {"name": name, "scorer": name, "params": {}, "rule": "top", "skip": 0.1}
        for name in dict.fromkeys(run.method for run in runs)
    ]
    comparison = {
        "round_id": round_id,
        "simulation_id": simulation_id,
        "methods": methods,
        "budgets": sorted({run.labels for run in runs}),
        "seeds": 1 + max(run.seed for run in runs),
    }
    connection.execute(sa.insert(COMPARISON).values(comparison))
