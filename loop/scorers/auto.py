"""auto: the default. Chooses a label-free method by what is known before anybody labels.

What it looks at: how many labels per class the project will have after the round (budget, earlier
picks, classes), and what share of the pool that is. It never sees a label.

* More than half of the pool: random. Whatever is left out is then too little to matter, and random
  keeps the classes' proportions.
* Up to ``many`` labels per class: MaxHerding with the mean of four kernels, two radii in two
  geometries. Each label must stand for a whole neighbourhood, so dense regions come first and
  outliers never; the mean does not depend on which radius or geometry happens to suit the pool.
* Beyond: random. Coverage was not better than random there, and a point worse on one set.

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


@dataclass(frozen=True)
class Choice:
    """A method with its parameters, and why."""

    scorer: str
    params: dict[str, Any]
    reason: str


@dataclass(frozen=True)
class Auto(Scorer):
    """Chooses by budget, classes and pool size.

    Attributes:
        many: labels per class up to which MaxHerding is used.
        most: share of the pool from which random is used.
    """

    many: float = 50.0
    most: float = 0.5
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
        each = labels / classes
        if share > self.most:
            return Choice("random", {}, f"{share:.0%} of the pool will be labelled: order is moot")
        if each > self.many:
            return Choice("random", {}, f"{each:.1f} labels per class: order gains little")
        return Choice(
            "maxherding", {"geometry": "both", "radius": [0.5, 1.0]},
            f"{each:.1f} labels per class: each must stand for a dense neighbourhood",
        )  # fmt: skip
