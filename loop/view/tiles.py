"""An image as pages show it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from loop.project.gallery import STATES, Gallery

ARMS = {
    "coreset": "pick",
    "control": "control",
    "sample": "random sample",
    "test": "test image",
    "calibration": "calibration",
    "rest": "last round",
    "before": "labelled before",
}
"""Why an image was picked -> in words."""


@dataclass(frozen=True)
class Tile:
    """An image as pages show it.

    Attributes:
        name: its file's.
        label: class by people or by the model of a promise, else None.
        guess: the newest model's class, with ``confidence``; None where not known or not told.
        round, arm: that picked it, in words; empty where none did, or not told yet.
    """

    key: str
    name: str
    state: str
    label: str | None
    guess: str | None
    confidence: float | None
    round: int | None
    arm: str

    @property
    def short(self) -> str:
        """The name without its folders."""
        return self.name.rpartition("/")[2] or self.name

    @property
    def caption(self) -> str:
        """Its state, where that says anything."""
        return "" if self.state == STATES["unasked"] else self.state

    @property
    def alt(self) -> str:
        """What the picture shows, in words."""
        if self.label:
            return f"{self.name}: {self.label}"
        return f"{self.name}: {self.guess}?" if self.guess else f"{self.name}: no label"


def tile(gallery: Gallery, row: int) -> Tile:
    """The image of an array row."""
    confidence = float(gallery.confidence[row])
    number = int(gallery.rounds[row])
    return Tile(
        key=gallery.keys[row],
        name=gallery.uris[row],
        state=STATES[str(gallery.states[row])],
        label=gallery.class_name(int(gallery.labels[row])),
        guess=gallery.class_name(int(gallery.predicted[row])),
        confidence=None if math.isnan(confidence) else confidence,
        round=number if number >= 0 else None,
        arm=ARMS.get(str(gallery.arms[row]), ""),
    )
