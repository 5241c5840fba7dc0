"""Simulation: methods against each other on images whose labels are known.

A cell is one (method, budget, seed): picks, and a training on them. Trainer, budgets and seeds are
the same for every method. Methods run in four ways, by what they need:

* label-free: rounds as in real use, each conditional on the picks before; no label is passed in
  (a nested method's rounds are the parts of one ranking);
* active: later rounds use a model trained on its own picks so far; the first picks are random;
* label-free first (``auto``): the same, with a first round of its own that sees no label;
* all labels: pruning methods that see the label of every image, and so cannot be used to decide
  what to label; shown as a reference.

Every cell's generators depend on (seed, purpose) alone, so methods are paired by seed. A cell can
be computed again, or skipped, without moving any other; where the picks of a round depend on those
of the rounds before, it is known by its ``schedule``, the budgets up to its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from loop.engine import LOCAL, Engine
from loop.errors import ConfigError, DataError
from loop.finish.simulated import FinishedCell, Goals, finish_cell
from loop.imbalance import check_shape, thinned
from loop.scorers import Scorer
from loop.scorers.inputs import inputs_for
from loop.seeds import generator
from loop.select import picks as picks_by
from loop.train import Task, Trained, Trainer
from loop.train.base import revealed
from loop.train.linear import Linear
from loop.train.metrics import Metrics
from loop.wording import counted

Ints = NDArray[np.int64]
Rule = Callable[[NDArray[np.float64], NDArray[np.bool_], int, int], Ints]
"""(scores, which images are available, how many, seed) -> picks."""
HIGHEST: Rule = partial(picks_by, "top")
NOTHING: Ints = np.empty(0, np.int64)
Schedule = tuple[int, ...]
"""Budgets up to a cell's own; empty where the rounds before do not matter."""


@dataclass(frozen=True)
class CellOutcome:
    """What came out of one cell.

    Attributes:
        budget: images picked, those of earlier rounds among them.
        picks: (budget,) int64 rows of the pool, in order.
        seconds: since the cell before: selection and training. Where one ranking serves every
            budget, the first cell pays for it.
        notes: what the trainer says of itself.
        finished: the collections that its model finishes; None where nobody asked.
        classes_found: share of the classes of which an image is labelled.
    """

    method: str
    budget: int
    seed: int
    schedule: Schedule
    picks: Ints
    metrics: Metrics
    seconds: float
    notes: dict[str, object]
    finished: FinishedCell | None = None
    classes_found: float = 1.0


@dataclass(frozen=True, eq=False)
class Trial:
    """What all cells of a simulation share.

    Attributes:
        labels: (N,) int64 what annotators would answer for every pool image.
        methods: name -> scorer.
        rules: name -> how the scores of this method become picks, where not by the highest.
        budgets: cumulative numbers of labels, ascending.
        share: of the pool that each seed draws.
        sample: random images that each seed labels first, whatever the method; part of the budgets.
        goals: for which each cell's collection is finished.
        imbalance: that each seed makes in its pool, see ``loop.imbalance``; empty: none.
    """

    task: Task
    labels: Ints
    methods: Mapping[str, Scorer]
    rules: Mapping[str, Rule]
    budgets: Sequence[int]
    trainer: Trainer
    share: float
    sample: int
    goals: Goals | None = None
    imbalance: str = ""


@dataclass(frozen=True)
class Part:
    """Cells of one method and seed that are computed together."""

    method: str
    seed: int
    budgets: frozenset[int]


def simulate(
    task: Task,
    labels: Ints,
    methods: Mapping[str, Scorer],
    budgets: Sequence[int],
    seeds: Sequence[int],
    trainer: Trainer,
    *,
    skip: Collection[tuple[str, int, int]] = (),
    rules: Mapping[str, Rule] = MappingProxyType({}),
    share: float = 1.0,
    sample: int = 0,
    goals: Goals | None = None,
    imbalance: str = "",
    engine: Engine = LOCAL,
) -> Iterator[CellOutcome]:
    """Yields cells as they are done: seed by seed, method by method, in one process.

    Args:
        labels: (N,) int64 what annotators would answer for every pool image.
        budgets: cumulative numbers of labels, ascending.
        skip: (method, budget, seed) of cells that exist already.
        rules: how a method's scores become picks where that is not by the highest.
        share: of the pool that each seed draws.
        sample: size of a random sample that is labelled first and trained on with the picks, as
            where one measures a project; scorers are not shown it.
        goals: each cell goes on to a finished collection for each of them.
        imbalance: see ``loop.imbalance``; empty: the pool as it is.
        engine: where methods and seeds are computed, which are independent of each other.

    Raises:
        ConfigError: budgets not ascending, or more than the pool has, or not more than the sample.
    """
    check_budgets(budgets, smallest_pool(task, labels, share, imbalance, seeds), sample)
    trial = Trial(
        task=task,
        labels=labels,
        methods=dict(methods),
        rules=dict(rules),
        budgets=tuple(budgets),
        trainer=trainer,
        share=share,
        sample=sample,
        goals=goals,
        imbalance=imbalance,
    )
    for _, outcomes in engine.map(_outcomes, trial, _parts(trial, seeds, frozenset(skip))):
        yield from outcomes


