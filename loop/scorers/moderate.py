"""Moderate: images whose distance to the prototype of their group is near the median distance.

Label-free form: groups are k-means clusters; the prototype is the element-wise median of a group
(not the mean); distances are ranked within each cluster, so that wide clusters are represented;
images are taken from the middle rank outwards. With true classes (``ModerateLabels``) it is the
published method: one global order of distances, and the band around its middle.

Source: Xia et al., ICLR 2023; tmllab/Moderate-DS (b6f4de2) selection.py. The copy of Moderate in
d2pruning returns the pruned ids (both tails) instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.errors import DataError
from loop.scorers.base import Inputs, Scorer
from loop.scorers.kmeans import cluster


def prototype_distances(x: NDArray[np.floating], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) Euclidean distance of each row to the element-wise median of its group."""
    distances = np.empty(len(x))
    for group in np.unique(groups):
        members = groups == group
        rows = np.asarray(x[members], dtype=np.float64)
        distances[members] = np.linalg.norm(rows - np.median(rows, axis=0), axis=1)
    return distances


def from_the_middle(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) scores: minus how far each row's rank lies from the middle of the ascending order."""
    ranks = np.empty(len(distances))
    ranks[np.argsort(distances, kind="stable")] = np.arange(len(distances))
    # half a rank below the middle comes before half a rank above it, as Python rounds the band
    return -np.abs(ranks - (len(distances) - 1) / 2 + 0.25)


@dataclass(frozen=True)
class Moderate(Scorer):
    """Label-free Moderate: at a median distance from the centre.

    Attributes:
        clusters: k-means clusters; 0: the number of classes, or 10 if unknown.
        geometry: see loop.geometry; the paper uses raw features.
    """

    clusters: int = 0
    geometry: str = "raw"
    cost: ClassVar[str] = "nkd (k-means) + nd"
    source: ClassVar[str] = "Xia et al. 2023 (ICLR), tmllab/Moderate-DS; clusters for classes"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        x = inputs.rows(self.geometry)
        k = min(self.clusters or inputs.n_classes or 10, inputs.n)
        groups = cluster(x, k, inputs.rng)[1] if k > 1 else np.zeros(inputs.n, np.int64)
        distances = prototype_distances(x, groups)
        relative = np.empty(inputs.n)
        for group in np.unique(groups):
            members = np.flatnonzero(groups == group)
            ranks = np.empty(len(members))
            ranks[np.argsort(distances[members], kind="stable")] = np.arange(len(members))
            relative[members] = (ranks + 0.5) / len(members)
        return -np.abs(relative - 0.5)


@dataclass(frozen=True)
class ModerateLabels(Scorer):
    """Published Moderate: true classes, one band of distances."""

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    cost: ClassVar[str] = "nd"
    source: ClassVar[str] = "Xia et al. 2023 (ICLR), tmllab/Moderate-DS"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        rows = np.flatnonzero(inputs.available)
        if (inputs.labels[rows] < 0).any():
            raise DataError("moderate_labels needs a label on every available row")
        distances = prototype_distances(inputs.embeddings[rows], inputs.labels[rows])
        scores = np.full(inputs.n, -float(inputs.n))
        scores[rows] = from_the_middle(distances)
        return scores
