"""Labels spread over the neighbour graph of the whole pool, blended with the linear probe.

With few labels the unlabelled images are worth as much as the labels. Idea:

1. A graph joins every image to its 15 nearest by cosine, embeddings standardised; with edge weights
   W and degrees D, S = D^-1/2 W D^-1/2.
2. Labels spread: F = (1 - a) (I - a S)^-1 Y / (labels of the class), Zhou et al., "Learning with
   local and global consistency", NIPS 2003. Dividing by the class's labels keeps a class that was
   picked often from flooding the graph; a = 0.8 keeps labels near home (0.95 and 0.99 were worse
   on every set measured).
3. A logistic regression on principal components learns the spread labels of all images, each
   weighted by its squared confidence, so that images outside the graph (the test split) get a
   prediction.
4. Its log-probabilities are averaged with those of ``linear``, with a share of 20 / (20 + labels
   per class). Where the labelled rows say that this is worse than ``linear`` alone, it gets none:
   ``linear`` predicts each row from folds without it, and F without one label is exact, because F
   is linear in Y.

Where class names are known the model is one opinion of several: ``loop.train.opinions``.

docs/trainers.md has the measurements.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.train.balance import divided, divisor, uneven
from loop.train.base import Task, Trained, Trainer
from loop.train.linear import L2_CANDIDATES, Linear, labelled_rows
from loop.train.metrics import wilson
from loop.train.named import NamedProbe
from loop.train.neighbour_graph import NeighbourGraph, shares
from loop.train.opinions import NAMES_ALONE, Trust, advantages, geometric, normalised, trust
from loop.train.probe import Head, Matrix, Probe, blend

if TYPE_CHECKING:
    from loop.dynamics import Dynamics

HALF = 20.0
"""Labels per class at which both models count the same."""
LEAST_SAMPLE = 20
"""Labels of the random sample from which on they judge the class names."""
JUDGING_FOLDS = 5
"""Of the random sample, where it judges the class names."""


@dataclass(frozen=True)
class Propagate(Trainer):
    """Semi-supervised probe; the linear one where labels are many.

    Attributes:
        neighbours: edges from each image.
        alpha: how far labels spread, in (0, 1).
        per_class: beyond this many labels per class the linear probe is used alone.
        images: most pool images in the graph (a random sample of a larger pool).
        dims: principal components that the second model sees.
    """

    weighs: ClassVar[bool] = True

    neighbours: int = 15
    alpha: float = 0.8
    per_class: int = 50
    images: int = 20_000
    dims: int = 128

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha must be in (0, 1), got {self.alpha}")
        if self.neighbours < 1 or self.images < 2 or self.dims < 1:
            raise ValueError("neighbours and dims must be at least 1, images at least 2")

    def train(
        self,
        task: Task,
        labels: NDArray[np.int64],
        rng: np.random.Generator,
        *,
        pool_probabilities: bool = False,
    ) -> Trained:
        """As ``Trainer.train``; where class names are known also without a label."""
        if task.prior is not None and not (labels >= 0).any():
            return _trained(task, self._listening(task, None, NAMES_ALONE), pool_probabilities)
        rows = labelled_rows(labels)
        x, y = task.standardised(task.pool[rows]), labels[rows]
        linear = Linear().fit(x, y, task.n_classes, rng)
        shares, weighed = _shares_to_divide(task, rows, y)
        if shares is not None:
            linear = divided(linear, shares)
        spread, notes = self._spread(task, rows, y, linear.held_out)
        heads = [(1.0, linear)] if spread is None else spread.blended(linear, task.n_classes)
        probe = Probe.of(task, heads)
        notes = {**linear.notes, **notes, **weighed}
        if task.prior is None:
            return _trained(task, probe, pool_probabilities, notes)
        fit = Fit(rows, x, y, float(linear.notes.get("l2", L2_CANDIDATES[2])), spread, shares)
        held_out = self._held_out(task, fit, linear.held_out, rng)
        trust = held_out.trust()
        notes["names"] = {**held_out.in_words(trust), "remarks": list(task.prior.remarks)}
        return _trained(task, self._listening(task, probe, trust), pool_probabilities, notes)

    def cross_fit(
        self,
        task: Task,
        labels: NDArray[np.int64],
        fold: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> Iterator[Matrix]:
        """As ``Trainer.cross_fit``; the penalty of ``linear`` and the share of the spread labels
        are chosen once, by all labels. Labels spread once: F is linear in Y. The class names are
        trusted by the labels of the other folds."""
        fit, by_linear = self._fit(task, labels, rng)
        rows = fit.rows
        probes = fit.probes_without(task, fold[rows])
        if task.prior is None:
            for probe in probes:
                yield probe.probabilities(task.pool)
            return
        kept = list(probes)
        held_out = self._held_out(task, fit, by_linear, rng, (kept, fold[rows]))
        for number, probe in enumerate(kept):
            trust = held_out.trust(fold[held_out.rows] != number)
            yield self._listening(task, probe, trust).opinion(task.pool, task.prior.pool)

    def left_out(self, task: Task, labels: NDArray[np.int64], rng: np.random.Generator) -> Matrix:
        """As ``Trainer.left_out``; where no class names are heard, no model is trained besides: the
        spread labels without one of them are exact, and ``linear`` has held each out."""
        if task.prior is not None:
            return super().left_out(task, labels, rng)
        fit, by_linear = self._fit(task, labels, rng)
        return fit.left_out(by_linear, task.n_classes)

    def _fit(
        self, task: Task, labels: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[Fit, Matrix | None]:
        """What models of all labels but some share, and what ``linear`` says of each (k,) label by
        folds without it."""
        rows = labelled_rows(labels)
        x, y = task.standardised(task.pool[rows]), labels[rows]
        l2, by_linear = Linear().choose_l2(x, y, task.n_classes, rng)
        shares, _ = _shares_to_divide(task, rows, y)
        if shares is not None and by_linear is not None:
            by_linear = normalised(by_linear / shares)
        spread, _ = self._spread(task, rows, y, by_linear)
        return Fit(rows, x, y, l2, spread, shares), by_linear

    def dynamics(self, task: Task, labels: NDArray[np.int64], rng: np.random.Generator) -> Dynamics:
        """Those of the linear probe's softmax head."""
        return Linear().dynamics(task, labels, rng)

    def _spread(
        self, task: Task, rows: NDArray[np.int64], y: NDArray[np.int64], held_out: Matrix | None
    ) -> tuple[SpreadLabels | None, dict[str, Any]]:
        """The labels spread over the graph, None where ``linear`` is used alone; and notes on which
        were used and why.

        Args:
            held_out: see ``probe.Head``.
        """
        if len(np.unique(y)) < 2:
            return None, {"used": "linear", "why": "labels of one class"}
        if len(y) > self.per_class * task.n_classes:
            return None, {"used": "linear", "why": f"over {self.per_class} labels per class"}
        graph = self._graph(task)
        seeds = graph.attach(task.standardised(task.pool[rows]), rows)
        mass = graph.spread(seeds, self.alpha)
        left_out = _left_out(seeds, mass, y, task.n_classes)
        share, why = choose_share(left_out, held_out, y)
        if not share:
            return None, {"used": "linear", "why": why}
        notes = {"used": "propagate", "share": share, "why": why, "graph_images": len(graph.rows)}
        return SpreadLabels(graph, rows, y, mass, share, left_out), notes

    def _graph(self, task: Task) -> NeighbourGraph:
        sizes = (self.neighbours, self.images, self.dims)
        return task.once(("graph", *sizes), lambda: NeighbourGraph.of(task, *sizes))

    def _listening(self, task: Task, probe: Probe | None, trust: Trust) -> NamedProbe:
        """The model that listens to the names as far as they are trusted."""
        assert task.prior is not None
        return NamedProbe(task.prior.head, self._of_names(task), trust, probe)

    def _of_names(self, task: Task) -> Probe:
        """A head that learned what the names say, spread over the graph; no label is used."""
        graph, prior = self._graph(task), task.prior
        assert prior is not None

        def learned() -> Probe:
            mass = graph.spread(prior.pool[graph.rows].astype(np.float32), self.alpha)
            return Probe.of(task, [(1.0, graph.learn_spread(mass))])

        return task.once(("names", self.neighbours, self.images, self.dims, self.alpha), learned)

    def _held_out(
        self,
        task: Task,
        fit: Fit,
        by_linear: Matrix | None,
        rng: np.random.Generator,
        folds: tuple[list[Probe], NDArray[np.int64]] | None = None,
    ) -> HeldOutLabels:
        """Labels that judge the names, each predicted by a model without it: those of the random
        sample by folds, or, where it is too small, all by what ``_spread`` goes by.

        Args:
            folds: models at hand and the (k,) fold that each of them left out; None: five are made.
        """
        assert task.prior is not None
        labels_per_class = len(fit.y) / task.n_classes
        sampled = np.isin(fit.rows, task.sample)
        if sampled.sum() >= LEAST_SAMPLE:
            if folds is None:
                part = np.full(len(fit.rows), -1, np.int64)
                order = rng.permutation(np.flatnonzero(sampled))
                part[order] = np.arange(len(order)) % JUDGING_FOLDS
                folds = list(fit.probes_without(task, part)), part
            b, rule = fit.by_folds(task, *folds), "sample"
            b[~sampled] = np.nan
        else:
            b, rule = fit.left_out(by_linear, task.n_classes), "picks"
        judged = np.isfinite(b).all(axis=1)
        b, rows = b[judged], fit.rows[judged]
        t = task.prior.pool[rows]
        h = self._of_names(task).probabilities(task.pool[rows])
        return HeldOutLabels(rows, fit.y[judged], b, t, h, rule, labels_per_class)


