"""What the last scan remarked besides its images: files passed over, copies in two classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors.base import PassedOver
from db.models import Duplicate, Item, Pool

KEY = "passed_over"
"""Of ``Pool.source``."""


def keep_passed_over(session: Session, pool_id: int, passed: Sequence[PassedOver]) -> None:
    """Records what a scan passed over, in place of what the scan before did."""
    pool = session.get_one(Pool, pool_id)
    pool.source = {**pool.source, KEY: [asdict(each) for each in passed]}
    session.flush()


def passed_over(pool: Pool) -> tuple[PassedOver, ...]:
    """What the last scan passed over, the most first; nothing of a scan by an older version."""
    return tuple(PassedOver(**each) for each in pool.source.get(KEY, []))


def two_labels(session: Session, pool_id: int) -> tuple[tuple[str, str, str, str], ...]:
    """(file, class, file with the same bytes, its class) of copies that lie in two classes."""
    copies = session.execute(
        select(Item.uri, Item.known_label, Duplicate.uri, Duplicate.known_label)
        .join(Duplicate, Duplicate.item_id == Item.id)
        .where(Item.pool_id == pool_id, Item.known_label != Duplicate.known_label)
        .order_by(Item.row, Duplicate.uri)
    )
    return tuple((uri, str(label), copy, str(other)) for uri, label, copy, other in copies)
