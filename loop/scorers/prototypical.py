"""Prototypicality: distance of an image to the centre of its k-means cluster.

``near`` takes typical images first, ``far`` unusual ones. Far is better when most data are kept,
near when few images are kept, as in labelling; so near is the default. Nested.

Source: Sorscher et al. 2022, arXiv 2206.14486 (self-supervised features, k = classes, cosine);
the baseline in ELFS (089444b) takes Euclidean distances to the own centre and keeps the farthest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.scorers.base import Inputs, Scorer
from loop.scorers.kmeans import cluster


@dataclass(frozen=True)
class Prototypical(Scorer):
    """Nearest to the centre of their k-means cluster, or farthest.

    Attributes:
        keep: near or far.
        clusters: k; 0: the number of classes, or 10 if unknown.
        geometry: unit (cosine), standard or raw (ELFS' baseline).
    """

    keep: str = "near"
    clusters: int = 0
    geometry: str = "unit"
    cost: ClassVar[str] = "nkd per iteration; memory nd"
    source: ClassVar[str] = "Sorscher et al. 2022, arXiv 2206.14486"

    def __post_init__(self) -> None:
        if self.keep not in ("near", "far"):
            raise ValueError(f"keep must be near or far, got {self.keep!r}")

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        if inputs.n == 0:
            return np.zeros(0)
        x = inputs.rows(self.geometry)
        k = min(self.clusters or inputs.n_classes or 10, inputs.n)
        centres, labels = cluster(x, k, inputs.rng)
        distances = np.linalg.norm(x - centres[labels], axis=1).astype(np.float64)
        return distances if self.keep == "far" else -distances