@dataclass(frozen=True)
class Fit:
    """What the models of one set of k labels share.

    Attributes:
        rows: (k,) int64 labelled pool rows, ascending.
        x: (k, D) standardised embeddings; y: (k,) int64 classes.
        l2: penalty of ``linear``.
        spread: None where ``linear`` is used alone.
        shares: (C,) of the labels, which the linear part is divided by; None: it is not.
    """

    rows: NDArray[np.int64]
    x: Matrix
    y: NDArray[np.int64]
    l2: float
    spread: SpreadLabels | None
    shares: Matrix | None = None

    def probes_without(self, task: Task, fold: NDArray[np.int64]) -> Iterator[Probe]:
        """A model without the labels of each (k,) fold in turn."""
        fitted = Linear(self.l2).fit_folds(self.x, self.y, task.n_classes, fold)
        for number, linear in enumerate(fitted):
            if self.shares is not None:
                linear = divided(linear, self.shares)
            heads = [(1.0, linear)]
            if self.spread is not None:
                heads = self.spread.without(fold == number).blended(linear, task.n_classes)
            yield Probe.of(task, heads)

    def by_folds(self, task: Task, probes: list[Probe], fold: NDArray[np.int64]) -> Matrix:
        """(k, C) of each row by the model without its fold; NaN for a row in none."""
        held_out = np.full((len(self.y), task.n_classes), np.nan)
        for number, probe in enumerate(probes):
            inside = fold == number
            held_out[inside] = probe.probabilities(task.pool[self.rows[inside]])
        return held_out

    def left_out(self, by_linear: Matrix | None, n_classes: int) -> Matrix:
        """(k, C) of each row without its own label; NaN where it was never held out.

        Args:
            by_linear: see ``probe.Head.held_out``.
        """
        linear = by_linear
        if linear is None:
            linear = np.full((len(self.y), n_classes), np.nan)
        if self.spread is None:
            return linear
        share = self.spread.share
        both = blend([1 - share, share], [np.nan_to_num(linear), self.spread.left_out])
        return np.where(np.isfinite(linear), both, self.spread.left_out)


