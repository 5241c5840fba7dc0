"""Images that people had labelled before anybody asked them are picks of an arm of their own

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ARMS = "arm IN ('coreset', 'control', 'sample', 'test', 'calibration', 'rest', 'before')"
PICK = sa.Table(
    "pick",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("round_id", sa.Integer, nullable=False),
    sa.Column("item_id", sa.Integer, nullable=False),
    sa.Column("arm", sa.String(11), nullable=False),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("score", sa.Double, nullable=False),
    sa.Column("draw", sa.Integer),
    sa.Column("probability", sa.Double),
    sa.CheckConstraint(ARMS, name="arm"),
    sa.ForeignKeyConstraint(["round_id"], ["round.id"]),
    sa.ForeignKeyConstraint(["item_id"], ["item.id"]),
    sa.UniqueConstraint("item_id"),
    sa.UniqueConstraint("round_id", "arm", "rank"),
)
"""With the new check in place of the old one."""


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        with op.batch_alter_table("pick", copy_from=PICK, recreate="always"):
            pass
        return
    op.drop_constraint("arm", "pick", type_="check")
    op.create_check_constraint("arm", "pick", ARMS)


def downgrade() -> None:
    raise NotImplementedError("an older coreloop reads a backup that it made itself")
