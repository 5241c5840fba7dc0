"""The random sample: drawn from the whole pool before the first pick, and labelled with round 1.

Every image of the pool is as likely to be in it as any other, so what models that did not learn an
image of it say of that image holds for the pool. It is enlarged where the model is in doubt, with
probabilities that are stored, or at random again. Its labels train the model as those of picks do;
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
from loop.measuring.active import RandomSample, drawn, inclusion
from loop.seeds import generator
from loop.wording import agreeing, counted

Rows = NDArray[np.int64]


def size_of(config: Config, images: int) -> int:
    """Images that a sample of a pool of ``images`` has: as many as set, at most half of the pool.

    Raises:
        DataError: that is fewer than two.
    """
    size = min(config.measure.images, images // 2)
    if size < 2:
        raise DataError(
            f"{counted(images, 'image')} {agreeing(images, 'is')} too few to draw a random sample "
            "from; 4 are needed, or by = 'holdout' under [measure]"
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
    _draw(session, pool, round_, rng.permutation(rows)[:size], size / len(rows))
    return size


def _draw(session: Session, pool: Pool, round_: Round, drawn: Rows, probability: float) -> int:
    """Adds these (k,) array rows to the sample, each drawn with the same probability; how many have
    to be labelled: those that were picked before, or labelled before anybody asked, cost nothing.
    """
    draws = queries.next_draw(session) + np.arange(len(drawn))
    picks = queries.pick_ids(session, pool.id, drawn.tolist())
    picked = np.isin(drawn, list(picks))
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
    return len(added)


def random_sample(session: Session, pool_id: int, rows: Rows) -> RandomSample:
    """The sample as drawn so far.

    Args:
        rows: (N,) array rows of the pool, ascending.
    """
    drawn = queries.sample_draws(session, pool_id)
    return RandomSample(
        np.searchsorted(rows, [row for row, _, _ in drawn]).astype(np.int64),
        np.array([probability for _, probability, _ in drawn], dtype=np.float64),
        np.array([batch for _, _, batch in drawn], dtype=np.int64),
    )


def enlarge_sample(session: Session, pool: Pool, round_: Round, count: int) -> int:
    """Draws ``count`` more images of the pool for the sample, each as likely as any other. Those
    that were picked before cost nothing: they are held out when they are judged. Returns how many
    have to be labelled.

    Raises:
        ConfigError: no sample measures this project.
        DataError: fewer images are left to draw.
    """
    sample, rows = _sample_and_pool(session, pool)
    rest = np.setdiff1d(rows, sample)
    _check_left(count, len(rest))
    drawn = generator(round_.seed, "sample").permutation(rest)[:count]
    probability = (len(sample) + count) / len(rows)
    return _draw(session, pool, round_, drawn, probability)


def enlarge_by_doubt(
    session: Session, pool: Pool, round_: Round, count: int, confidence: dict[int, float]
) -> int:
    """Draws ``count`` more images that nobody was asked about, the likelier the more the model is
    in doubt; returns how many.

    Args:
        confidence: array row -> the model's; an image without one is as likely as on average.

    Raises:
        ConfigError: no sample measures this project.
        DataError: fewer images are left to draw.
    """
    _, rows = _sample_and_pool(session, pool)
    rest = np.setdiff1d(rows, queries.picked_rows(session, pool.id))
    _check_left(count, len(rest))
    probability = inclusion(confidences_of(rest, confidence), count)
    added = drawn(probability, generator(round_.seed, "sample"))
    add_picks(
        session,
        round_,
        rest[added],
        "sample",
        scores=probability[added] * len(rest) / count,
        draws=queries.next_draw(session) + np.arange(len(added)),
        probability=probability[added],
    )
    return len(added)


def confidences_of(rows: Rows, confidence: dict[int, float]) -> NDArray[np.float64]:
    """(k,) confidences of array rows; the mean where there is none."""
    mean = float(np.mean(list(confidence.values()))) if confidence else 0.5
    return np.array([confidence.get(row, mean) for row in rows.tolist()])


def _sample_and_pool(session: Session, pool: Pool) -> tuple[Rows, Rows]:
    """Array rows of both. Raises ConfigError where no sample measures."""
    sample = queries.sample_rows(session, pool.id)
    if not len(sample):
        raise ConfigError(
            "this project is measured on test images, which stay as they are; a random sample is "
            "drawn by new projects that have no test images"
        )
    return sample, queries.split_rows(session, pool.id, "pool")


def _check_left(count: int, left: int) -> None:
    """Raises DataError where more are to be drawn than are left."""
    if count > left:
        raise DataError(
            f"{counted(count, 'more image')} for the sample, but the pool has {left} others"
        )


def mix_sample(session: Session, round_: Round) -> None:
    """Mixes the round's sample among its other picks, each in its own order, so that people cannot
    tell one from the other."""
    picks = session.execute(
        select(Pick.id, Pick.arm, Pick.rank)
        .where(Pick.round_id == round_.id)
        .order_by(Pick.rank, Pick.arm)
    ).all()
    sample = [pick_id for pick_id, arm, _ in picks if arm == "sample"]
    others = [pick_id for pick_id, arm, _ in picks if arm != "sample"]
    if not sample or not others:
        return
    order = generator(round_.seed, "mix").permutation(len(picks))
    ranks = np.sort(order[: len(sample)]).tolist() + np.sort(order[len(sample) :]).tolist()
    # in two steps, as no two picks of an arm may share a rank in between
    beyond = 1 + max(len(picks), *(rank for _, _, rank in picks))
    for shift in (beyond, 0):
        session.execute(
            update(Pick),
            [
                {"id": pick_id, "rank": shift + rank}
                for pick_id, rank in zip(sample + others, ranks)
            ],
        )
