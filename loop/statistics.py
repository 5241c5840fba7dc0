"""Statistics of a comparison: paired differences, intervals of means, labels saved.

Accuracies come as (method, budget, seed) -> accuracy. Seeds are pairs: every method of a seed chose
from the same images and was trained in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Accuracies = Mapping[tuple[str, int, int], float]
"""(method, budget, seed) -> accuracy in [0, 1]."""
RESAMPLES = 1000
FEWEST = 5
"""Paired seeds below which labels saved get no interval."""


@dataclass(frozen=True)
class MethodRow:
    """One method at one budget over all seeds.

    Attributes:
        mean, sd: accuracy over seeds.
        interval: 95 % t-interval of the mean over seeds, cut at 0 and 1.
        difference: mean paired difference to the reference, None for the reference itself.
        difference_interval: its 95 % t-interval over seeds.
        saved: labels the reference needs for this accuracy, minus ``budget``; None where the
            reference's curve does not reach it.
        n: seeds.
    """

    method: str
    kind: str
    budget: int
    mean: float
    sd: float
    interval: tuple[float, float]
    difference: float | None
    difference_interval: tuple[float, float]
    saved: float | None
    n: int


def paired(
    accuracies: Accuracies,
    kinds: Mapping[str, str],
    against: str = "random",
    *,
    one_pool: bool = False,
) -> list[MethodRow]:
    """Rows by method and budget.

    Args:
        kinds: method -> ``loop.simulation.kind``.
        against: the reference.
        one_pool: every seed chose from the same images, so that a method with little chance of its
            own is one outcome, however many random ones it is set against. What its accuracy varies
            less by than random's then counts as not seen, and widens the difference's interval.
    """
    methods = list(dict.fromkeys(method for method, _, _ in accuracies))
    budgets = sorted({budget for _, budget, _ in accuracies})
    of_reference = {budget: _by_seed(accuracies, against, budget) for budget in budgets}
    curve = [
        (budget, float(np.mean(list(by_seed.values()))))
        for budget, by_seed in of_reference.items()
        if by_seed
    ]
    rows = []
    for method in methods:
        for budget in budgets:
            by_seed = _by_seed(accuracies, method, budget)
            if not by_seed:
                continue
            row = _alone(method, kinds.get(method, ""), budget, list(by_seed.values()))
            shared = by_seed.keys() & of_reference[budget].keys()
            if method != against and shared:
                reference = {seed: of_reference[budget][seed] for seed in sorted(shared)}
                row = _set_against(row, by_seed, reference, curve, one_pool)
            rows.append(row)
    return rows


def t_interval(
    values: NDArray[np.float64], level: float = 0.95, *, unseen: float = 0.0
) -> tuple[float, float]:
    """Student interval of the mean; of a single value it is the value (nothing is known).

    Args:
        unseen: variance of the mean that does not show in the values.
    """
    mean = float(values.mean())
    if len(values) < 2:
        return mean, mean
    from scipy.stats import t

    half = float(
        t.ppf(0.5 + level / 2, len(values) - 1) * np.sqrt(values.var(ddof=1) / len(values) + unseen)
    )
    return mean - half, mean + half


def score_interval(share: float, n: float, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share of ``n`` images, which need not be a whole number."""
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def labels_saved(
    reference: Sequence[tuple[int, float]], budget: int, accuracy: float
) -> float | None:
    """How many more labels the reference curve needs for ``accuracy``, by interpolation on the
    logarithm of the labels; None outside the measured curve.

    Args:
        reference: (labels, mean accuracy), labels ascending.
    """
    labels = np.array([b for b, _ in reference], dtype=np.float64)
    heights = np.maximum.accumulate([a for _, a in reference])  # noise must not bend it down
    if len(labels) < 2 or not heights[0] <= accuracy <= heights[-1]:
        return None
    heights, first = np.unique(heights, return_index=True)  # a plateau counts where it begins
    return float(np.exp(np.interp(accuracy, heights, np.log(labels[first])))) - budget


def saved_interval(
    accuracies: Accuracies,
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

    Returns:
        (lower, upper); None at an end that lies outside the reference's measured curve. None where
        fewer than five seeds are paired (all resamples of three lie between their extremes, which
        held 70 % of the time), or hardly a resample lies within the curve.
    """
    budgets = sorted({b for m, b, _ in accuracies if m == against})
    seeds = [
        seed
        for seed in sorted(_by_seed(accuracies, method, budget))
        if all((against, b, seed) in accuracies for b in budgets)
    ]
    if len(seeds) < FEWEST:
        return None
    heights = np.array([accuracies[method, budget, seed] for seed in seeds])
    curves = np.array([[accuracies[against, b, seed] for b in budgets] for seed in seeds])
    resampled = np.empty(RESAMPLES)
    for i, rows in enumerate(rng.integers(len(seeds), size=(RESAMPLES, len(seeds)))):
        curve, height = curves[rows].mean(axis=0), float(heights[rows].mean())
        saved = labels_saved(list(zip(budgets, curve, strict=True)), budget, height)
        beyond = np.inf if height > curve.max() else -np.inf
        resampled[i] = beyond if saved is None else saved
    if np.isfinite(resampled).mean() < 0.1:
        return None
    tail = _expanded_tail(level, len(seeds))
    ends = np.quantile(resampled, [tail, 1 - tail], method="nearest")
    lower, upper = (float(end) if np.isfinite(end) else None for end in ends)
    return lower, upper


def _by_seed(accuracies: Accuracies, method: str, budget: int) -> dict[int, float]:
    """Seed, ascending -> accuracy of one method at one budget."""
    values = [
        (seed, accuracy)
        for (m, b, seed), accuracy in accuracies.items()
        if (m, b) == (method, budget)
    ]
    return dict(sorted(values))


def _alone(method: str, kind: str, budget: int, values: Sequence[float]) -> MethodRow:
    """A row that is compared with nothing."""
    accuracy = np.array(values)
    lower, upper = t_interval(accuracy)
    return MethodRow(
        method=method,
        kind=kind,
        budget=budget,
        mean=float(accuracy.mean()),
        sd=float(accuracy.std(ddof=1)) if len(accuracy) > 1 else 0.0,
        interval=(max(lower, 0.0), min(upper, 1.0)),
        difference=None,
        difference_interval=(0.0, 0.0),
        saved=None,
        n=len(accuracy),
    )


def _set_against(
    row: MethodRow,
    by_seed: Mapping[int, float],
    reference: Mapping[int, float],
    curve: Sequence[tuple[int, float]],
    one_pool: bool,
) -> MethodRow:
    """The row with its difference to the reference, by seed, and the labels saved.

    Args:
        by_seed, reference: seed -> accuracy of the method and of the reference at this budget.
        curve: (budget, mean accuracy) of the reference.
    """
    differences = np.array([by_seed[seed] - other for seed, other in reference.items()])
    unseen = 0.0
    if one_pool and len(differences) > 1:
        unseen = max(0.0, float(np.var(list(reference.values()), ddof=1)) - row.sd**2)
    return replace(
        row,
        difference=float(differences.mean()),
        difference_interval=t_interval(differences, unseen=unseen),
        saved=labels_saved(curve, row.budget, row.mean),
    )


def _expanded_tail(level: float, n: int) -> float:
    """Share of the resamples of n seeds that lies below an interval's lower end."""
    from scipy.stats import norm, t

    return float(norm.sf(np.sqrt(n / (n - 1)) * t.ppf(0.5 + level / 2, n - 1)))
