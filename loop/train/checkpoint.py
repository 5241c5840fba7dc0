"""The state of an unfinished training run on disk, so that a killed one goes on where it was."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loop.files import draft_of

EVERY = 60.0
"""Seconds between two writes: shorter runs write nothing, longer ones lose a minute."""


@dataclass
class Checkpoint:
    """One file, or none (``path`` is None): then nothing is kept."""

    path: Path | None
    _written: float = field(default_factory=time.monotonic)

    def load(self) -> dict[str, Any] | None:
        """What was saved last, on the CPU; None where there is nothing that can be read. Only
        weights and numbers are read, no code."""
        if self.path is None or not self.path.exists():
            return None
        import torch

        try:
            return dict(torch.load(self.path, map_location="cpu", weights_only=True))
        except Exception:  # torch raises many kinds on damaged files; the run begins anew
            return None

    def due(self) -> bool:
        """Whether it is time to save again."""
        return self.path is not None and time.monotonic() - self._written >= EVERY

    def save(self, state: dict[str, Any]) -> None:
        """Replaces the file in one go: a kill leaves the state before or this one."""
        if self.path is None:
            return
        import torch

        self.path.parent.mkdir(parents=True, exist_ok=True)
        with draft_of(self.path) as draft:
            torch.save(state, draft)
        self._written = time.monotonic()

    def forget(self) -> None:
        """The run is over."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
