"""A probe that listens to the class names: what ``propagate`` delivers where names are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from loop.name_head import NameHead
from loop.train.base import Classifier
from loop.train.opinions import Matrix, Trust
from loop.train.probe import BLOCK, Probe


@dataclass(frozen=True)
class NamedProbe(Classifier):
    """Opinion pool of a probe and of the class names, on embeddings as the encoder made them.

    Attributes:
        head: what the names say.
        spread: head that learned the names' say spread over the graph.
        trust: how far the names are trusted.
        probe: that learned labels; None before the first.
    """

    head: NameHead
    spread: Probe
    trust: Trust
    probe: Probe | None
    wants: ClassVar[str] = "embeddings"

    @property
    def dim(self) -> int:
        """Columns of the embeddings."""
        given = 0 if self.head.unit else self.head.texts.shape[1]
        return len(self.spread.mean) + given

    def probabilities(self, rows: NDArray[Any], device: str = "cpu") -> Matrix:
        """(M, D) embeddings -> (M, C) float64; the CPU is used on every device."""
        predicted = np.empty((len(rows), len(self.head.texts)))
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            told = self.head.probabilities(block)
            predicted[start : start + BLOCK] = self.opinion(self.head.picture(block), told)
        return predicted

    def opinion(self, picture: NDArray[Any], told: Matrix) -> Matrix:
        """(M, C) of what the names say, (M, C), and the columns that models learn from."""
        predicted = np.empty_like(told)
        for start in range(0, len(told), BLOCK):
            block = slice(start, start + BLOCK)
            predicted[block] = self.trust.probabilities(
                None if self.probe is None else self.probe.probabilities(picture[block]),
                told[block],
                self.spread.probabilities(picture[block]),
            )
        return predicted

    def tensors(self) -> dict[str, NDArray[Any]]:
        parts = {"spread": self.spread, **({"probe": self.probe} if self.probe else {})}
        return {
            "texts": self.head.texts,
            "trust": self.trust.weights,
            **{
                f"{part}.{name}": tensor
                for part, probe in parts.items()
                for name, tensor in probe.tensors().items()
            },
        }

    def settings(self) -> dict[str, Any]:
        trust = {"rule": self.trust.rule, "damping": self.trust.damping}
        return {"head": self.head.settings(), "trust": trust}

    @classmethod
    def of_tensors(
        cls, tensors: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]
    ) -> NamedProbe:
        def probe(part: str) -> Probe:
            own = {each.name: tensors[f"{part}.{each.name}"] for each in fields(Probe)}
            return Probe.of_tensors(own, {})

        trust = settings["trust"]
        return cls(
            head=NameHead(np.asarray(tensors["texts"], np.float64), **settings["head"]),
            spread=probe("spread"),
            trust=Trust(trust["rule"], np.asarray(tensors["trust"]), float(trust["damping"])),
            probe=probe("probe") if "probe.mean" in tensors else None,
        )
