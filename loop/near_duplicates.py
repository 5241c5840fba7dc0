"""Images that are nearly the same: groups by the cosine of their embeddings.

How alike the embeddings of near-duplicates are differs between encoders and pools: of slightly
cropped, recompressed copies half had a cosine of at least 0.89 on TrashNet and 0.75 on CIFAR-10,
MobileNetV1 both. So the limit is measured on copies of the pool's own images.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from loop.geometry import neighbours, transform, unit

if TYPE_CHECKING:
    from PIL import Image

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NEIGHBOURS = 10
"""Of each image are compared; larger groups are joined through their members."""
COPIES = 64
"""Images of which a changed copy is made to measure the cosine of near-duplicates."""
LEAST, MOST = 0.5, 0.999
"""A measured cosine is kept between these: below, an encoder tells next to nothing apart."""
FIXED = 0.98
"""Where no image can be encoded to measure it."""


@dataclass(frozen=True)
class NearDuplicates:
    """One group.

    Attributes:
        rows: (m,) int64 array rows, ascending.
        cosine: of the two most alike.
    """

    rows: NDArray[np.int64]
    cosine: float


def near_duplicates(embeddings: NDArray[np.float32], cosine: float) -> list[NearDuplicates]:
    """Images joined by pairs whose cosine is at least ``cosine``, the most alike groups first.

    The cosine of the embeddings less their mean: encoders whose values are never negative, pixels
    say, would put everything together otherwise.

    Args:
        embeddings: (N, D).
        cosine: in [-1, 1]; 1 joins what is the same.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(embeddings)
    nearest, distances = neighbours(transform(embeddings, "centred"), NEIGHBOURS)
    cosines = 1 - distances.astype(np.float64) ** 2 / 2  # of rows of length 1
    first, column = np.nonzero(cosines >= cosine - 1e-6)
    second = nearest[first, column]
    pairs = coo_array((np.ones(len(first)), (first, second)), shape=(n, n))
    _, group = connected_components(pairs, directed=False)
    groups = []
    order = np.argsort(group, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        if len(rows) > 1:
            groups.append(NearDuplicates(rows, float(np.nanmax(cosines[rows, 0]))))
    return sorted(groups, key=lambda each: -each.cosine)


def slightly_changed(image: Image.Image, rng: np.random.Generator) -> bytes:
    """JPEG of a near-duplicate: 90 to 98 % of each side, 5 % lighter or darker, recompressed."""
    from PIL import Image, ImageEnhance

    width, height = image.size
    kept = rng.uniform(0.90, 0.98)
    wide, high = max(1, int(width * kept)), max(1, int(height * kept))
    left, top = rng.integers(0, width - wide + 1), rng.integers(0, height - high + 1)
    part = image.crop((int(left), int(top), int(left) + wide, int(top) + high))
    part = part.resize((width, height), Image.Resampling.BICUBIC)
    part = ImageEnhance.Brightness(part).enhance(rng.uniform(0.95, 1.05))
    jpeg = io.BytesIO()
    part.save(jpeg, "JPEG", quality=int(rng.integers(60, 91)))
    return jpeg.getvalue()


def measured_cosine(
    originals: NDArray[np.float32], copies: NDArray[np.float32], pool: NDArray[np.float32]
) -> float:
    """The cosine that half of the changed copies have with their image, as ``near_duplicates``
    measures it: the stricter half finds fewer and joins next to nothing wrongly.

    Args:
        originals, copies: (M, D) embeddings of images and of a copy of each.
        pool: (N, D), whose mean is subtracted.
    """
    mean = unit(np.array(pool, dtype=np.float32)).mean(axis=0, dtype=np.float64)
    first = unit(unit(np.array(originals, dtype=np.float32)) - mean.astype(np.float32))
    second = unit(unit(np.array(copies, dtype=np.float32)) - mean.astype(np.float32))
    return float(np.clip(np.median((first * second).sum(axis=1)), LEAST, MOST))


def group_numbers(groups: list[NearDuplicates], n: int) -> Ints:
    """(n,) number of each image's group, -1 where it has none."""
    numbers = np.full(n, -1, np.int64)
    for number, group in enumerate(groups):
        numbers[group.rows] = number
    return numbers


def one_of_each(numbers: Ints, available: Bools, covered: Bools) -> Bools:
    """(N,) the available images, of each group at most the first: none where one is covered.

    Args:
        numbers: (N,) of ``group_numbers``.
        covered: (N,) picked before.
    """
    taken = np.unique(numbers[covered & (numbers >= 0)])
    open_ = available & ~np.isin(numbers, taken)
    rows = np.flatnonzero(open_ & (numbers >= 0))
    _, first = np.unique(numbers[rows], return_index=True)
    open_[np.delete(rows, first)] = False
    return open_


def offered(numbers: Ints, labels: Ints) -> Ints:
    """(N,) the label that an unlabelled image has from its group: that of the labelled ones, if
    they agree; -1 elsewhere.

    Args:
        labels: (N,) -1 where there is no label.
    """
    labelled = np.flatnonzero((numbers >= 0) & (labels >= 0))
    count = int(numbers.max(initial=-1)) + 1
    lowest, highest = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(lowest, numbers[labelled], labels[labelled])
    np.maximum.at(highest, numbers[labelled], labels[labelled])
    agreed = np.where(lowest == highest, highest, -1)
    label = np.full(len(labels), -1, np.int64)
    open_ = (numbers >= 0) & (labels < 0)
    label[open_] = agreed[numbers[open_]]
    return label