def kind(scorer: Scorer | type[Scorer]) -> str:
    """``label-free``, ``label-free first``, ``active`` or ``all labels``."""
    if "labels" in scorer.needs:
        return "all labels"
    if scorer.label_free():
        return "label-free"
    return "active" if scorer.needs & {"collected", "probabilities"} else "label-free first"


def schedule(scorer: Scorer, rule: Rule, budgets: Sequence[int], budget: int) -> Schedule:
    """The budgets that decide the picks at ``budget``: all up to it where each round goes on from
    the picks before, none where one ranking serves every budget or each budget is picked anew."""
    if kind(scorer) == "all labels" or _one_ranking(scorer, rule):
        return ()
    return tuple(before for before in budgets if before <= budget)


def check_budgets(budgets: Sequence[int], n: int, sample: int = 0) -> None:
    """Raises ConfigError unless ascending, at least 1, more than ``sample`` and at most ``n``."""
    if not budgets or list(budgets) != sorted(set(budgets)) or budgets[0] < 1:
        raise ConfigError(f"budgets must be ascending and at least 1, got {list(budgets)}")
    if budgets[-1] > n:
        raise ConfigError(
            f"budget {budgets[-1]} is more than the {counted(n, 'image')} to choose from"
        )
    if sample < 0 or budgets[0] <= sample:
        raise ConfigError(
            f"budgets count every label, the sample's {sample} too, so the first has to be more "
            f"than that; got {budgets[0]}"
        )


def drawn(n: int, share: float) -> int:
    """Pool images that each seed draws. Raises ConfigError unless 0 < share <= 1."""
    if not 0 < share <= 1:
        raise ConfigError(f"the share of the pool must be above 0 and at most 1, got {share}")
    return max(1, round(n * share))


def smallest_pool(
    task: Task, labels: Ints, share: float, imbalance: str, seeds: Sequence[int]
) -> int:
    """Images that every seed can choose from. Raises ConfigError: share or imbalance are none."""
    check_shape(imbalance)
    size = drawn(len(task.pool), share)
    if not imbalance:
        return size
    pools = [labels[draw(task, share, seed)[1]] for seed in seeds]
    return min(
        len(_kept(pool, task.n_classes, imbalance, seed))
        for pool, seed in zip(pools, seeds, strict=True)
    )


def _kept(labels: Ints, n_classes: int, imbalance: str, seed: int) -> Ints:
    return thinned(labels, n_classes, imbalance, generator(seed, "imbalance"))


def draw(task: Task, share: float, seed: int) -> tuple[Task, Ints]:
    """A random share of the pool, the same for every method, and its rows, ascending.

    Over a fixed pool a deterministic method has no variance to take an interval from. Draws
    overlap, so intervals over seeds are narrower than over new pools (docs/auto.md says how much).
    """
    n = len(task.pool)
    if share == 1:
        return task, np.arange(n)
    rows = np.sort(generator(seed, "draw").permutation(n)[: drawn(n, share)])
    return task.restricted(rows), rows


def extend(
    task: Task,
    labels: Ints,
    name: str,
    scorer: Scorer,
    picks: Ints,
    budget: int,
    seed: int,
    trainer: Trainer | None = None,
    rule: Rule = HIGHEST,
    *,
    stream: int | None = None,
    sample: Ints = NOTHING,
) -> Ints:
    """``picks`` plus those of the next round, up to ``budget`` in all.

    Pruning methods choose all ``budget`` images anew, as published. Random numbers depend on the
    budget, or on ``stream`` where one ranking has to be the same whatever the largest budget is;
    those of methods with a training run do not, so that (as published) one run serves every budget.

    Args:
        trainer: the project's own; default: the linear probe.
        sample: rows that are no more to be picked, and of which the scorer is shown nothing.

    Raises:
        DataError: the scorer answered something that is no score.
    """
    n = len(task.pool)
    if kind(scorer) == "all labels":
        picks = np.empty(0, np.int64)
    covered = np.zeros(n, bool)
    covered[picks] = True
    available = ~covered
    available[sample] = False
    if stream is None:
        stream = 0 if "fit" in scorer.needs else budget
    asks_model = "probabilities" in scorer.needs and kind(scorer) != "all labels"
    if asks_model and not len(picks):
        scores = generator(seed, "first picks").random(n)
    else:
        inputs = inputs_for(
            scorer,
            task,
            revealed(labels, picks),
            covered,
            budget - len(picks),
            trainer or Linear(),
            seed=seed,
            rng=generator(seed, "select", stream, name),
            model_rng=generator(seed, "score model", budget),
            available=available,
            all_labels=labels,
            keep=True,
        )
        scores = scorer.score(inputs)
    if scores.shape != (n,) or not np.isfinite(scores).all():
        raise DataError(f"scorer {name!r} answered no finite number for some image")
    return np.concatenate([picks, rule(scores, available, budget - len(picks), seed)])


