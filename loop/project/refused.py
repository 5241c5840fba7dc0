"""Images of a Label Studio project that could not be had: a scan does not ask for each of them
again, which would take as long every time, before a day has gone by."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Pool, Unreadable

DAY = timedelta(days=1)
KEY = "asked_for_all"
"""Of ``Pool.source``: when a scan last asked for every image that is not known."""


def refused(session: Session, pool_id: int, *, again: bool = False) -> set[str]:
    """Uris that need not be asked for now. A task's image at another address has another uri.

    Args:
        again: all are asked for.
    """
    pool = session.get_one(Pool, pool_id)
    asked = pool.source.get(KEY)
    fetched = pool.source.get("source") == "label-studio"
    if again or not fetched or asked is None or not _within_a_day(asked):
        return set()
    return set(session.scalars(select(Unreadable.uri).where(Unreadable.pool_id == pool_id)))


def note_asked(session: Session, pool_id: int, others: Collection[str]) -> None:
    """Every image that is not known was asked for, but for these others."""
    if not others:
        pool = session.get_one(Pool, pool_id)
        pool.source = {**pool.source, KEY: _now().isoformat(timespec="seconds")}


def _within_a_day(asked: str) -> bool:
    """A time to come was set by a clock that was wrong, and says nothing."""
    return timedelta(0) <= _now() - datetime.fromisoformat(asked) <= DAY


def _now() -> datetime:
    return datetime.now(UTC)
