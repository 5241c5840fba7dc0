"""What is odd about pictures, before anybody is paid to label them: dark, light, blank, blurred, of
an odd shape or size.

The limits of all but blur are cleanvision's (0.3.7). Its measure of blur told blurred pictures of
160 x 120 pixels from sharp ones in 7 of 60 cases, whatever the radius, so blur is measured by the
edges that are left, against those of the pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

SIDE = 256
"""Pixels of the longer side that pictures are measured at; larger ones are reduced."""
MEASURES = ("darkest", "lightest", "entropy", "edges", "shape", "size")
"""Columns: 5th and 99th percentile of the brightness in [0, 1], bits of the grey histogram,
standard deviation of the Laplacian, shorter over longer side, root of the area in pixels."""
DARK, LIGHT, BLANK, SHAPE = 0.32, 0.95, 3.0, 0.35
BLUR, SIZE = 2.5, 3.0
"""Robust standard deviations of log edges below the pool's, interquartile ranges beyond the pool's
quartiles of the size."""
WORDS = {
    "dark": "dark",
    "light": "light",
    "blank": "blank or nearly so",
    "blurred": "blurred",
    "shape": "of an odd shape",
    "size": "of an odd size",
}
"""Issue -> what is said of such images."""


@dataclass(frozen=True)
class OddImages:
    """The images with one issue.

    Attributes:
        issue: of ``WORDS``.
        rows: (M,) int64, the oddest first.
    """

    issue: str
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Oddity:
    """Images with one issue: files, the oddest first."""

    issue: str
    files: list[str]


@dataclass(frozen=True)
class Quality:
    """What is odd about the pool.

    Attributes:
        oddities: one for each issue that an image has.
        groups: files of each group of near-duplicates, the largest first.
        cosine: from which on two images are near-duplicates.
        images: of the pool.
        unreadable: (file, why) of those that could not be looked at.
    """

    oddities: list[Oddity]
    groups: list[list[str]]
    cosine: float
    images: int
    unreadable: list[tuple[str, str]]

    @property
    def doubled(self) -> int:
        """Images that have a near-duplicate."""
        return sum(len(group) for group in self.groups)


def measures(image: Image.Image, size: tuple[int, int]) -> NDArray[np.float32]:
    """(len(MEASURES),) of one picture.

    Args:
        image: RGB, may be reduced.
        size: width and height of the picture as it is.
    """
    from scipy.ndimage import laplace

    if max(image.size) > SIDE:
        image = image.copy()
        image.thumbnail((SIDE, SIDE))
    red, green, blue = np.moveaxis(np.asarray(image, dtype=np.float32) / 255, 2, 0)
    brightness = np.sqrt(0.241 * red * red + 0.691 * green * green + 0.068 * blue * blue)
    darkest, lightest = np.percentile(brightness, [5, 99])
    grey = image.convert("L")
    edges = laplace(np.asarray(grey, dtype=np.float32), mode="nearest").std()
    width, height = size
    shape = min(width / height, height / width)
    area = np.sqrt(float(width) * height)
    return np.array([darkest, lightest, grey.entropy(), edges, shape, area], dtype=np.float32)


def odd_images(measured: NDArray[np.float32]) -> list[OddImages]:
    """The images with each issue; issues that no image has are left out.

    Args:
        measured: (N, len(MEASURES)), NaN rows where a picture was not measured.
    """
    known = np.flatnonzero(~np.isnan(measured).any(axis=1))
    if not len(known):
        return []
    darkest, lightest, entropy, edges, shape, size = measured[known].T.astype(np.float64)
    sharpness = np.log(edges + 1)
    unlit = (entropy < BLANK) | (lightest < DARK) | (darkest > LIGHT)
    low, high = np.percentile(size, [25, 75])
    reach = SIZE * (high - low)
    distance = np.maximum(low - size, size - high)
    odd = {
        "dark": (lightest < DARK, lightest),
        "light": (darkest > LIGHT, -darkest),
        "blank": (entropy < BLANK, entropy),
        "blurred": (~unlit & (sharpness < _lowest(sharpness)), sharpness),
        "shape": (shape < SHAPE, shape),
        "size": ((reach > 0) & (distance > reach), -distance),
    }
    found = []
    for issue, (marked, order) in odd.items():
        rows = np.flatnonzero(marked)
        if len(rows):
            rows = rows[np.argsort(order[rows], kind="stable")]
            found.append(OddImages(issue, known[rows]))
    return found


def _lowest(values: NDArray[np.float64]) -> float:
    """From which on down a value is an outlier: robust against as many as half of them."""
    middle = np.median(values)
    spread = 1.4826 * np.median(np.abs(values - middle))
    return float(middle - BLUR * max(spread, 0.05))
