"""Alembic migrations: one module per schema version, oldest first."""
