"""Picks may be a random sample of the pool, drawn with a known probability

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ARMS = "arm IN ('coreset', 'control', 'sample', 'test')"
PICK = sa.Table(
    "pick",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("round_id", sa.Integer, nullable=False),
    sa.Column("item_id", sa.Integer, nullable=False),
    sa.Column("arm", sa.String(10), nullable=False),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("score", sa.Double, nullable=False),
    sa.CheckConstraint(ARMS, name="arm"),
    sa.ForeignKeyConstraint(["round_id"], ["round.id"]),
    sa.ForeignKeyConstraint(["item_id"], ["item.id"]),
    sa.UniqueConstraint("item_id"),
    sa.UniqueConstraint("round_id", "arm", "rank"),
)
"""With the new check in place of the old one."""


def upgrade() -> None:
    columns = [sa.Column("draw", sa.Integer()), sa.Column("probability", sa.Double())]
    if op.get_bind().dialect.name == "sqlite":
        with op.batch_alter_table("pick", copy_from=PICK, recreate="always") as pick:
            for column in columns:
                pick.add_column(column)
        return
    op.drop_constraint("arm", "pick", type_="check")
    op.create_check_constraint("arm", "pick", ARMS)
    for column in columns:
        op.add_column("pick", column)


def downgrade() -> None:
    raise NotImplementedError("an older coreloop reads a backup that it made itself")
