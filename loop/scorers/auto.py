"""auto, the default: chooses a method by what is known before the round.

The first round knows no label, only how many labels per class there will be (budget and classes)
and what share of the pool that is.

* More than half of the pool: random. Whatever is left out is then too little to matter, and random
  keeps the classes' proportions.
* Up to ``many`` labels per class: k-medoids. Each label must stand for a whole neighbourhood, so
  dense regions come first and outliers never.
  Where class names are known they see, up to ``named`` labels per class, what the names say too
  (docs/names.md).
* Beyond: random. Coverage was not better than random there.

Where a network learns from the images themselves, medoids stop at ``network`` labels per class and
no model is asked: medoids are a few kinds of picture, and a network learns its features from the
pictures that it sees, so it needs variety. Later picks are random.

Later rounds know the labels collected and a model trained on them. From ``trust`` labels per class
on, medoids weigh each image by that model's uncertainty (UHerding with exchanges), so that labels
go where they still change something. With fewer labels the model's uncertainty is hardly better
than chance, and medoids are chosen as in the first round. No round sees any other label.

ZCore, k-center and norm are not among the choices: at these budgets they pick outliers and were
worse than random (measured in docs/auto.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from loop import scorers
from loop.scorers.base import Inputs, Scorer

UNKNOWN_CLASSES = 10
"""Number of classes assumed where the project names none."""
COVERAGE = {"geometry": "centred", "radius": 0.7}
NAMES = round(2**0.5, 4)
"""Weight of what the class names say, beside rows of length 1."""
UNCERTAINTY_COVERAGE = {**COVERAGE, "exchange": True}


@dataclass(frozen=True)
class Choice:
    """A method with its parameters, and why."""

    scorer: str
    params: dict[str, Any]
    reason: str


@dataclass(frozen=True)
class Auto(Scorer):
    """By budget, classes, pool size and the labels so far.

    Attributes:
        many: labels per class up to which k-medoids is used in the first round.
        most: share of the pool from which random is used.
        trust: labels per class, collected, from which the model is asked.
        network: in place of ``many`` where the classifier learns from images.
        named: labels per class up to which k-medoids also see what the class names say.
    """

    many: float = 50.0
    most: float = 0.5
    trust: float = 5.0
    network: float = 20.0
    named: float = 2.0
    uses: ClassVar[frozenset[str]] = frozenset({"collected", "probabilities"})
    nested: ClassVar[bool] = False
    cost: ClassVar[str] = "that of the chosen method"
    source: ClassVar[str] = "own; measured in docs/auto.md"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        choice = self.choose(inputs)
        return scorers.get(choice.scorer, **choice.params).score(inputs)

    def explain(self, inputs: Inputs) -> dict[str, Any]:
        choice = self.choose(inputs)
        explanation = scorers.get(choice.scorer, **choice.params).explain(inputs)
        return {"choice": choice.scorer, **choice.params, "reason": choice.reason, **explanation}

    def in_hindsight(self) -> Auto:
        """Never random for the share that it takes."""
        return replace(self, most=1.0)

    def choose(self, inputs: Inputs) -> Choice:
        """The method that ``score`` uses for these inputs."""
        labels = inputs.budget + int(inputs.covered.sum())
        share = labels / max(1, inputs.n)
        if share > self.most:
            return Choice("random", {}, f"{share:.0%} of the pool will be labelled: order is moot")
        classes = inputs.n_classes or UNKNOWN_CLASSES
        trains_network = inputs.classifier == "images"
        collected = int((inputs.labels >= 0).sum())
        has_model = inputs.probabilities is not None and not trains_network
        if has_model and collected >= max(1.0, self.trust * classes):
            reason = (
                f"{collected} labels are there: dense neighbourhoods of which their model is unsure"
            )
            return Choice("uherding", UNCERTAINTY_COVERAGE, reason)
        per_class = labels / classes
        if per_class > (self.network if trains_network else self.many):
            why = "a network gains most from variety" if trains_network else "order gains little"
            return Choice("random", {}, f"{per_class:.1f} labels per class: {why}")
        reason = f"{per_class:.1f} labels per class: each must stand for a dense neighbourhood"
        if inputs.names is not None and per_class <= self.named:
            reason += ", and class names tell neighbourhoods apart"
            return Choice("kmedoids", {**COVERAGE, "names": NAMES}, reason)
        return Choice("kmedoids", COVERAGE, reason)
