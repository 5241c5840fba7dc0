"""Annotations: their task, where people see it, and what is odd; cursors: what others count

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("task", "url", "problem"):
        op.add_column("annotation", sa.Column(name, sa.String(), nullable=True))
    surplus = sa.Column("surplus", sa.Integer(), nullable=False, server_default="0")
    op.add_column("cursor", surplus)


def downgrade() -> None:
    raise NotImplementedError("an older coreloop reads a backup that it made itself")
