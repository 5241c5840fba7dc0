"""The holdout: test images that models are only measured on, fixed before round 1; round 0."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from db import queries
from db.answers import SOURCE
from db.models import Annotation, Item, Pick, Round
from loop.config import Config
from loop.errors import DataError
from loop.project.versions import versions
from loop.seeds import generator
from loop.wording import agreeing, counted


def fix_test_split(session: Session, config: Config, pool_id: int) -> None:
    """Makes round 0 of the images that the source calls test images, else of a random holdout. A
    labelled test folder is answered by its source. Does nothing once there is a round, or where a
    random sample measures (``loop.project.sample``).

    Raises:
        DataError: there are too few images to hold any out.
    """
    if queries.newest_round(session, pool_id) is not None:
        return
    stated = session.execute(
        select(Item.id, Item.key, Item.known_label)
        .where(Item.pool_id == pool_id, Item.split == "test")
        .order_by(Item.row)
    ).all()
    if not stated and config.measure.by == "sample":
        return
    labelled = bool(stated) and all(label is not None for _, _, label in stated)
    item_ids = [item_id for item_id, _, _ in stated] or _hold_out(session, config, pool_id)
    round_ = Round(
        pool_id=pool_id,
        number=0,
        seed=config.project.seed,
        budget=len(item_ids),
        config=config.public(),
        versions=versions(),
        state="labeled" if labelled else "selected",
    )
    session.add(round_)
    session.flush()
    session.execute(
        insert(Pick),
        [
            {"round_id": round_.id, "item_id": item_id, "arm": "test", "rank": rank, "score": 0.0}
            for rank, item_id in enumerate(item_ids)
        ],
    )
    if labelled:
        _answer(session, [(item_id, key, label) for item_id, key, label in stated])


def _hold_out(session: Session, config: Config, pool_id: int) -> list[int]:
    """Ids of items drawn at random, in the order drawn; they become the test split."""
    total = queries.item_count(session, pool_id)
    size = min(config.measure.images, total // 5)
    if not size:
        raise DataError(
            f"{counted(total, 'image')} {agreeing(total, 'is')} too few: a fifth of them is kept "
            "for testing, and that is none; 5 are needed"
        )
    rows = generator(config.project.seed, "test split").permutation(total)[:size].tolist()
    by_row = queries.item_ids(session, pool_id, rows)
    item_ids = [by_row[row] for row in rows]
    session.execute(update(Item), [{"id": item_id, "split": "test"} for item_id in item_ids])
    return item_ids


def _answer(session: Session, labelled: Iterable[tuple[int, str, str | None]]) -> None:
    """Stores the labels that came with (item id, key, label) test images as annotations."""
    session.execute(
        insert(Annotation),
        [
            {
                "item_id": item_id,
                "connector": SOURCE,
                "external_id": key,
                "version": "1",
                "annotator": SOURCE,
                "label": label,
            }
            for item_id, key, label in labelled
        ],
    )
