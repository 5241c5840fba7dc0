"""D2 pruning: forward and reverse message passing on a k-NN graph.

Forward: g_i = s_i + sum_j exp(-d_ij) s_j over the neighbours j of i ("sum"; "product" multiplies).
Reverse, for each pick: v = argmax g (lowest row on ties); its neighbours lose exp(-gamma d_vj) g_v
("weighted") or g_v ("absolute"). Rows picked in earlier rounds send their reverse messages first.
Nested, deterministic.

Label-free form: s = 1 everywhere, so g is a density and the picks are dense regions that do not
repeat each other. With embeddings d is often 10 to 30, where exp(-d) vanishes and D2 becomes "top
by s"; so rows have length 1 and d is measured in mean neighbour distances.

Source: Maharana et al. 2024 (ICLR), arXiv 2310.07931; d2pruning (bf1ea46). Different on purpose: a
negative g_v would raise its neighbours; here messages are at least 0 (``clamp``; off: as
published).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.geometry import neighbours
from loop.scorers.base import Inputs, Scorer, rank_scores

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
FLOOR = 1e-7
"""Least score of a neighbour in the forward messages of the symmetric graph, as published."""


@dataclass(frozen=True)
class D2(Scorer):
    """Label-free D2: diverse images of varied difficulty.

    Attributes:
        neighbours: k of the graph (made symmetric).
        gamma: reach of the reverse messages; smaller reaches farther.
        geometry: unit, standard or raw.
    """

    neighbours: int = 10
    gamma: float = 0.1
    geometry: str = "unit"
    cost: ClassVar[str] = "n^2 d (k-NN) + n per pick; memory n k"
    source: ClassVar[str] = "Maharana et al. 2024, arXiv 2310.07931; d2pruning"

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, got {self.neighbours}")
        if self.gamma < 0:
            raise ValueError(f"gamma must be at least 0, got {self.gamma}")

    def score(self, inputs: Inputs) -> Floats:
        x = inputs.rows(self.geometry)
        index, distances = neighbours(x, self.neighbours, engine=inputs.engine)
        scale = float(distances.mean()) if distances.size else 1.0
        graph = MessageGraph.of(index, distances / (scale or 1.0), symmetric=True)
        order, _ = graph.pick(
            np.ones(inputs.n),
            min(inputs.budget, int(inputs.available.sum())),
            available=inputs.available,
            covered=np.flatnonzero(inputs.covered),
            gamma=self.gamma,
        )
        return rank_scores(order, inputs.n)


@dataclass(frozen=True)
class MessageGraph:
    """A neighbour graph as compressed rows: the edges of row i are ``starts[i]:starts[i + 1]``.

    Attributes:
        starts: (N + 1,) int64.
        ends: (E,) int64, the row that each edge leads to.
        distances: (E,) float64.
        symmetric: whether every edge has its reverse.
    """

    starts: Rows
    ends: Rows
    distances: Floats
    symmetric: bool

    @classmethod
    def of(cls, index: Rows, distances: NDArray[np.floating], *, symmetric: bool) -> MessageGraph:
        """From (N, k) neighbour lists; ``symmetric``: i-j if either lists the other."""
        n, k = index.shape
        sources: Rows = np.repeat(np.arange(n), k)
        ends: Rows = index.ravel()
        lengths: Floats = distances.ravel().astype(np.float64)
        if symmetric:
            sources, ends = np.concatenate([sources, ends]), np.concatenate([ends, sources])
            lengths = np.concatenate([lengths, lengths])
            _, distinct = np.unique(sources * n + ends, return_index=True)
            sources, ends, lengths = sources[distinct], ends[distinct], lengths[distinct]
        starts = np.concatenate([[0], np.cumsum(np.bincount(sources, minlength=n))])
        return cls(starts.astype(np.int64), ends, lengths, symmetric)

    def forward(self, scores: Floats, mode: str = "sum") -> Floats:
        """(N,) values g after the forward messages, which have no gamma, as published."""
        sent = scores[self.ends]
        if self.symmetric:
            sent = np.maximum(sent, FLOOR)
        sources = np.repeat(np.arange(len(scores)), np.diff(self.starts))
        messages = np.exp(-self.distances) * sent
        received = np.bincount(sources, messages, minlength=len(scores))
        return scores + received if mode == "sum" else scores * received

    def pick(
        self,
        scores: Floats,
        k: int,
        *,
        available: NDArray[np.bool_],
        covered: Rows,
        gamma: float,
        mode: str = "sum",
        update: str = "weighted",
        clamp: bool = True,
    ) -> tuple[Rows, Floats]:
        """(k,) picks in order, and the (N,) values g that the picks began with."""
        start = self.forward(scores, mode)
        g = start.copy()
        for row in covered[np.argsort(-g[covered], kind="stable")]:
            self._reverse(g, int(row), gamma, update, clamp)
        g[~available] = -np.inf
        picks = np.empty(k, np.int64)
        for i in range(k):
            row = int(np.argmax(g))
            picks[i] = row
            self._reverse(g, row, gamma, update, clamp)
            g[row] = -np.inf
        return picks, start

    def _reverse(self, g: Floats, row: int, gamma: float, update: str, clamp: bool) -> None:
        """The neighbours of a pick lose their share of its value, in place."""
        edges = slice(self.starts[row], self.starts[row + 1])
        value = max(g[row], 0.0) if clamp else g[row]
        share = np.exp(-gamma * self.distances[edges]) if update == "weighted" else 1.0
        g[self.ends[edges]] -= share * value
