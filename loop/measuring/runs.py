"""What a round's trainings are worth: the model that is delivered, and each arm's beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loop.measuring.calibration import Calibration
from loop.train.base import Trained
from loop.train.metrics import Metrics

Ints = NDArray[np.int64]

DIFFERENCE = "coreset minus control"
"""Key in the notes of a control's runs: by how much the first picks are ahead of as many random
labels, in accuracy, and the ends of the 95 % interval."""
DIFFERENCES = "coreset minus control, other metrics"
"""Key in the notes of a control's runs: the same as ``DIFFERENCE`` for the other metrics, by their
key in ``Metrics``."""
CALIBRATION = "calibration"
"""Key in the notes of the delivered model's run: its temperature and what that does."""


@dataclass(frozen=True)
class MeasuredRun:
    """One training and how good its model is.

    Attributes:
        arm: all, coreset or control.
        seed: its number.
        labels: (N,) int64 that it learned, -1: not.
        notes: what the trainer and the measurement say of themselves.
    """

    arm: str
    seed: int
    labels: Ints
    metrics: Metrics
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """All runs of a round.

    Attributes:
        runs: those of arm ``all`` first, seeds ascending.
        kept: the last of these, whose predictions are shown to people.
        calibration: of its probabilities; None where no answer was held out.
    """

    runs: list[MeasuredRun]
    kept: Trained
    calibration: Calibration | None = None

    @property
    def metrics(self) -> Metrics:
        """Of the model that is kept."""
        return [run.metrics for run in self.runs if run.arm == "all"][-1]
