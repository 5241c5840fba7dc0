"""measure: how good the model is by the random sample, and a larger sample for a narrower interval.

Enlarging begins the next round: the images drawn go to people with its picks, or alone once all
planned rounds are over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from db import queries
from loop.errors import ConfigError, NotReady
from loop.measuring.accuracy import images_for
from loop.measuring.active import gain
from loop.project import Project
from loop.project.measurement import Measurement, newest_measurement
from loop.project.predictions import pool_confidence
from loop.project.rounds import begin_round
from loop.project.sample import confidences_of
from loop.wording import counted

WORTHWHILE = 1.25
"""Images at random that one drawn by doubt has to be worth; below that all are drawn at random."""


@dataclass(frozen=True)
class Enlarged:
    """The sample after it was enlarged.

    Attributes:
        images: in all.
        to_label: the new ones that wait for people; the others were picked before.
        by_doubt: drawn where the model is in doubt, instead of at random.
    """

    images: int
    to_label: int
    by_doubt: bool


def measure(project: Project) -> Measurement:
    """How good the newest model is, in the metric of the goal and in plain accuracy.

    Raises:
        NotReady: nothing has been trained yet.
    """
    with project.records.read() as session:
        pool_id = queries.the_pool(session).id
        measured = newest_measurement(session, pool_id, project.config)
    if measured is None:
        raise NotReady("no model has been trained yet; next: coreloop run")
    return measured


def wanted(project: Project, width: float, *, at_random: bool = False) -> int:
    """Images more that the sample needs for an interval of the plain accuracy at most so wide; 0:
    it is already.

    Args:
        at_random: see ``enlarge``.

    Raises:
        NotReady: nothing has been trained yet.
        ConfigError: a width outside (0, 1), test images measure this project, or the pool is too
            small.
    """
    if not 0 < width < 1:
        raise ConfigError(f"the width of an interval is between 0 and 1, e.g. 0.05; got {width}")
    measured = measure(project)
    if measured.by != "sample":
        raise ConfigError(
            "this project is measured on test images, which stay as they are; 'coreloop measure' "
            "enlarges the random sample of projects that have none"
        )
    more = max(0, images_for(width, measured.accuracy, measured.worth) - measured.images)
    with project.records.read() as session:
        pool = queries.the_pool(session)
        left = queries.image_count(session, pool.id, "pool")
        left -= len(queries.sample_rows(session, pool.id))
    if measured.width <= width:
        return 0
    if not at_random:
        more = math.ceil(more / max(1.0, _worth_by_doubt(project)))
    if more > left:
        raise ConfigError(
            f"an interval {width} wide takes about {counted(more, 'more image')} in the sample, "
            f"the pool has {left} others; the narrowest is about {_narrowest(measured, left):.3f}"
        )
    return max(more, 1)


def _worth_by_doubt(project: Project, count: int = 1) -> float:
    """Images at random that one is worth which is drawn by doubt, as the newest model expects; 0
    where that is not worthwhile, or fewer than ``count`` were never picked."""
    with project.records.read() as session:
        pool = queries.the_pool(session)
        rows = queries.split_rows(session, pool.id, "pool")
        rest = np.setdiff1d(rows, queries.picked_rows(session, pool.id))
        confidence = pool_confidence(session, project)
    if not confidence or len(rest) < count:
        return 0.0
    worth = gain(confidences_of(rest, confidence))
    return worth if worth >= WORTHWHILE else 0.0


def _narrowest(measured: Measurement, left: int) -> float:
    """Width of the interval with the whole pool in the sample, rounded up."""
    share = (measured.images + left) / measured.images
    return math.ceil(1000 * measured.width / math.sqrt(share)) / 1000


def enlarge(project: Project, count: int, *, at_random: bool = False) -> Enlarged:
    """Draws ``count`` more images for the sample and begins the next round with them.

    Args:
        at_random: each image as likely as any other, also those picked before, which cost nothing.
            Without it they are drawn where the newest model is in doubt, if that is worthwhile.

    Raises:
        NotReady: a round is open; it has to be finished first.
        ConfigError: fewer than one, or test images measure this project.
        DataError: the pool has not so many others.
    """
    if count < 1:
        raise ConfigError(f"a sample is enlarged by at least 1 image, got {count}")
    by_doubt = not at_random and _worth_by_doubt(project, count) > 0
    begun = begin_round(project, enlarge=count, by_doubt=by_doubt)
    with project.records.read() as session:
        pool = queries.the_pool(session)
        picks = queries.picks(session, pool.id, begun)
        to_label = sum(pick.arm == "sample" for pick in picks)
        return Enlarged(len(queries.sample_rows(session, pool.id)), to_label, by_doubt)