@dataclass(frozen=True)
class HeldOutLabels:
    """Labels that judge the class names.

    Attributes:
        rows: (n,) int64 pool rows; y: (n,) their classes.
        b: (n, C) of models that did not learn the row's label.
        t, h: (n, C) of the names, and of the head that learned their spread.
        rule: see ``loop.train.opinions``.
    """

    rows: NDArray[np.int64]
    y: NDArray[np.int64]
    b: Matrix
    t: Matrix
    h: Matrix
    rule: str
    labels_per_class: float

    @cached_property
    def gained(self) -> Matrix:
        """(n, K) see ``advantages``."""
        return advantages(self.b, self.t, self.h, self.y, self.rule)

    def trust(self, judging: NDArray[np.bool_] | None = None) -> Trust:
        """By all rows, or the (n,) ``judging`` ones."""
        gained = self.gained if judging is None else self.gained[judging]
        return trust(gained, self.rule, self.labels_per_class)

    def in_words(self, trusted: Trust) -> dict[str, Any]:
        """A note: the weight of the names, and how often they are right alone, which a random
        sample says without bias."""
        noted: dict[str, Any] = {"rule": self.rule, "weight": trusted.in_names, "n": len(self.y)}
        if self.rule == "sample":
            right = int((geometric(self.t, self.h).argmax(axis=1) == self.y).sum())
            noted["alone"] = [right / len(self.y), *wilson(right, len(self.y))]
        return noted


