"""The nouns that steps share. One ``Project`` is opened per command and handed down."""

from loop.project.project import (
    Project,
    ProjectBusy,
    create,
    find,
    lock_seconds,
    standing,
    withdraw,
)

__all__ = ["Project", "ProjectBusy", "create", "find", "lock_seconds", "standing", "withdraw"]
