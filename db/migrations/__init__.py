"""Alembic migrations: one module per schema version, oldest first."""

HEAD = "0007"
"""The newest revision; stated here so that opening a current file loads no alembic."""
