"""Numbers of the pool's images as arrays keep them: by place among all images that the pool ever
had, so that they stay in line while images go away, come back and are added."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db import queries


def placed(
    session: Session, pool_id: int, rows: NDArray[np.int64], values: NDArray[Any]
) -> NDArray[Any]:
    """(P, ...) values of (N,) array rows by their places, see ``queries.pool_places``; NaN of the
    images that are passed over."""
    size = queries.item_count(session, pool_id, "pool")
    by_place = np.full((size, *values.shape[1:]), np.nan, dtype=values.dtype)
    by_place[queries.pool_places(session, pool_id, rows)] = values
    return by_place


def known(
    session: Session, pool_id: int, by_place: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Array rows of the images that an array of ``placed`` knows and that are not passed over now,
    ascending; and their values. Images that were added later are not known to it."""
    rows = queries.split_rows(session, pool_id, "pool")
    places = queries.pool_places(session, pool_id, rows)
    rows, places = rows[places < len(by_place)], places[places < len(by_place)]
    values = np.asarray(by_place[places])
    told = ~np.isnan(values.reshape(len(values), -1)).any(axis=1)
    return rows[told], values[told]
