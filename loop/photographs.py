"""Whether images look like photographs, for which raw pixels are poor embeddings."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image

LOOKED_AT = 64
"""Pixels of each side that are looked at."""
COLOURS = 0.2
"""Share of the pixels with a colour of their own, from which on an image is a photograph."""
GREYS = 100
"""Shades of grey, from which on a larger grey image is one."""
LARGE = 96
"""Pixels of the shorter side of such an image."""
MOST = 0.5
"""Share of images that must be photographs."""


def mostly_photographs(images: Iterable[Image.Image]) -> bool:
    """Whether more than half of some decoded images look like photographs; false of none."""
    verdicts = [is_photograph(image) for image in images]
    return bool(verdicts) and sum(verdicts) > MOST * len(verdicts)


def is_photograph(image: Image.Image) -> bool:
    """Whether an RGB image has as many colours (or, large enough, shades of grey) as light makes,
    and not the few of a drawing, a scan or a digit."""
    sides = [min(side, LOOKED_AT) for side in image.size]
    pixels = np.asarray(image.resize((sides[0], sides[1]), Image.Resampling.NEAREST))
    flat = pixels.reshape(-1, 3).astype(np.int64)
    distinct = len(np.unique(flat @ np.array([65536, 256, 1])))
    if (flat.max(axis=1) == flat.min(axis=1)).mean() > 0.99:
        return min(image.size) >= LARGE and distinct >= GREYS
    return distinct >= COLOURS * len(flat)