def _parts(trial: Trial, seeds: Sequence[int], skip: frozenset[tuple[str, int, int]]) -> list[Part]:
    """What is to be computed: the open budgets of a method and seed together; with a network, whose
    cells take minutes, one by one, so that what is finished is kept if the rest is killed."""
    parts = []
    for seed in seeds:
        for method in trial.methods:
            missing = [b for b in trial.budgets if (method, b, seed) not in skip]
            together = [[budget] for budget in missing]
            if trial.trainer.wants != "images" and missing:
                together = [missing]
            parts += [Part(method, seed, frozenset(some)) for some in together]
    return parts


def _outcomes(trial: Trial, part: Part) -> list[CellOutcome]:
    """The cells of a part, smallest budget first."""
    task, rows = _drawn(trial, part.seed)
    labels = trial.labels[rows]
    scorer, rule = trial.methods[part.method], trial.rules.get(part.method, HIGHEST)
    sample = generator(part.seed, "sample").permutation(len(labels))[: trial.sample]
    task = replace(task, sample=np.sort(sample))
    outcomes, began = [], time.perf_counter()
    for picked, picks in _rounds(trial, part, task, labels, sample):
        budget = trial.sample + picked
        if budget not in part.budgets:
            continue
        learned = np.concatenate([sample, picks])
        trained, finished = _trained(trial, task, labels, learned, part.seed, budget)
        outcomes.append(
            CellOutcome(
                method=part.method,
                budget=budget,
                seed=part.seed,
                schedule=schedule(scorer, rule, trial.budgets, budget),
                picks=rows[picks],
                metrics=trained.metrics,
                seconds=time.perf_counter() - began,
                notes=trained.notes,
                finished=finished,
                classes_found=len(np.unique(labels[learned])) / task.n_classes,
            )
        )
        began = time.perf_counter()
    return outcomes


def _trained(
    trial: Trial, task: Task, labels: Ints, learned: Ints, seed: int, budget: int
) -> tuple[Trained, FinishedCell | None]:
    """The model of a cell, and what it finishes."""
    rng, known = generator(seed, "train", budget), revealed(labels, learned)
    if trial.goals is None:
        return trial.trainer.train(task, known, rng), None
    trained = trial.trainer.train(task, known, rng, pool_probabilities=True)
    finish_rng = generator(seed, "finish", budget)
    return trained, finish_cell(trained, labels, learned, trial.goals, finish_rng)


def _rounds(
    trial: Trial, part: Part, task: Task, labels: Ints, sample: Ints
) -> Iterator[tuple[int, Ints]]:
    """(images picked, their rows of the drawn pool) of each budget, as far as the part needs."""
    scorer, rule = trial.methods[part.method], trial.rules.get(part.method, HIGHEST)
    sizes = [budget - trial.sample for budget in trial.budgets]
    pick = partial(extend, task, labels, part.method, scorer, sample=sample)
    picks: Ints = NOTHING
    if _one_ranking(scorer, rule):
        ranking = pick(picks, sizes[-1], part.seed, trial.trainer, stream=0)
        for size in sizes:
            yield size, ranking[:size]
        return
    for size in sizes:
        if trial.sample + size > max(part.budgets):
            return
        picks = pick(picks, size, part.seed, trial.trainer, rule)
        yield size, picks


def _one_ranking(scorer: Scorer, rule: Rule) -> bool:
    """Whether the picks of a budget are the first of those of any larger one."""
    return scorer.nested and rule is HIGHEST and kind(scorer) in ("label-free", "all labels")


@lru_cache(maxsize=1)  # parts come seed by seed
def _drawn(trial: Trial, seed: int) -> tuple[Task, Ints]:
    task, rows = draw(trial.task, trial.share, seed)
    if not trial.imbalance:
        return task, rows
    kept = _kept(trial.labels[rows], task.n_classes, trial.imbalance, seed)
    return task.restricted(kept), rows[kept]