@dataclass(frozen=True)
class SpreadLabels:
    """k labels on their way over the graph.

    Attributes:
        rows: (k,) int64 labelled pool rows, ascending.
        y: (k,) int64 their classes.
        mass: (M, k) float32 that each label gives to each node.
        share: of the model that learns them, beside ``linear``.
        left_out: (k, C) what each labelled row gets from the other labels.
    """

    graph: NeighbourGraph
    rows: NDArray[np.int64]
    y: NDArray[np.int64]
    mass: NDArray[np.float32]
    share: float
    left_out: Matrix

    def without(self, left_out: NDArray[np.bool_]) -> SpreadLabels:
        """The same without these (k,) labels."""
        kept = ~left_out
        return replace(
            self,
            rows=self.rows[kept],
            y=self.y[kept],
            mass=self.mass[:, kept],
            left_out=self.left_out[kept],
        )

    def blended(self, linear: Head, n_classes: int) -> list[tuple[float, Head]]:
        """(share, head) pairs: ``linear`` and one that learned the spread labels."""
        second = self.graph.learn(self.rows, self.y, self.mass, n_classes)
        return [(1 - self.share, linear), (self.share, second)]


def _shares_to_divide(
    task: Task, rows: NDArray[np.int64], y: NDArray[np.int64]
) -> tuple[Matrix | None, dict[str, Any]]:
    """(C,) what the linear part's probabilities are divided by, None: nothing; and a note.

    Args:
        rows: (k,) labelled pool rows; y: (k,) their classes.
    """
    if task.weigh_classes == "never":
        return None, {}
    rare, why = uneven(y, np.isin(rows, task.sample), task.n_classes)
    if task.weigh_classes == "uneven" and not rare:
        return None, {}
    note = {"rare classes": {"noticed": rare, "why": why}}
    return divisor(y, task.n_classes, task.weigh_classes), note


def _trained(
    task: Task, model: Probe | NamedProbe, of_pool: bool, notes: dict[str, Any] | None = None
) -> Trained:
    """The outcome of a training that gave this model."""
    if isinstance(model, Probe):
        test, pool = model.probabilities(task.test), None
        if of_pool:
            pool = model.probabilities(task.pool)
    else:
        assert task.prior is not None
        test, pool = model.opinion(task.test, task.prior.test), None
        if of_pool:
            pool = model.opinion(task.pool, task.prior.pool)
    return Trained(test, task.test_labels, pool, notes=notes or {}, model=model)


def choose_share(spread: Matrix, linear: Matrix | None, y: NDArray[np.int64]) -> tuple[float, str]:
    """The share of the spread labels: less with more labels, 0 where they do harm.

    Harm: over the labelled rows, classes weighing the same, ``linear`` is right more often by more
    than chance explains (one standard deviation of the rows on which the two differ).

    Args:
        spread, linear: (k, C) probabilities of the k labelled rows, each predicted without its own
            label; ``linear`` None, or NaN in rows that could not be held out.
        y: (k,) their classes.

    Returns:
        The share in [0, 1), and the reason in words.
    """
    per_class = len(y) / spread.shape[1]
    share = HALF / (HALF + per_class)
    held = np.zeros(len(y), bool) if linear is None else np.isfinite(linear).all(axis=1)
    if linear is None or not held.any():
        return share, f"{per_class:.1f} labels per class, too few to hold any out"
    true = y[held]
    blended = blend([1 - share, share], [linear[held], spread[held]])
    blend_right = blended.argmax(axis=1) == true
    linear_right = linear[held].argmax(axis=1) == true
    lost = (linear_right.astype(float) - blend_right) / np.bincount(true)[true]
    why = (
        f"{per_class:.1f} labels per class; right on {blend_right.mean():.1%} of {len(true)} "
        f"held-out labels, linear alone on {linear_right.mean():.1%}"
    )
    harmful = lost.sum() > np.sqrt((lost**2).sum())
    return (0.0 if harmful else share), why


def _left_out(
    seeds: Any, spread: NDArray[np.float32], y: NDArray[np.int64], n_classes: int
) -> Matrix:
    """(k, C) leave-one-out probabilities: what each labelled row gets from the other labels."""
    mass = np.asarray(seeds.T @ spread, dtype=np.float64)
    np.fill_diagonal(mass, 0.0)
    others = np.bincount(y, minlength=n_classes) - np.eye(n_classes)[y]  # (k, C) labels left
    return shares(mass @ np.eye(n_classes)[y] / others.clip(min=1))
