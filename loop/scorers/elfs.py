"""ELFS: pseudo-labels by deep clustering, training dynamics on them, then double-end pruning.

1. Row-normalised embeddings, exact cosine k-NN. 2. TEMI heads (loop.scorers.temi) give each image a
pseudo-label; C is the number of classes. 3. A proxy is trained on the pseudo-labels and its
dynamics are recorded (AUM; forgetting and EL2N as options). 4. The hardest share ``beta`` is
skipped (wrong pseudo-labels gather there), the next ``budget`` images are taken, the easiest are
left.

Beta is found without ground truth: for each candidate a linear head is trained on the window's
pseudo-labels and validated on the pseudo-labels of a held-out tenth.

Source: Zheng et al., ICLR 2025, arXiv 2406.04273; eltsai/elfs (089444b). Different on purpose: the
clustering checkpoint is the last one (theirs is chosen by true test accuracy), a window that
reaches the easy end is not empty, the option ``key`` has an effect, and the proxy is what
Inputs.fit trains (a softmax head on the embeddings, where the project trains no network).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.device import resolve
from loop.dynamics import Dynamics
from loop.errors import DataError
from loop.geometry import neighbours, unit
from loop.scorers import temi
from loop.scorers.base import Inputs, Scorer, rank_scores
from loop.select import double_end_window

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BETAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
KEYS = ("aum", "forgetting", "el2n")


@dataclass(frozen=True)
class Elfs(Scorer):
    """ELFS: neither easy nor hard for a model of pseudo-labels.

    Attributes:
        beta: share of hard images that is skipped; -1: found on the pseudo-labels.
        key: the measure of hardness: aum, forgetting or el2n.
        heads, epochs: of the clustering (the authors: 50 and 200, on a GPU).
        neighbours: k of the k-NN graph.
    """

    beta: float = -1.0
    key: str = "aum"
    heads: int = 4
    epochs: int = 30
    neighbours: int = 50
    needs: ClassVar[frozenset[str]] = frozenset({"classes", "fit"})
    nested: ClassVar[bool] = False
    cost: ClassVar[str] = "n^2 d (k-NN) + heads x epochs x n d 512 + a proxy run"
    source: ClassVar[str] = "Zheng et al. 2025 (ICLR), arXiv 2406.04273; eltsai/elfs"

    def __post_init__(self) -> None:
        if self.key not in KEYS:
            raise ValueError(f"key must be one of {', '.join(KEYS)}, got {self.key!r}")
        if self.beta != -1 and not 0 <= self.beta < 1:
            raise ValueError(f"beta must be in [0, 1) or -1, got {self.beta}")

    def score(self, inputs: Inputs) -> Floats:
        budget = min(inputs.budget, int(inputs.available.sum()))
        if inputs.n < 3 or budget == 0 or inputs.n_classes == 1:
            return inputs.rng.random(inputs.n)  # nothing to tell apart
        x, labels, hard = self._pseudo_labels(inputs)
        ties = inputs.rng.permutation(inputs.n).astype(np.int64)
        beta = self.beta
        if beta < 0:
            beta = find_beta(x, labels, hard, inputs.available, budget, inputs.rng)
        window = double_end_window(hard, inputs.available, budget, ties, skip=beta)
        return rank_scores(window, inputs.n)

    def _pseudo_labels(self, inputs: Inputs) -> tuple[NDArray[np.float32], Ints, Floats]:
        """Unit rows (N, D), pseudo-labels (N,), and (N,) scores that are high for hard images.

        Raises:
            DataError: the number of classes or ``Inputs.fit`` is missing.
        """
        if not inputs.n_classes:
            raise DataError("elfs needs the number of classes; name them under [project]")
        if inputs.fit is None:
            raise DataError("elfs needs a training run; give Inputs.fit")
        x = unit(np.array(inputs.embeddings, dtype=np.float32))
        index, _ = neighbours(x, min(self.neighbours, inputs.n - 1), engine=inputs.engine)
        labels, _ = temi.cluster(
            x,
            index,
            inputs.n_classes,
            inputs.rng,
            count=self.heads,
            epochs=self.epochs,
            device=resolve(inputs.device),
        )
        return x, labels, hardness(inputs.fit(labels), self.key)

    def explain(self, inputs: Inputs) -> dict[str, Any]:
        return {"beta": "found on pseudo-labels" if self.beta < 0 else self.beta}


def hardness(dynamics: Dynamics, key: str) -> Floats:
    """(N,) finite, high = hard: minus AUM, forgetting events or EL2N."""
    from loop.scorers.training import finite

    return finite(-dynamics.aum if key == "aum" else getattr(dynamics, key))


def find_beta(
    x: NDArray[np.float32],
    labels: Ints,
    hard: Floats,
    available: NDArray[np.bool_],
    budget: int,
    rng: np.random.Generator,
) -> float:
    """The beta whose window teaches a linear head most about held-out pseudo-labels; the smaller
    one on a tie.

    Args:
        x: (N, D) unit rows.
        labels: (N,) pseudo-labels.
        hard: (N,) scores that are high for hard images.
    """
    from loop.train.base import Task
    from loop.train.linear import Linear

    held_out = rng.random(len(x)) < 0.1
    candidates = available & ~held_out
    if held_out.sum() < 10 or candidates.sum() < 10:
        return BETAS[0]
    task = Task(int(labels.max()) + 1, x[candidates], x[held_out], labels[held_out])
    m = int(candidates.sum())
    budget = min(budget, m)
    probe = Linear(l2=1e-4, steps=100)
    best_accuracy, best_beta = -1.0, BETAS[0]
    for beta in BETAS:
        window = double_end_window(
            hard[candidates], np.ones(m, bool), budget, np.arange(m), skip=beta
        )
        known = np.full(m, -1, np.int64)
        known[window] = labels[candidates][window]
        accuracy = probe.train(task, known, rng).metrics.accuracy
        if accuracy > best_accuracy:
            best_accuracy, best_beta = accuracy, beta
    return best_beta
