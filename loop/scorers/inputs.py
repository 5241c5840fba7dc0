"""What a scorer may see: one rule for a live round, a comparison and ``check_scorer``.

A scorer is shown what its ``needs`` name (from the second round on also its ``uses``), and nothing
else:

* labels: only with "labels" (of every image, so only where all are known: in a comparison) or
  "collected" (those of earlier picks). "probabilities" alone brings probabilities and no label;
* probabilities: of a linear probe on the embeddings, trained on the labels collected so far
  (with "labels": on all), in projects that train a network too: a network learns too little from
  so few labels to be asked, and would have to be trained once more in each round;
* a training run (``fit``): of the linear probe where the project's classifier learns from
  embeddings, of the project's own network where it learns from images, as the methods that read
  training dynamics were published.

So the method that a comparison measures is the one that picks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from loop.engine import LOCAL, Engine
from loop.errors import NotReady
from loop.scorers.base import Bools, Inputs, Ints, Scorer

if TYPE_CHECKING:
    from loop.dynamics import Dynamics
    from loop.train import Task, Trainer

Probabilities = NDArray[np.float64]


def shown(
    scorer: Scorer,
    pool: Inputs,
    collected: Ints,
    *,
    all_labels: Ints | None,
    model: Callable[[Ints], Probabilities],
    fit: Callable[[Ints], Dynamics],
) -> Inputs:
    """``pool`` with the labels, probabilities and training run that the scorer asks for.

    Args:
        pool: what every scorer may see; no labels, no probabilities, no training run.
        collected: (N,) int64 labels of the rows picked so far, -1 elsewhere.
        all_labels: (N,) int64 labels of all rows; None where nobody knows them (a live round).
        model: labels (N,), -1 = unknown -> (N, C) class probabilities of a model trained on them.
        fit: labels (N,) -> training dynamics.

    Raises:
        NotReady: the scorer needs a label on every row, and nobody knows them.
    """
    wants = scorer.wants(bool((collected >= 0).any()))
    known = collected
    if "labels" in wants:
        if all_labels is None:
            raise NotReady(
                "this scorer needs a label on every image, so it can only be compared with "
                "('coreloop simulate', baselines under [compare]), not choose what to label"
            )
        known = all_labels
    unknown = np.full(pool.n, -1, np.int64)
    return replace(
        pool,
        labels=known if wants & {"labels", "collected"} else unknown,
        probabilities=model(known) if "probabilities" in wants else None,
        fit=fit if "fit" in wants else None,
    )


def told_by_names(task: Task) -> Probabilities | None:
    """(N, C) what the class names say of the pool, no label being used; None: nothing."""
    if task.prior is None:
        return None
    from loop.train.propagate import Propagate

    def told() -> Probabilities:
        nothing = np.full(len(task.pool), -1, np.int64)
        trained = Propagate().train(
            task, nothing, np.random.default_rng(0), pool_probabilities=True
        )
        assert trained.pool_probabilities is not None
        return trained.pool_probabilities

    return task.once("told by names", told)


def inputs_for(
    scorer: Scorer,
    task: Task,
    collected: Ints,
    covered: Bools,
    budget: int,
    trainer: Trainer,
    *,
    seed: int,
    rng: np.random.Generator,
    model_rng: np.random.Generator,
    available: Bools | None = None,
    all_labels: Ints | None = None,
    engine: Engine = LOCAL,
    keep: bool = False,
) -> Inputs:
    """The inputs of one round on a classification problem.

    Args:
        collected: (N,) int64 labels of the rows picked so far, -1 elsewhere.
        covered, budget: (N,) bool, rows picked so far; rows to pick.
        trainer: the project's own.
        seed: of the training run, which serves all rounds and methods with the same labels.
        rng, model_rng: the scorer's, and that of the model whose probabilities are shown.
        available: (N,) bool, rows to pick from; None: all that are not covered.
        all_labels: (N,) int64 in a comparison; None in a live round.
        keep: whether the task keeps what its embeddings alone decide, for further rounds on it.

    Raises:
        NotReady: the scorer needs a model, or a label on every row, and there is none.
    """
    from loop.seeds import generator
    from loop.train.linear import Linear

    recorded = trainer if trainer.wants == "images" else Linear()

    def model(known: Ints) -> Probabilities:
        if not (known >= 0).any():
            raise NotReady(
                "this scorer needs a model, so it cannot choose the first round; "
                "set scorer = 'auto' under [selection] for the first round"
            )
        trained = Linear().train(task, known, model_rng, pool_probabilities=True)
        assert trained.pool_probabilities is not None
        return trained.pool_probabilities

    def fit(labels: Ints) -> Dynamics:
        key = ("dynamics", repr(recorded), seed, labels.tobytes())
        return task.once(key, lambda: recorded.dynamics(task, labels, generator(seed, "fit")))

    pool = Inputs(
        embeddings=task.pool,
        budget=budget,
        rng=rng,
        available=~covered if available is None else available,
        covered=covered,
        n_classes=task.n_classes,
        classifier=trainer.wants,
        names=told_by_names(task),
        device=task.device,
        engine=engine,
        once=task.once if keep else None,
    )
    return shown(scorer, pool, collected, all_labels=all_labels, model=model, fit=fit)
