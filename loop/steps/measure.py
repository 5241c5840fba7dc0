"""measure: how good the model is by the random sample, and a larger sample for a narrower interval.

Enlarging begins the next round: the images drawn go to people with its picks, or alone once all
planned rounds are over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from db import queries
from loop.errors import ConfigError, NotReady
from loop.measuring.accuracy import images_for
from loop.project import Project
from loop.project.measurement import Measurement, newest_measurement
from loop.project.rounds import begin_round


@dataclass(frozen=True)
class Enlarged:
    """The sample after it was enlarged: images in all, and how many of the new ones wait for
    people; the others were picked before."""

    images: int
    to_label: int


def measure(project: Project) -> Measurement:
    """The accuracy as last measured.

    Raises:
        NotReady: nothing has been trained yet.
    """
    with project.records.read() as session:
        measured = newest_measurement(session, queries.the_pool(session).id)
    if measured is None:
        raise NotReady("no model has been trained yet; next: coreloop run")
    return measured


def wanted(project: Project, width: float) -> int:
    """Images more that the sample needs for an interval at most so wide; 0: it is already.

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
        left = queries.item_count(session, pool.id, "pool")
        left -= len(queries.sample_rows(session, pool.id))
    if measured.width <= width:
        return 0
    if more > left:
        raise ConfigError(
            f"an interval {width} wide takes about {more} more images in the sample, the pool has "
            f"{left} others; the narrowest is about {_narrowest(measured, left):.3f}"
        )
    return max(more, 1)


def _narrowest(measured: Measurement, left: int) -> float:
    """Width of the interval with the whole pool in the sample, rounded up."""
    share = (measured.images + left) / measured.images
    return math.ceil(1000 * measured.width / math.sqrt(share)) / 1000


def enlarge(project: Project, count: int) -> Enlarged:
    """Draws ``count`` more images for the sample and begins the next round with them.

    Raises:
        NotReady: a round is open; it has to be finished first.
        ConfigError: fewer than one, or test images measure this project.
        DataError: the pool has not so many others.
    """
    if count < 1:
        raise ConfigError(f"a sample is enlarged by at least 1 image, got {count}")
    begun = begin_round(project, enlarge=count)
    with project.records.read() as session:
        pool = queries.the_pool(session)
        picks = queries.picks(session, pool.id, begun)
        to_label = sum(pick.arm == "sample" for pick in picks)
        return Enlarged(len(queries.sample_rows(session, pool.id)), to_label)
