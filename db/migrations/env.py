"""Runs migrations on the connection that db.state hands over."""

from alembic import context

from db.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=False,  # db.state owns the transaction, so that an upgrade is all or nothing
)
context.run_migrations()
