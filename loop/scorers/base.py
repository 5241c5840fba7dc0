"""The scorer contract: what every scorer is given (``Inputs``) and what it returns.

A scorer (acquisition function) sees one pool as arrays, row i being image i, and returns one number
per row: the larger, the sooner the image should be labelled. It knows no files and no databases.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.engine import LOCAL, Engine
from loop.errors import DataError

if TYPE_CHECKING:
    from loop.dynamics import Dynamics

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

Once = Callable[[Hashable, Callable[[], Any]], Any]
"""(key, make) -> what ``make`` gave at the first call with this key."""

ABILITIES = {
    "classes": "the number of classes",
    "collected": "the labels collected so far (-1 elsewhere)",
    "labels": "a label on every row (so it can only look back, or simulate)",
    "probabilities": "a model trained on the labels collected so far",
    "fit": "a training run that records its dynamics",
}


@dataclass(frozen=True)
class Inputs:
    """One pool, as a scorer sees it. N rows (images), D embedding dimensions, C classes.

    Attributes:
        embeddings: (N, D) float32, finite, as the encoder made them (not normalised).
        budget: how many rows will be picked; set methods may rank only that many.
        rng: the only source of randomness; equal seeds give equal scores.
        available: (N,) bool, rows that may be picked. Default: all.
        covered: (N,) bool, rows picked in earlier rounds; they count as covered in conditional
            selection and are never available. Default: none.
        labels: (N,) int64 in [0, C), -1 = unknown. All -1 unless the scorer's ``needs`` has
            "labels" or "collected" (or its ``uses``, from the second round on): see
            ``loop.scorers.inputs``.
        n_classes: C, or None when unknown.
        classifier: what the classifier will learn from, ``embeddings`` or ``images``.
        probabilities: (N, C) of the current model, rows sum to 1, if ``needs`` asks for it.
        fit: labels (N,) -> Dynamics of a training run on the rows with a label >= 0, if
            ``needs`` asks for it: of a linear probe, or of the project's network.
        names: (N, C) probabilities that the class names alone say, no label being used; None where
            they say nothing.
        device: torch device for methods that can use one; ``auto`` is resolved where they run.
        engine: where methods compute what falls into independent pieces.
        once: keeps what the embeddings alone decide for further rounds on the same pool, as
            ``Task.once`` does; None: nothing is kept.
    """

    embeddings: NDArray[np.float32]
    budget: int
    rng: np.random.Generator
    available: Bools = field(default=None)  # type: ignore[assignment,arg-type]
    covered: Bools = field(default=None)  # type: ignore[assignment,arg-type]
    labels: Ints = field(default=None)  # type: ignore[assignment,arg-type]
    n_classes: int | None = None
    classifier: str = "embeddings"
    probabilities: NDArray[np.float64] | None = None
    fit: Callable[[Ints], Dynamics] | None = None
    names: NDArray[np.float64] | None = None
    device: str = "cpu"
    engine: Engine = LOCAL
    once: Once | None = None

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 2:
            raise DataError(f"embeddings must be (N, D), got shape {self.embeddings.shape}")
        if self.covered is None:
            object.__setattr__(self, "covered", np.zeros(self.n, bool))
        if self.available is None:
            object.__setattr__(self, "available", ~self.covered)
        if self.labels is None:
            object.__setattr__(self, "labels", np.full(self.n, -1, np.int64))
        for name in ("available", "covered", "labels"):
            rows = len(getattr(self, name))
            if rows != self.n:
                raise DataError(f"{name} has {rows} rows, embeddings {self.n}")
        if (self.available & self.covered).any():
            raise DataError("a row cannot be available and covered at once")
        if self.budget < 0:
            raise DataError(f"budget must be at least 0, got {self.budget}")
        check_finite(self.embeddings)

    @property
    def n(self) -> int:
        """Rows in the pool."""
        return len(self.embeddings)

    def rows(self, geometry: str) -> NDArray[np.float32]:
        """(N, D) embeddings in a geometry (``loop.geometry.transform``), to be read alone.

        Raises:
            ConfigError: unknown geometry.
        """
        from loop.geometry import transform

        if self.once is None:
            return transform(self.embeddings, geometry)
        rows: NDArray[np.float32] = self.once(
            ("rows", geometry), lambda: transform(self.embeddings, geometry)
        )
        return rows


def check_finite(embeddings: Floats, block: int = 65536) -> None:
    """Reads (N, D) embeddings in blocks of rows, since a pool may be memory-mapped.

    Raises:
        DataError: a row holds a NaN or an infinity.
    """
    for start in range(0, len(embeddings), block):
        finite = np.isfinite(embeddings[start : start + block]).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise DataError(f"embeddings row {row} is not finite; embed that image again")


class Scorer(ABC):
    """A method that ranks a pool. Subclasses are frozen dataclasses whose fields are the method's
    hyper-parameters: what the config may set and what the round stores.

    Class attributes:
        needs: subset of ``ABILITIES``.
        uses: further ABILITIES that it takes from the second round on, when there are labels; the
            first round does without them.
        nested: True if the k highest scores of a call with budget b >= k are the selection for k.
        cost: time and extra memory in n (rows), d (dims), k (picks), as shown by
            ``coreloop scorers``.
        source: paper and code that the method comes from.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    uses: ClassVar[frozenset[str]] = frozenset()
    nested: ClassVar[bool] = True
    cost: ClassVar[str] = ""
    source: ClassVar[str] = ""

    @abstractmethod
    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        """(N,) float64, finite, larger = label sooner. Values of unavailable rows are ignored.

        Raises:
            DataError: the inputs lack something that ``needs`` names, or cannot be used.
        """

    def explain(self, inputs: Inputs) -> dict[str, Any]:
        """What a person should know about the scores of these inputs, such as the method chosen and
        why, or a reliability: plain JSON values, stored with the round."""
        return {}

    def in_hindsight(self) -> Scorer:
        """The scorer to use where only images that are labelled already can be chosen, so that a
        large share of them always is: itself, unless that share decides what it does."""
        return self

    @classmethod
    def label_free(cls) -> bool:
        """True if no human label ever reaches the method."""
        return not (cls.needs | cls.uses) & {"labels", "collected", "probabilities"}

    @classmethod
    def wants(cls, labelled: bool) -> frozenset[str]:
        """The ABILITIES it is given; ``labelled``: whether earlier rounds collected labels."""
        return cls.needs | cls.uses if labelled else cls.needs


def rank_scores(order: Ints | list[int], n: int) -> NDArray[np.float64]:
    """(n,) scores of a greedy method: minus the rank in ``order``; rows not in it get -n."""
    scores = np.full(n, -float(n))
    scores[np.asarray(order, dtype=np.int64)] = -np.arange(len(order), dtype=np.float64)
    return scores
