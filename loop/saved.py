"""Labels saved against a reference method, with an interval."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from loop.compare import labels_saved

RESAMPLES = 1000
FEWEST = 5


def saved_interval(
    accuracy: Mapping[tuple[str, int, int], float],
    method: str,
    budget: int,
    rng: np.random.Generator,
    against: str = "random",
    level: float = 0.95,
) -> tuple[float | None, float | None] | None:
    """Bootstrap interval, over paired seeds, of how many more labels the reference needs.

    Its percentiles are those of Student's t, not of the normal distribution, and account for the
    variance of resamples being (n - 1) / n of the seeds' (T. Hesterberg 2015, What Teachers Should
    Know About the Bootstrap, "expanded percentile"): the plain one covers too little for few seeds.

    Args:
        accuracy: by (method, budget, seed).

    Returns:
        (low, high); None at an end that lies outside the reference's measured curve. None where
        fewer than five seeds are paired (all resamples of three lie between their extremes, which
        held 70 % of the time), or hardly a resample lies within the curve.
    """
    budgets = sorted({b for m, b, _ in accuracy if m == against})
    seeds = sorted(
        s
        for m, b, s in accuracy
        if (m, b) == (method, budget) and all((against, c, s) in accuracy for c in budgets)
    )
    if len(seeds) < FEWEST:
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
    below = _expanded(level, len(seeds))
    ends = np.quantile(drawn, [below, 1 - below], method="nearest")
    low, high = (float(v) if np.isfinite(v) else None for v in ends)
    return low, high


def _expanded(level: float, n: int) -> float:
    """Share of the resamples of n seeds that lies below an interval's lower end."""
    from scipy.stats import norm, t

    return float(norm.sf(np.sqrt(n / (n - 1)) * t.ppf(0.5 + level / 2, n - 1)))
