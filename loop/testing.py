"""The scorer contract as a check that plugin authors run in their own tests.

    from loop.testing import check_scorer

    def test_mine():
        check_scorer(Mine)

A scorer that passes can be named in coreloop.toml. The pools it is tried on are small and awkward
on purpose: one row, equal rows, zero rows, constant dimensions, a budget of zero or of everything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loop.dynamics import Dynamics
from loop.scorers.base import ABILITIES, Inputs, Scorer
from loop.scorers.inputs import shown
from loop.select import tiebreak, top

CLASSES = 3


class ContractBroken(AssertionError):
    """The scorer does something that no scorer may do; the message says what and on which pool."""


def check_scorer(scorer: Scorer | type[Scorer]) -> None:
    """Tries a scorer, or a class with its default hyper-parameters, on small pools.

    Raises:
        ContractBroken: what it did wrong, and on which pool.
    """
    if isinstance(scorer, type):
        scorer = scorer()
    _check_kind(scorer)
    for name, inputs in pools():
        given = for_needs(scorer, inputs)
        before = given.embeddings.copy()
        scores = scorer.score(_seeded(given))
        _require(isinstance(scores, np.ndarray), name, f"answered {type(scores).__name__}")
        _require(scores.shape == (given.n,), name, f"answered shape {scores.shape}")
        _require(scores.dtype == np.float64, name, f"answered {scores.dtype}, not float64")
        _require(bool(np.isfinite(scores).all()), name, "answered numbers that are not finite")
        _require(bool(np.array_equal(before, given.embeddings)), name, "changed the embeddings")
        again = scorer.score(_seeded(given))
        _require(
            bool(np.array_equal(scores, again)),
            name,
            "answered differently for the same seed; draw from inputs.rng alone",
        )
        if not scorer.wants(True) & {"labels", "collected"}:
            _check_blind(scorer, given, scores, name)
        if scorer.nested:
            _check_nested(scorer, given, name)
        _require(isinstance(scorer.explain(_seeded(given)), dict), name, "explain gave no dict")


def pools() -> Iterator[tuple[str, Inputs]]:
    """Named pools with every ability filled in; see ``for_needs``."""
    rng = np.random.default_rng(7)
    blobs = rng.standard_normal((60, 6)) + 4 * np.eye(CLASSES, 6)[rng.integers(CLASSES, size=60)]
    awkward = blobs.copy()
    awkward[:, 0] = 3.0  # a constant dimension
    awkward[10:14] = awkward[9]  # exact copies
    awkward[20:22] = 0.0  # zero rows
    covered = np.zeros(60, bool)
    covered[:5] = True
    some = ~covered
    some[-20:] = False  # neither covered nor available: a test split, say
    yield "three clusters", _pool(blobs, 8)
    yield "copies, zero rows, a constant dimension", _pool(awkward, 20)
    yield "an earlier round", _pool(blobs, 8, covered=covered, available=some)
    yield "a budget of zero", _pool(blobs, 0)
    yield "a budget of everything", _pool(blobs, 60)
    yield "a budget above the pool", _pool(blobs[:7], 20)
    yield "equal rows", _pool(np.ones((12, 4)), 5)
    yield "two rows", _pool(blobs[:2], 1)
    yield "one row", _pool(blobs[:1], 1)
    yield "one class", _pool(blobs, 8, classes=1)


def for_needs(scorer: Scorer, inputs: Inputs) -> Inputs:
    """``inputs``, which know everything, as a round shows them to the scorer; of labels, those of
    the rows covered count as collected. A model is there before any label is."""
    probabilities, fit = inputs.probabilities, inputs.fit
    assert probabilities is not None
    assert fit is not None
    unknown = np.full(inputs.n, -1, np.int64)
    bare = dataclasses.replace(inputs, labels=unknown, probabilities=None, fit=None)
    return shown(
        scorer,
        bare,
        np.where(inputs.covered, inputs.labels, -1),
        all_labels=inputs.labels,
        model=lambda _: probabilities,
        fit=fit,
    )


def _pool(
    embeddings: NDArray[np.floating], budget: int, *, classes: int = CLASSES, **rows: Any
) -> Inputs:
    rng = np.random.default_rng(11)
    n = len(embeddings)
    labels = rng.integers(classes, size=n)
    logits = rng.standard_normal((12, n, max(classes, 2)))
    probabilities = np.exp(logits[-1]) / np.exp(logits[-1]).sum(axis=1, keepdims=True)

    def fit(y: NDArray[np.int64]) -> Dynamics:
        record = Dynamics(y)
        for epoch in logits:
            record.update(epoch)
        return record

    return Inputs(
        embeddings.astype(np.float32),
        budget,
        rng,
        labels=labels.astype(np.int64),
        n_classes=max(classes, 2) if classes > 1 else 1,
        probabilities=probabilities,
        fit=fit,
        **rows,
    )


def _seeded(inputs: Inputs, **changes: Any) -> Inputs:
    return dataclasses.replace(inputs, rng=np.random.default_rng(5), **changes)


def _check_kind(scorer: Scorer) -> None:
    where = type(scorer).__name__
    _require(isinstance(scorer, Scorer), where, "is no loop.scorers.Scorer")
    params = getattr(scorer, "__dataclass_params__", None)
    _require(params is not None and params.frozen, where, "is no frozen dataclass")
    unknown = set(scorer.wants(True)) - set(ABILITIES)
    _require(not unknown, where, f"needs {sorted(unknown)}; known: {', '.join(ABILITIES)}")


def _check_blind(scorer: Scorer, inputs: Inputs, scores: NDArray[np.float64], name: str) -> None:
    """A method that asks for no labels answers the same whatever labels are there."""
    shown = np.zeros(inputs.n, np.int64)
    shown[::2] = 1
    again = scorer.score(_seeded(inputs, labels=shown))
    _require(bool(np.array_equal(scores, again)), name, "read labels without naming them in needs")


def _check_nested(scorer: Scorer, inputs: Inputs, name: str) -> None:
    """The best k of a call for more are the selection for k."""
    most = min(inputs.budget, int(inputs.available.sum()))
    k = most // 2
    if k == 0:
        return
    ties = tiebreak(inputs.n, 3)
    many = top(scorer.score(_seeded(inputs)), inputs.available, k, ties)
    few = top(scorer.score(_seeded(inputs, budget=k)), inputs.available, k, ties)
    _require(
        bool(np.array_equal(many, few)),
        name,
        f"a budget of {k} picks other rows than the first {k} of {most}; set nested = False",
    )


def _require(good: bool, where: str, what: str) -> None:
    if not good:
        raise ContractBroken(f"{where}: the scorer {what}")
