"""Scores from training dynamics on a labelled pool: forgetting, EL2N, GraNd, AUM, Dyn-Unc, TDDS,
DUAL. They need a label on every row, so they serve as a reference, not as a choice.

``inputs.fit(labels)`` trains once and records a loop.dynamics.Dynamics; definitions stand there.
All are oriented so that larger = label sooner.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.dynamics import Dynamics
from loop.errors import DataError
from loop.scorers.base import Inputs, Scorer


def dynamics_of(inputs: Inputs) -> Dynamics:
    """One recorded run on the labelled rows.

    Raises:
        DataError: a row has no label, or there is no way to train.
    """
    if inputs.fit is None:
        raise DataError("this scorer needs a training run; give Inputs.fit")
    if (inputs.labels[inputs.available] < 0).any():
        row = int(np.flatnonzero(inputs.available & (inputs.labels < 0))[0])
        raise DataError(f"this scorer needs a label on every row; row {row} has none")
    return inputs.fit(inputs.labels)


class FromDynamics(Scorer):
    """A scorer that trains once and reads one measure off the dynamics."""

    needs: ClassVar[frozenset[str]] = frozenset({"labels", "fit"})
    cost: ClassVar[str] = "one training run on the whole pool; memory O(nJ)"

    @abstractmethod
    def read(self, dynamics: Dynamics) -> NDArray[np.float64]:
        """(N,) the measure, larger = label sooner; infinities allowed."""

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        return finite(self.read(dynamics_of(inputs)))


def finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """+inf becomes the largest finite value plus 1; -inf and NaN the smallest minus 1."""
    finite_values = values[np.isfinite(values)]
    if len(finite_values):
        least, largest = finite_values.min(), finite_values.max()
    else:
        least, largest = 0.0, 0.0
    return np.nan_to_num(values, nan=least - 1, posinf=largest + 1, neginf=least - 1)


@dataclass(frozen=True)
class El2n(FromDynamics):
    """EL2N: large errors (2-norm of P - onehot) in early epochs."""

    source: ClassVar[str] = "Paul et al. 2021, arXiv 2107.07075; sum over 10 epochs as in CCS"

    def read(self, dynamics: Dynamics) -> NDArray[np.float64]:
        return dynamics.el2n


@dataclass(frozen=True)
class Forgetting(FromDynamics):
    """Forgetting events; those never predicted right come first."""

    source: ClassVar[str] = "Toneva et al. 2019, arXiv 1812.05159; never learned as in data_diet"

    def read(self, dynamics: Dynamics) -> NDArray[np.float64]:
        return dynamics.forgetting


@dataclass(frozen=True)
class Aum(FromDynamics):
    """Minus the area under the margin: hard images first."""

    source: ClassVar[str] = "Pleiss et al. 2020, arXiv 2001.10528; on probabilities as in CCS"

    def read(self, dynamics: Dynamics) -> NDArray[np.float64]:
        return -dynamics.aum


@dataclass(frozen=True)
class DynUnc(FromDynamics):
    """Dyn-Unc: deviation of the label's probability in windows."""

    source: ClassVar[str] = "He et al. 2024, arXiv 2306.05175; BAAI-DCAI/Dataset-Pruning"

    def read(self, dynamics: Dynamics) -> NDArray[np.float64]:
        return dynamics.dyn_unc


@dataclass(frozen=True)
class Tdds(FromDynamics):
    """TDDS: deviation of changes, newer windows weighing more."""

    source: ClassVar[str] = "Zhang et al. 2024, TDDS (CVPR); zhangxin-xd/Dataset-Pruning-TDDS"

    def read(self, dynamics: Dynamics) -> NDArray[np.float64]:
        return dynamics.tdds


@dataclass(frozen=True)
class Dual(FromDynamics):
    """DUAL: deviation of the label's probability times 1 - mean."""

    source: ClassVar[str] = "Cho et al. 2025, DUAL; behaapyy/dual-pruning"

    def read(self, dynamics: Dynamics) -> NDArray[np.float64]:
        return dynamics.dual


@dataclass(frozen=True)
class Grand(Scorer):
    """GraNd of the last layer: |P - onehot| sqrt(|h|^2 + 1).

    P is that of the last recorded epoch, h are the embeddings. GraNd of the whole network at
    initialisation is not offered: its published numbers came from a checkpoint-loading bug.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"labels", "fit"})
    cost: ClassVar[str] = "one training run + nd"
    source: ClassVar[str] = "Paul et al. 2021, arXiv 2107.07075; last layer as in DeepCore"

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        norms = np.linalg.norm(inputs.embeddings.astype(np.float64), axis=1)
        return finite(dynamics_of(inputs).el2n_last * np.sqrt(norms**2 + 1))
