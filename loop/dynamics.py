"""Training dynamics, streamed: scores from the model's predictions on each image, epoch by epoch.

Memory does not grow with the number of epochs: running sums for AUM, forgetting, correctness and
EL2N, a ring buffer of J epochs for Dyn-Unc and DUAL, one of J - 1 for TDDS. P is the softmax of the
logits, p its entry for the label. All scores are (N,) float64 in row order; NaN where a row was not
trained on.

Sources: AUM, forgetting, EL2N as in CCS (haizhongzheng/Coverage-centric-coreset-selection, b37f166)
and ELFS (eltsai/elfs, 089444b); never-learned images as in data_diet (aee462e), since a count of
zero would make the hardest images look the easiest; Dyn-Unc (BAAI-DCAI/Dataset-Pruning, 9f396a8);
DUAL (behaapyy/dual-pruning, 4ab525d); TDDS (zhangxin-xd/Dataset-Pruning-TDDS, 9c1e3bd).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from loop.errors import DataError
from loop.softmax import softmax

Scores = NDArray[np.float64]


class Dynamics:
    """Running sums of one training run; give it every epoch with ``update``.

    Args:
        labels: (N,) int64, the labels trained on; -1: not trained on.
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
        # ``state`` keeps these under their names: checkpoints of earlier versions hold them
        self._aum = np.zeros(m)
        self._margin = np.zeros(m)
        self._el2n = np.zeros(m)
        self._el2n_last = np.zeros(m)
        self._forgetting = np.zeros(m)
        self._correctness = np.zeros(m)
        self._before = np.zeros(m, bool)
        self._targets: deque[Scores] = deque(maxlen=window)
        self._changes: deque[Scores] = deque(maxlen=window - 1)
        self._windows = 0
        self._dyn_unc = np.zeros(m)
        self._dyn_unc_last = np.zeros(m)
        self._dual_windows = 0
        self._dual = np.zeros(m)
        self._tdds = np.zeros(m)
        self._probabilities: Scores | None = None

    def update(self, logits: NDArray[np.floating]) -> None:
        """Adds one epoch: (N, C) logits of every row; rows without a label are ignored."""
        self.update_probabilities(softmax(np.asarray(logits)[self.rows].astype(np.float64), axis=1))

    def update_probabilities(self, probabilities: Scores) -> None:
        """Adds one epoch as (M, C) softmax outputs of the rows with a label, in row order."""
        labels = self.labels[self.rows]
        entries = np.arange(len(labels)), labels
        target = probabilities[entries]
        others = probabilities.copy()
        others[entries] = -np.inf
        self._margin = target - others.max(axis=1)
        self._aum += self._margin
        correct = probabilities.argmax(axis=1) == labels
        self._forgetting += self._before & ~correct
        self._correctness += correct
        self._before = correct
        residual = probabilities.copy()
        residual[entries] -= 1
        self._el2n_last = np.linalg.norm(residual, axis=1)
        if self.epochs < self.el2n_epochs:
            self._el2n += self._el2n_last
        self._update_windows(target)
        self._update_tdds(probabilities)
        self._probabilities = probabilities
        self.epochs += 1

    def _update_windows(self, target: Scores) -> None:
        """Dyn-Unc and DUAL: adds the window of J epochs that ends now, once J were seen."""
        self._targets.append(target)
        if len(self._targets) < self.window:
            return
        window = np.stack(self._targets)
        spread = 10 * window.std(axis=0, ddof=1)
        self._windows += 1
        self._dyn_unc += spread
        self._dyn_unc_last = spread
        if self.epochs < self.dual_epochs:
            self._dual_windows += 1
            self._dual += spread * (1 - window.mean(axis=0))

    def _update_tdds(self, probabilities: Scores) -> None:
        """TDDS: adds the window of J - 1 changes between epochs that ends now."""
        if self._probabilities is None:
            return
        if self.tdds_epochs is not None and self.epochs >= self.tdds_epochs:
            return
        log_ratio = np.log(probabilities + 1e-8) - np.log(self._probabilities + 1e-8)
        self._changes.append(np.abs(probabilities * log_ratio).sum(axis=1))
        if len(self._changes) == self.window - 1:
            window = np.stack(self._changes)
            norm = np.linalg.norm(window - window.mean(axis=0), axis=0)
            self._tdds = 0.1 * self._tdds + 0.9 * norm

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything accumulated, as arrays by attribute name; ``restore`` continues from it."""
        arrays = {}
        for name, value in vars(self).items():
            if value is not None:
                arrays[name] = np.array(list(value) if isinstance(value, deque) else value)
        return arrays

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continues from a ``state`` of the same run."""
        for name, value in state.items():
            current = getattr(self, name)
            if isinstance(current, deque):
                current.clear()
                current.extend(value)
            else:
                setattr(self, name, int(value) if isinstance(current, int) else value)

    def _by_row(self, values: Scores) -> Scores:
        """(M,) values of the rows trained on -> (N,), NaN elsewhere."""
        scores = np.full(len(self.labels), np.nan)
        scores[self.rows] = values
        return scores

    @property
    def aum(self) -> Scores:
        """Area under the margin: sum over epochs of p minus the largest other probability. Low =
        hard."""
        return self._by_row(self._aum)

    @property
    def last_margin(self) -> Scores:
        """Margin of the last epoch: p minus the largest other probability. Low = hard."""
        return self._by_row(self._margin)

    @property
    def forgetting(self) -> Scores:
        """Forgetting events: right in one epoch, wrong in the next; never right: +inf. High =
        hard."""
        return self._by_row(np.where(self._correctness > 0, self._forgetting, np.inf))

    @property
    def forgetting_events(self) -> Scores:
        """Forgetting events, 0 for rows that were never right (as in CCS, ELFS and DeepCore)."""
        return self._by_row(self._forgetting)

    @property
    def correctness(self) -> Scores:
        """Number of epochs in which the prediction was right."""
        return self._by_row(self._correctness)

    @property
    def el2n(self) -> Scores:
        """Sum over the first epochs of the 2-norm of P - onehot. High = hard."""
        return self._by_row(self._el2n)

    @property
    def el2n_last(self) -> Scores:
        """2-norm of P - onehot at the last epoch. High = hard."""
        return self._by_row(self._el2n_last)

    @property
    def dyn_unc(self) -> Scores:
        """Mean over all windows of 10 x the unbiased std of p. High = uncertain."""
        return self._by_row(self._dyn_unc / self._checked(self._windows))

    @property
    def dyn_unc_published(self) -> Scores:
        """``dyn_unc`` without the window that ends at the last epoch: the authors' script stops one
        window early."""
        windows = self._checked(self._windows - 1)
        return self._by_row((self._dyn_unc - self._dyn_unc_last) / windows)

    @property
    def dual(self) -> Scores:
        """Mean over windows of 10 x std of p x (1 - mean of p). High = hard and uncertain."""
        return self._by_row(self._dual / self._checked(self._dual_windows))

    @property
    def tdds(self) -> Scores:
        """Exponentially weighted sum of the windows' deviation norms: 0.9 for the newest, 0.09 for
        the one before, ... High = informative."""
        full_windows = int(len(self._changes) == self.window - 1)
        return self._by_row(self._tdds / self._checked(full_windows))

    def _checked(self, windows: int) -> int:
        """The number of windows.

        Raises:
            DataError: no window is full, so that every row would score 0.
        """
        if windows < 1:
            raise DataError(
                f"{self.epochs} epochs were recorded, and this score needs {self.window} at least; "
                "train longer ('epochs' or 'steps' under [training.params])"
            )
        return windows

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """(M, C) softmax of the last epoch, for the rows with a label (``rows``)."""
        if self._probabilities is None:
            raise ValueError("no epoch has been recorded")
        return self._probabilities
