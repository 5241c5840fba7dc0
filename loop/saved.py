"""Labels saved against a reference method, with an interval."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from loop.compare import labels_saved

RESAMPLES = 1000


def saved_interval(
    accuracy: Mapping[tuple[str, int, int], float],
    method: str,
    budget: int,
    rng: np.random.Generator,
    against: str = "random",
    level: float = 0.95,
) -> tuple[float | None, float | None] | None:
    """Bootstrap interval, over paired seeds, of how many more labels the reference needs.

    Args:
        accuracy: by (method, budget, seed).

    Returns:
        (low, high); None at an end that lies outside the reference's measured curve. None where
        fewer than three seeds are paired, or hardly a resample lies within the curve.
    """
    budgets = sorted({b for m, b, _ in accuracy if m == against})
    seeds = sorted(
        s for m, b, s in accuracy
        if (m, b) == (method, budget) and all((against, c, s) in accuracy for c in budgets)
    )  # fmt: skip
    if len(seeds) < 3:
        return None
    mine = np.array([accuracy[method, budget, s] for s in seeds])
    theirs = np.array([[accuracy[against, b, s] for b in budgets] for s in seeds])
    drawn = np.empty(RESAMPLES)
    for i, rows in enumerate(rng.integers(len(seeds), size=(RESAMPLES, len(seeds)))):
        curve, height = theirs[rows].mean(axis=0), float(mine[rows].mean())
        found = labels_saved(list(zip(budgets, curve, strict=True)), budget, height)
        beyond = np.inf if height > curve.max() else -np.inf
        drawn[i] = beyond if found is None else found
    if np.isfinite(drawn).mean() < 0.1:
        return None
    ends = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2], method="nearest")
    low, high = (float(v) if np.isfinite(v) else None for v in ends)
    return low, high
