"""Active inference: more of the sample is drawn where the model is in doubt (Zrnic and Candes, ICML
2024, arXiv 2403.03208), and what was drawn more often than at random counts for less.

An image of confidence f is drawn with a probability proportional to 0.8 sqrt(f (1 - f)) + 0.2, each
part over its mean. Where most images are classified correctly the few that are not lie mostly among
these, so that as many labels say more about how many there are. Measured: docs/measuring.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DOUBT = 0.8
"""Share of the draw that goes by doubt; the rest is the same for every image, so that a model that
is sure and wrong is found out."""
LEAST_VARIANCE = 1e-4
"""Of right or wrong, however sure a model is."""


@dataclass(frozen=True)
class RandomSample:
    """The random sample of a pool, in the order drawn.

    Attributes:
        rows: (n,) int64 pool rows.
        probability: (n,) float64 with which each was drawn.
        batch: (n,) int64, 0: drawn at random, each image as likely as any other; else the number
            of the draw by doubt that it came with.
    """

    rows: Ints
    probability: Floats
    batch: Ints

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def at_random(self) -> Ints:
        """Pool rows of those that were as likely to be drawn as any other image."""
        return self.rows[self.batch == 0]

    def labelled(self, labels: Ints) -> RandomSample:
        """Those with a label among (N,) labels of the pool, -1: none."""
        known = labels[self.rows] >= 0
        return RandomSample(self.rows[known], self.probability[known], self.batch[known])


NO_SAMPLE = RandomSample(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))
"""Where test images measure."""


def inclusion(confidence: Floats, count: int) -> Floats:
    """(N,) probabilities in (0, 1] with which to draw each image; they add up to ``count``.

    Args:
        confidence: (N,) the model's, in [0, 1].
        count: images to draw, at most N.
    """
    doubt = np.sqrt(np.clip(confidence * (1 - confidence), 0, None))
    even = np.full(len(doubt), 1 / len(doubt))
    share = DOUBT * doubt / doubt.sum() + (1 - DOUBT) * even if doubt.any() else even
    certain = np.zeros(len(share), bool)
    while True:  # those that would exceed 1 are drawn for certain, and the others share the rest
        scale = (count - certain.sum()) / max(share[~certain].sum(), 1e-300)
        beyond = ~certain & (scale * share >= 1)
        if not beyond.any():
            return np.where(certain, 1.0, scale * share)
        certain |= beyond


def drawn(probability: Floats, rng: np.random.Generator) -> Ints:
    """Which images are drawn, in random order: as many as the (N,) inclusion probabilities add up
    to, each once (systematic sampling of a random order)."""
    order = rng.permutation(len(probability))
    ends = np.cumsum(probability[order])
    count = round(float(ends[-1]))
    at = np.searchsorted(ends, rng.random() + np.arange(count), side="right")
    return np.asarray(rng.permutation(order[np.minimum(at, len(order) - 1)]), dtype=np.int64)


def gain(confidence: Floats) -> float:
    """How many labels at random one that is drawn so is expected to be worth, if the (N,)
    confidences are right."""
    variance = np.maximum(confidence * (1 - confidence), LEAST_VARIANCE)
    relative = inclusion(confidence, 1) * len(confidence)
    return float(variance.mean() / (variance / relative).mean())


def sample_weights(sample: RandomSample, confidence: Floats) -> Floats:
    """What each image of a sample counts for, (n,); they add up to 1.

    Within a batch an image counts for one over its probability. A batch counts for one over the
    variance that the confidences expect of it, so that nothing hangs on what is right and wrong.

    Args:
        confidence: (n,) of models that did not learn the image.
    """
    weights = np.zeros(len(sample))
    variance = np.maximum(confidence * (1 - confidence), LEAST_VARIANCE)
    for number in np.unique(sample.batch):
        inside = sample.batch == number
        within = inside / (sample.probability if number else 1.0)
        within /= within.sum()
        weights += within / (within**2 * variance).sum()
    return np.asarray(weights / weights.sum())
