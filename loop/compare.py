"""Methods against each other on images whose labels are known: same trainer, budgets and seeds.

A cell is one (method, budget, seed). Methods run in four ways, by what they need:

* label-free: rounds as in real use, each conditional on the picks before; no label is passed in
  (a nested method's rounds are the parts of one ranking);
* active: later rounds use a model trained on its own picks so far; the first picks are random;
* label-free first (``auto``): the same, with a first round of its own that sees no label;
* all labels: pruning methods that see the label of every image, and so cannot be used to decide
  what to label; shown as a reference.

Every cell's generators depend on (seed, purpose) alone, so methods are paired by seed and a cell
can be computed again, or skipped, without moving any other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from loop.errors import ConfigError, DataError
from loop.scorers import Scorer
from loop.scorers.inputs import inputs_for
from loop.seeds import generator
from loop.select import picks as picks_by
from loop.train import Task, Trainer
from loop.train.linear import Linear
from loop.train.metrics import Metrics

Labels = NDArray[np.int64]
Rule = Callable[[NDArray[np.float64], NDArray[np.bool_], int, int], Labels]
"""(scores, which images are available, how many, seed) -> picks."""
HIGHEST: Rule = partial(picks_by, "top")


@dataclass(frozen=True)
class Cell:
    """Outcome of one method at one cumulative budget with one seed; ``picks`` in order.

    ``seconds`` are those since the cell before: selection and training. Where one ranking serves
    every budget, the first cell pays for it.
    """

    method: str
    budget: int
    seed: int
    picks: NDArray[np.int64]
    metrics: Metrics
    seconds: float
    notes: dict[str, object]


def kind(scorer: Scorer) -> str:
    """``label-free``, ``label-free first``, ``active`` or ``all labels``."""
    if "labels" in scorer.needs:
        return "all labels"
    if scorer.label_free():
        return "label-free"
    return "active" if scorer.needs & {"collected", "probabilities"} else "label-free first"


def simulate(
    task: Task,
    labels: Labels,
    methods: Mapping[str, Scorer],
    budgets: Sequence[int],
    seeds: Sequence[int],
    trainer: Trainer,
    *,
    skip: Collection[tuple[str, int, int]] = (),
    rules: Mapping[str, Rule] = MappingProxyType({}),
) -> Iterator[Cell]:
    """Yields cells method by method, seed by seed, budget by budget.

    Args:
        labels: (N,) int64 what annotators would answer for every pool image.
        budgets: cumulative numbers of labels, ascending.
        skip: (method, budget, seed) of cells that exist already; a (method, seed) whose cells all
            exist costs nothing.
        rules: how a method's scores become picks where that is not by the highest.

    Raises:
        ConfigError: budgets not ascending, or more than the pool has.
    """
    check_budgets(budgets, len(task.pool))
    done = set(skip)
    for name, scorer in methods.items():
        rule = rules.get(name, HIGHEST)
        for seed in seeds:
            open_ = [b for b in budgets if (name, b, seed) not in done]
            if not open_:
                continue
            picks: Labels = np.empty(0, np.int64)
            whole, began = None, time.perf_counter()
            if scorer.nested and rule is HIGHEST and kind(scorer) in ("label-free", "all labels"):
                most = budgets[-1]  # one ranking serves every budget
                whole = extend(task, labels, name, scorer, picks, most, seed, trainer, stream=0)
            for budget in [b for b in budgets if b <= open_[-1]]:
                if whole is not None:
                    picks = whole[:budget]
                else:
                    picks = extend(task, labels, name, scorer, picks, budget, seed, trainer, rule)
                if budget not in open_:
                    continue
                known = np.full(len(labels), -1, np.int64)
                known[picks] = labels[picks]
                trained = trainer.train(task, known, generator(seed, "train", budget))
                seconds = time.perf_counter() - began
                yield Cell(name, budget, seed, picks, trained.metrics, seconds, trained.notes)
                began = time.perf_counter()


def check_budgets(budgets: Sequence[int], n: int) -> None:
    """Raises ConfigError unless ascending, at least 1 and at most ``n``."""
    if not budgets or list(budgets) != sorted(set(budgets)) or budgets[0] < 1:
        raise ConfigError(f"budgets must be ascending and at least 1, got {list(budgets)}")
    if budgets[-1] > n:
        raise ConfigError(f"budget {budgets[-1]} is more than the {n} images to choose from")


def drawn(n: int, share: float) -> int:
    """Pool images that each seed draws. Raises ConfigError unless 0 < share <= 1."""
    if not 0 < share <= 1:
        raise ConfigError(f"the share of the pool must be above 0 and at most 1, got {share}")
    return max(1, round(n * share))


def draw(task: Task, share: float, seed: int) -> tuple[Task, Labels]:
    """A random share of the pool, the same for every method, and its rows, ascending.

    Over a fixed pool a deterministic method has no variance to take an interval from. Draws
    overlap, so intervals over seeds are narrower than over new pools (docs/auto.md says how much).
    """
    n = len(task.pool)
    if share == 1:
        return task, np.arange(n)
    rows = np.sort(generator(seed, "draw").permutation(n)[: drawn(n, share)])
    return part(task, rows), rows


def part(task: Task, rows: Labels) -> Task:
    """The task with these images of its pool alone."""
    images = task.pool_images
    some = None if images is None else lambda: images()[rows]
    return replace(task, pool=task.pool[rows], pool_images=some, _made={})


def extend(
    task: Task,
    labels: Labels,
    name: str,
    scorer: Scorer,
    picks: NDArray[np.int64],
    budget: int,
    seed: int,
    trainer: Trainer | None = None,
    rule: Rule | None = None,
    *,
    stream: int | None = None,
) -> NDArray[np.int64]:
    """``picks`` plus those of the next round, up to ``budget`` in all.

    Pruning methods choose all ``budget`` images anew, as published; where they need training
    dynamics, those of ``trainer`` (default: the linear probe). Random numbers depend on the budget,
    or on ``stream`` where one ranking has to be the same whatever the largest budget is; those of
    methods with a training run do not, so that (as published) one run serves every budget.
    """
    n, way = len(task.pool), kind(scorer)
    if way == "all labels":
        picks = np.empty(0, np.int64)
    covered = np.zeros(n, bool)
    covered[picks] = True
    # every method breaks ties, and starts, from the same seed: paired with random
    if stream is None:
        stream = 0 if "fit" in scorer.needs else budget
    rng = generator(seed, "select", stream, name)
    if "probabilities" in scorer.needs and way != "all labels" and not len(picks):
        scores = generator(seed, "first picks").random(n)
    else:
        collected = np.full(n, -1, np.int64)
        collected[picks] = labels[picks]
        inputs = inputs_for(
            scorer,
            task,
            collected,
            covered,
            budget - len(picks),
            trainer or Linear(),
            seed=seed,
            rng=rng,
            model_rng=generator(seed, "score model", budget),
            all_labels=labels,
        )
        scores = scorer.score(inputs)
    if scores.shape != (n,) or not np.isfinite(scores).all():
        raise DataError(f"scorer {name!r} answered no finite number for some image")
    return np.concatenate([picks, (rule or HIGHEST)(scores, ~covered, budget - len(picks), seed)])


@dataclass(frozen=True)
class Row:
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
    accuracy: Mapping[tuple[str, int, int], float],
    kinds: Mapping[str, str],
    against: str = "random",
    *,
    one_pool: bool = False,
) -> list[Row]:
    """Rows by method and budget from (method, budget, seed) -> accuracy.

    Args:
        one_pool: every seed chose from the same images, so that a method with little chance of its
            own is one outcome, however many random ones it is set against. What its accuracy varies
            less by than random's then counts as not seen, and widens the difference's interval.
    """
    methods = list(dict.fromkeys(method for method, _, _ in accuracy))
    budgets = sorted({budget for _, budget, _ in accuracy})
    seeds = sorted({seed for _, _, seed in accuracy})
    reference = [
        (b, float(np.mean([accuracy[against, b, s] for s in seeds if (against, b, s) in accuracy])))
        for b in budgets
        if any((against, b, s) in accuracy for s in seeds)
    ]
    rows = []
    for method in methods:
        for budget in budgets:
            values = {
                s: accuracy[method, budget, s] for s in seeds if (method, budget, s) in accuracy
            }
            if not values:
                continue
            others = {
                s: accuracy[against, budget, s] for s in values if (against, budget, s) in accuracy
            }
            row = _row(method, kinds.get(method, ""), budget, list(values.values()))
            if method != against and others:
                row = _set_against(row, values, others, reference, one_pool)
            rows.append(row)
    return rows


def _row(method: str, kind: str, budget: int, accuracy: Sequence[float]) -> Row:
    """A row that is compared with nothing."""
    numbers = np.array(accuracy)
    return Row(
        method,
        kind,
        budget,
        float(numbers.mean()),
        float(numbers.std(ddof=1)) if len(numbers) > 1 else 0.0,
        _shares(t_interval(numbers)),
        None,
        (0.0, 0.0),
        None,
        len(numbers),
    )


def _set_against(
    row: Row,
    values: Mapping[int, float],
    others: Mapping[int, float],
    reference: Sequence[tuple[int, float]],
    one_pool: bool,
) -> Row:
    """The row with its difference to ``others``, by seed, and the labels saved."""
    gaps = np.array([values[seed] - other for seed, other in others.items()])
    unseen = 0.0
    if one_pool and len(gaps) > 1:
        unseen = max(0.0, float(np.var(list(others.values()), ddof=1)) - row.sd**2)
    return replace(
        row,
        difference=float(gaps.mean()),
        difference_interval=t_interval(gaps, unseen=unseen),
        saved=labels_saved(reference, row.budget, row.mean),
    )


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


def _shares(interval: tuple[float, float]) -> tuple[float, float]:
    """Without what no accuracy can be: above 1, or below 0."""
    low, high = interval
    return max(low, 0.0), min(high, 1.0)


def labels_saved(
    reference: Sequence[tuple[int, float]], budget: int, accuracy: float
) -> float | None:
    """How many more labels the reference curve needs for ``accuracy``, by interpolation on the
    logarithm of the labels; None outside the measured curve."""
    labels = np.array([b for b, _ in reference], dtype=np.float64)
    heights = np.maximum.accumulate([a for _, a in reference])  # noise must not bend it down
    if len(labels) < 2 or not heights[0] <= accuracy <= heights[-1]:
        return None
    heights, first = np.unique(heights, return_index=True)  # a plateau counts where it begins
    return float(np.exp(np.interp(accuracy, heights, np.log(labels[first])))) - budget
