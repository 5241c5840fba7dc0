"""Uniform random sampling: the baseline of every other method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.scorers.base import Inputs, Scorer


@dataclass(frozen=True)
class Random(Scorer):
    """Any image, at random: what others are compared with; nested."""

    cost: ClassVar[str] = "n"
    source: ClassVar[str] = "-"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        return inputs.rng.random(inputs.n)
