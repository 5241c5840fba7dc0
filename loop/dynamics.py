"""Training dynamics, streamed: what each image did while a model learned it, epoch by epoch.

Nothing grows with the number of epochs: running sums for AUM, forgetting, correctness and EL2N, one
ring buffer of J epochs for Dyn-Unc and DUAL, one of J - 1 for TDDS. P is the softmax of the logits,
p its entry of the label. All scores are (N,) float64 in image order; NaN where an image was not
trained on.

Sources: AUM, forgetting, EL2N as in CCS (haizhongzheng/Coverage-centric-coreset-selection, b37f166)
and ELFS (eltsai/elfs, 089444b); never-learned images as in data_diet (aee462e), since leaving them
at zero makes the hardest images look the easiest; Dyn-Unc (BAAI-DCAI/Dataset-Pruning, 9f396a8);
DUAL (behaapyy/dual-pruning, 4ab525d); TDDS (zhangxin-xd/Dataset-Pruning-TDDS, 9c1e3bd).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from loop.errors import DataError

Scores = NDArray[np.float64]


class Dynamics:
    """Accumulates one training run. Feed it every epoch with ``update``.

    Args:
        labels: (N,) int64 the labels trained on, -1 = not trained on.
        window: J, epochs per window of Dyn-Unc, DUAL and TDDS.
        el2n_epochs: EL2N sums over this many first epochs (10 in CCS).
        dual_epochs: DUAL looks at this many first epochs (T = 30).
        tdds_epochs: TDDS looks at this many first epochs; None: all.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        *,
        window: int = 10,
        el2n_epochs: int = 10,
        dual_epochs: int = 30,
        tdds_epochs: int | None = None,
    ) -> None:
        self.labels = np.asarray(labels, dtype=np.int64)
        self.rows = np.flatnonzero(self.labels >= 0)
        self.window, self.el2n_epochs = window, el2n_epochs
        self.dual_epochs, self.tdds_epochs = dual_epochs, tdds_epochs
        self.epochs = 0
        m = len(self.rows)
        self._aum, self._el2n, self._el2n_last = np.zeros(m), np.zeros(m), np.zeros(m)
        self._margin = np.zeros(m)
        self._forgetting, self._correctness = np.zeros(m), np.zeros(m)
        self._before = np.zeros(m, bool)
        self._targets: deque[Scores] = deque(maxlen=window)
        self._changes: deque[Scores] = deque(maxlen=window - 1)
        self._windows, self._dyn_unc, self._dyn_unc_last = 0, np.zeros(m), np.zeros(m)
        self._dual_windows, self._dual = 0, np.zeros(m)
        self._tdds = np.zeros(m)
        self._probabilities: Scores | None = None

    def update(self, logits: NDArray[np.floating]) -> None:
        """Adds one epoch: (N, C) logits of every image; rows without a label are ignored."""
        z = np.asarray(logits)[self.rows].astype(np.float64)
        z -= z.max(axis=1, keepdims=True)
        probabilities = np.exp(z)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        self.update_probabilities(probabilities)

    def update_probabilities(self, probabilities: Scores) -> None:
        """Adds one epoch as (M, C) softmax outputs of the rows with a label, in row order."""
        m, y = len(self.rows), self.labels[self.rows]
        target = probabilities[np.arange(m), y]
        others = probabilities.copy()
        others[np.arange(m), y] = -np.inf
        self._margin = target - others.max(axis=1)
        self._aum += self._margin
        correct = probabilities.argmax(axis=1) == y
        self._forgetting += self._before & ~correct
        self._correctness += correct
        self._before = correct
        residual = probabilities.copy()
        residual[np.arange(m), y] -= 1
        self._el2n_last = np.linalg.norm(residual, axis=1)
        if self.epochs < self.el2n_epochs:
            self._el2n += self._el2n_last
        self._update_windows(target)
        self._update_tdds(probabilities)
        self._probabilities = probabilities
        self.epochs += 1

    def _update_windows(self, target: Scores) -> None:
        self._targets.append(target)
        if len(self._targets) < self.window:
            return
        block = np.stack(self._targets)
        spread = 10 * block.std(axis=0, ddof=1)
        self._windows += 1
        self._dyn_unc += spread
        self._dyn_unc_last = spread
        if self.epochs < self.dual_epochs:
            self._dual_windows += 1
            self._dual += spread * (1 - block.mean(axis=0))

    def _update_tdds(self, probabilities: Scores) -> None:
        if self._probabilities is None or (
            self.tdds_epochs is not None and self.epochs >= self.tdds_epochs
        ):
            return
        step = np.log(probabilities + 1e-8) - np.log(self._probabilities + 1e-8)
        self._changes.append(np.abs(probabilities * step).sum(axis=1))
        if len(self._changes) == self.window - 1:
            block = np.stack(self._changes)
            norm = np.linalg.norm(block - block.mean(axis=0), axis=0)
            self._tdds = 0.1 * self._tdds + 0.9 * norm

    def state(self) -> dict[str, NDArray[np.generic]]:
        """All that was accumulated, as arrays; ``restore`` goes on from them."""
        kept = {name: value for name, value in vars(self).items() if value is not None}
        return {n: np.array(list(v) if isinstance(v, deque) else v) for n, v in kept.items()}

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Puts a ``state`` of the same run in place of this one."""
        for name, value in state.items():
            mine = getattr(self, name)
            if isinstance(mine, deque):
                mine.clear()
                mine.extend(value)
            else:
                setattr(self, name, int(value) if isinstance(mine, int) else value)

    def _whole(self, values: Scores) -> Scores:
        out = np.full(len(self.labels), np.nan)
        out[self.rows] = values
        return out

    @property
    def aum(self) -> Scores:
        """Sum over epochs of p minus the largest other probability. Low = hard."""
        return self._whole(self._aum)

    @property
    def last_margin(self) -> Scores:
        """The same of the last epoch only. Low = hard."""
        return self._whole(self._margin)

    @property
    def forgetting(self) -> Scores:
        """Right -> wrong steps between epochs; never learned = +inf. High = hard."""
        return self._whole(np.where(self._correctness > 0, self._forgetting, np.inf))

    @property
    def forgetting_events(self) -> Scores:
        """The count alone, never learned = 0 (as CCS, ELFS and DeepCore have it)."""
        return self._whole(self._forgetting)

    @property
    def correctness(self) -> Scores:
        """Epochs predicted right."""
        return self._whole(self._correctness)

    @property
    def el2n(self) -> Scores:
        """Sum over the first epochs of the 2-norm of P - onehot. High = hard."""
        return self._whole(self._el2n)

    @property
    def el2n_last(self) -> Scores:
        """2-norm of P - onehot at the last epoch. High = hard."""
        return self._whole(self._el2n_last)

    @property
    def dyn_unc(self) -> Scores:
        """Mean over all windows of 10 x the unbiased std of p. High = uncertain."""
        return self._whole(self._dyn_unc / self._some(self._windows))

    @property
    def dyn_unc_published(self) -> Scores:
        """The same without the window that ends at the last epoch, where the authors' script
        stops one early."""
        before = self._some(self._windows - 1)
        return self._whole((self._dyn_unc - self._dyn_unc_last) / before)

    @property
    def dual(self) -> Scores:
        """Mean over windows of 10 x std of p x (1 - mean of p). High = hard and uncertain."""
        return self._whole(self._dual / self._some(self._dual_windows))

    @property
    def tdds(self) -> Scores:
        """Weighted sum of the windows' deviation norms; the newest weighs 0.9, the one before
        0.09, ... High = informative."""
        return self._whole(self._tdds / self._some(int(len(self._changes) == self.window - 1)))

    def _some(self, windows: int) -> int:
        """The number of windows. Raises DataError if no window has filled: all would score 0."""
        if windows < 1:
            raise DataError(
                f"{self.epochs} epochs were recorded, and this score needs {self.window} at least; "
                "train longer ('epochs' or 'steps' under [training.params])"
            )
        return windows

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """(M, C) of the last epoch, for the rows with a label (``rows``)."""
        if self._probabilities is None:
            raise ValueError("no epoch has been recorded")
        return self._probabilities
