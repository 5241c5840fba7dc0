"""No batch is REJECTED: what was refused is PLANNED again. Seeds take 64 bits

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATES = "state IN ('PLANNED', 'SENT', 'CONFIRMED', 'UNKNOWN')"


def upgrade() -> None:
    op.execute("UPDATE batch SET state = 'UNKNOWN' WHERE state = 'REJECTED'")
    if op.get_bind().dialect.name == "sqlite":
        states = sa.CheckConstraint(STATES, name="state")
        with op.batch_alter_table("batch", table_args=(states,), recreate="always"):
            pass
        return  # SQLite's integers have 64 bits
    op.drop_constraint("state", "batch", type_="check")
    op.create_check_constraint("state", "batch", STATES)
    op.alter_column("round", "seed", type_=sa.BigInteger())


def downgrade() -> None:
    raise NotImplementedError("an older coreloop reads a backup that it made itself")
