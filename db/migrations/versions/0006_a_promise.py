"""A promise about the labels of all images, and the picks of its rounds

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ARMS = "arm IN ('coreset', 'control', 'sample', 'test', 'calibration', 'rest')"
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
"""With the new check in place of the old one, and room for the longest arm."""


def upgrade() -> None:
    op.create_table(
        "promise",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("round_id", sa.Integer, sa.ForeignKey("round.id"), nullable=False),
        sa.Column("rest_id", sa.Integer, sa.ForeignKey("round.id")),
        sa.Column("look", sa.Integer, nullable=False),
        sa.Column("max_error", sa.Double, nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("alpha", sa.Double, nullable=False),
        sa.Column("per_class", sa.Boolean, nullable=False),
        sa.Column("more_people", sa.Boolean, nullable=False),
        sa.Column("model", sa.String(32), nullable=False),
        sa.Column("images", sa.Integer, nullable=False),
        sa.Column("outcome", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("round_id"),
        sa.UniqueConstraint("rest_id"),
    )
    if op.get_bind().dialect.name == "sqlite":
        with op.batch_alter_table("pick", copy_from=PICK, recreate="always"):
            pass
        return
    op.alter_column("pick", "arm", type_=sa.String(11))
    op.drop_constraint("arm", "pick", type_="check")
    op.create_check_constraint("arm", "pick", ARMS)


def downgrade() -> None:
    raise NotImplementedError("an older coreloop reads a backup that it made itself")
