"""Alembic migrations: one module per schema version, oldest first."""

HEAD = "0008"
"""The newest revision; stated here so that opening a current file loads no alembic."""
