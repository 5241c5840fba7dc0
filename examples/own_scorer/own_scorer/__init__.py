"""Central images first: those nearest to the mean of the available rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.scorers import Inputs, Scorer


@dataclass(frozen=True)
class Central(Scorer):
    """Minus the distance to the mean of the available rows, to a power.

    Attributes:
        power: of the distance; changes the numbers, not the order.
    """

    power: float = 1.0
    cost: ClassVar[str] = "nd"
    source: ClassVar[str] = "examples/own_scorer"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        rows = inputs.embeddings.astype(np.float64)
        centre = rows[inputs.available].mean(axis=0)
        return -(np.linalg.norm(rows - centre, axis=1) ** self.power)
