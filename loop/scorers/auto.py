"""auto: the default. Chooses a method by what is known before the round.

The first round knows no label: how many labels per class there will be (budget and classes), and
what share of the pool that is.

* More than half of the pool: random. Whatever is left out is then too little to matter, and random
  keeps the classes' proportions.
* Up to ``many`` labels per class: k-medoids. Each label must stand for a whole neighbourhood, so
  dense regions come first and outliers never.
* Beyond: random. Coverage was not better than random there.

Where a network learns from the images themselves, medoids stop at ``network`` labels per class and
no model is asked: picks that stand for the rest are a few kinds of picture, and a network has the
pictures to learn first. What follows is random.

Later rounds know the labels collected, and a model trained on them. From ``trust`` labels per class
on, medoids count each image by how unsure that model is of it (UHerding with exchanges), so that
labels go where they still change something. Before, its doubts are hardly better than chance, and
the medoids go on as in the first round. No round sees any other label.

ZCore, k-center and the norm are no candidates: at these budgets they pick outliers and were below
random (docs/auto.md has the measurements).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from loop import scorers
from loop.scorers.base import Inputs, Scorer

UNKNOWN_CLASSES = 10
"""Taken for the number of classes where nobody says it."""
COVERAGE = {"geometry": "centred", "radius": 0.7}
UNSURE = {**COVERAGE, "exchange": True}


@dataclass(frozen=True)
class Choice:
    """A method with its parameters, and why."""

    scorer: str
    params: dict[str, Any]
    reason: str


@dataclass(frozen=True)
class Auto(Scorer):
    """Chooses by budget, classes, pool size and, from the second round on, the labels collected.

    Attributes:
        many: labels per class up to which k-medoids is used in the first round.
        most: share of the pool from which random is used.
        trust: labels per class, collected, from which the model is asked.
        network: in place of ``many`` where the classifier learns from images.
    """

    many: float = 50.0
    most: float = 0.5
    trust: float = 5.0
    network: float = 20.0
    uses: ClassVar[frozenset[str]] = frozenset({"collected", "probabilities"})
    nested: ClassVar[bool] = False
    cost: ClassVar[str] = "that of the chosen method"
    source: ClassVar[str] = "own; measured in docs/auto.md"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        choice = self.choose(inputs)
        return scorers.get(choice.scorer, **choice.params).score(inputs)

    def explain(self, inputs: Inputs) -> dict[str, Any]:
        choice = self.choose(inputs)
        said = scorers.get(choice.scorer, **choice.params).explain(inputs)
        return {"choice": choice.scorer, **choice.params, "reason": choice.reason, **said}

    def choose(self, inputs: Inputs) -> Choice:
        """What ``score`` uses for these inputs."""
        labels = inputs.budget + int(inputs.covered.sum())
        share = labels / max(1, inputs.n)
        classes = inputs.n_classes or UNKNOWN_CLASSES
        each, known = labels / classes, int((inputs.labels >= 0).sum())
        if share > self.most:
            return Choice("random", {}, f"{share:.0%} of the pool will be labelled: order is moot")
        images = inputs.classifier == "images"
        asked = inputs.probabilities is not None and not images
        if asked and known >= max(1.0, self.trust * classes):
            return Choice(
                "uherding",
                UNSURE,
                f"{known} labels are there: dense neighbourhoods of which their model is unsure",
            )
        if each > (self.network if images else self.many):
            why = "a network gains most from variety" if images else "order gains little"
            return Choice("random", {}, f"{each:.1f} labels per class: {why}")
        return Choice(
            "kmedoids",
            COVERAGE,
            f"{each:.1f} labels per class: each must stand for a dense neighbourhood",
        )
