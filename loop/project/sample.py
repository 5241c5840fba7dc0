"""The random sample: drawn from the whole pool before the first pick, and labelled with round 1.

Every image of the pool is as likely to be in it as any other, so what models that did not learn an
image of it say of that image holds for the pool. Its labels train the model as those of picks do;
scorers are shown nothing of it (docs/measuring.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db import queries
from db.models import Pick, Pool, Round
from db.picks import add_picks
from loop.config import Config
from loop.errors import ConfigError, DataError
from loop.seeds import generator

Rows = NDArray[np.int64]


def size_of(config: Config, images: int) -> int:
    """Images that a sample of a pool of ``images`` has: as many as set, at most half of the pool.

    Raises:
        DataError: that is fewer than two.
    """
    size = min(config.measure.images, images // 2)
    if size < 2:
        raise DataError(
            f"{images} images are too few to draw a random sample from; 4 are needed, or "
            "by = 'holdout' under [measure]"
        )
    return size


def begin_sample(
    session: Session, pool: Pool, round_: Round, config: Config, rng: np.random.Generator
) -> int:
    """Draws the sample into the first round; how many images it has.

    Raises:
        DataError: the pool is too small.
    """
    rows = queries.split_rows(session, pool.id, "pool")
    size = size_of(config, len(rows))
    drawn = rng.permutation(rows)[:size]
    draws, probability = np.arange(size), size / len(rows)
    add_picks(session, round_, drawn, "sample", draws=draws, probability=probability)
    return size


def enlarge_sample(session: Session, pool: Pool, round_: Round, count: int) -> int:
    """Draws ``count`` more images of the pool for the sample. Those that were picked before cost
    nothing: they are held out when they are judged. Returns how many have to be labelled.

    Raises:
        ConfigError: no sample measures this project.
        DataError: fewer images are left to draw.
    """
    sample = queries.sample_rows(session, pool.id)
    if not len(sample):
        raise ConfigError(
            "this project is measured on test images, which stay as they are; a random sample is "
            "drawn by new projects that have no test images"
        )
    rows = queries.split_rows(session, pool.id, "pool")
    rest = np.setdiff1d(rows, sample)
    if count > len(rest):
        raise DataError(f"{count} more images for the sample, but the pool has {len(rest)} others")
    drawn = generator(round_.seed, "sample").permutation(rest)[:count]
    picked = np.isin(drawn, queries.picked_rows(session, pool.id))
    probability = (len(sample) + count) / len(rows)
    draws = len(sample) + np.arange(count)
    picks = queries.pick_ids(session, pool.id, drawn[picked].tolist())
    if picks:
        session.execute(
            update(Pick),
            [
                {"id": picks[row], "draw": draw, "probability": probability}
                for row, draw in zip(drawn[picked].tolist(), draws[picked].tolist())
            ],
        )
    added, places = drawn[~picked], draws[~picked]
    add_picks(session, round_, added, "sample", draws=places, probability=probability)
    return int((~picked).sum())


def mix_sample(session: Session, round_: Round) -> None:
    """Mixes the round's sample among its other picks, each in its own order, so that people cannot
    tell one from the other."""
    picks = session.execute(
        select(Pick.id, Pick.arm).where(Pick.round_id == round_.id).order_by(Pick.rank, Pick.arm)
    ).all()
    sample = [pick_id for pick_id, arm in picks if arm == "sample"]
    others = [pick_id for pick_id, arm in picks if arm != "sample"]
    if not sample or not others:
        return
    order = generator(round_.seed, "mix").permutation(len(picks))
    ranks = np.sort(order[: len(sample)]).tolist() + np.sort(order[len(sample) :]).tolist()
    beyond = len(picks)  # in two steps, as no two picks of an arm may share a rank in between
    for shift in (beyond, 0):
        session.execute(
            update(Pick),
            [
                {"id": pick_id, "rank": shift + rank}
                for pick_id, rank in zip(sample + others, ranks)
            ],
        )
